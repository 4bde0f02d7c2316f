/** The binding's manners: readable refusals, disposed handles, abort, progress, threads that end, memory that is given back. */
import { execFileSync } from "node:child_process";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadNative } from "@steerlab/native";
import { type Cache, type NativeEngine, nativeInfo, openNative } from "../../kernel-lib/src/engine";
import { adapterOf, adapterParts, directionOf, TOY, TRAINER, tokensOf, toyEngine, toyExamples } from "./toy";

const ADDON = path.resolve(__dirname, "../../gpu-native");

/** Runs a script in a fresh Node process; its stdout. */
function inNode(script: string, flags: string[] = []): string {
  return execFileSync(process.execPath, [...flags, "-e", script], {
    encoding: "utf8",
    env: { ...process.env, ADDON },
    timeout: 60_000,
  }).trim();
}

/** Shared by the scripts: an engine on a toy model and a forward call. */
const PRELUDE = `
  const native = require(process.env.ADDON).loadNative();
  const config = ${JSON.stringify(TOY)};
  const i = (...x) => Int32Array.from(x);
  const none = { vectors: new Float32Array(0), row: i(), vector: i(), layerStart: i(), layerEnd: i(), spanStart: i(), spanEnd: i(), magnitude: new Float32Array(0) };
  const engine = () => native.createEngine({ backend: "cpu", dtype: "f32", threads: 1, isa: "" });
  const request = (n, keep) => ({ tokens: new Int32Array(n).fill(3), rowOffsets: i(0, n), parentRow: i(-1), parentCache: [null], adapters: [], rowAdapter: i(-1), steering: none, report: null, capture: null, keepCache: Uint8Array.of(keep ? 1 : 0), shareLayers: true });
`;

describe("the addon", () => {
  it("says what this machine offers", () => {
    const info = nativeInfo();
    expect(info.apiVersion).toBe(1);
    expect(info.isas.at(-1)).toBe("plain");
    expect(info.cores).toBeGreaterThan(0);
    expect(info.cuda.available || info.cuda.reason.length > 10).toBe(true);
  });

  it("a missing addon is told with what was tried and the remedy", () => {
    const script = `
      const Module = require("node:module");
      const load = Module._extensions[".node"];
      Module._extensions[".node"] = () => { throw new Error("broken on purpose"); };
      try { require(process.env.ADDON).loadNative(); } catch (e) { console.log(e.code, "|", e.message); }`;
    const said = inNode(script);
    expect(said).toContain("native-missing |");
    expect(said).toContain("broken on purpose");
    expect(said).toContain("npm run build");
  });

  it("refuses unknown instruction sets, backends and types by name", async () => {
    const open = (o: object): Promise<unknown> =>
      openNative({ backend: "cpu", dtype: "f32", config: TOY, tensors: null, ...o });
    await expect(open({ isa: "sse2" })).rejects.toMatchObject({ code: "bad-isa" });
    await expect(open({ dtype: "f16" as "f32" })).rejects.toMatchObject({ code: "bad-dtype" });
    await expect(open({ backend: "tpu" as "cpu" })).rejects.toMatchObject({ code: "bad-backend" });
    await expect(open({ threads: -1 })).rejects.toMatchObject({ code: "bad-request" });
    await expect(open({ config: { ...TOY, num_key_value_heads: 3 } })).rejects.toThrow(
      "Expected a divisor of num_attention_heads for num_key_value_heads but received 3",
    );
    await expect(open({ config: { ...TOY, hidden_size: 0 } })).rejects.toMatchObject({
      code: "bad-config",
      name: "InputError",
    });
    if (!nativeInfo().cuda.available)
      await expect(open({ backend: "cuda" })).rejects.toMatchObject({ name: "DeviceError" });
  });

  it("random weights depend on the seed alone", async () => {
    const read = async (seed: number): Promise<unknown> => {
      const engine = await toyEngine({ seed });
      const [{ positions }] = await engine.forward([{ tokens: [1, 2] }], { report: "last", fullVocabulary: true });
      engine.dispose();
      return positions[0].all;
    };
    expect(await read(5)).toEqual(await read(5));
    expect(await read(5)).not.toEqual(await read(6));
  });
});

describe("requests that cannot be", () => {
  let engine: NativeEngine;
  beforeAll(async () => {
    engine = await toyEngine();
  });
  afterAll(() => engine.dispose());
  const direction = directionOf(1);

  it.each([
    ["a token outside the vocabulary", { tokens: [1, 61] }, "bad-token"],
    ["a negative token", { tokens: [-1] }, "bad-token"],
    ["a fractional token", { tokens: [0.5] }, "bad-token"],
    ["no tokens", { tokens: [] }, "empty-row"],
    ["more positions than the model has", { tokens: tokensOf(97, 1) }, "too-long"],
    ["a wanted id outside the vocabulary", { tokens: [1], wanted: [99] }, "bad-token"],
    ["a parent that is not earlier", { tokens: [1], parent: 0 }, "parent-row"],
    [
      "a layer range past the end",
      { tokens: [1], steering: [{ direction, layers: [0, 36] as const, magnitude: 1 }] },
      "layer-range",
    ],
    [
      "a backward layer range",
      { tokens: [1], steering: [{ direction, layers: [3, 2] as const, magnitude: 1 }] },
      "layer-range",
    ],
    [
      "a span past the row",
      { tokens: [1], steering: [{ direction, layers: [0, 1] as const, magnitude: 1, span: [0, 2] as const }] },
      "span",
    ],
    [
      "a short direction",
      { tokens: [1], steering: [{ direction: direction.slice(1), layers: [0, 1] as const, magnitude: 1 }] },
      "direction",
    ],
    [
      "a direction that is not a number",
      {
        tokens: [1],
        steering: [{ direction: direction.map(() => Number.NaN), layers: [0, 1] as const, magnitude: 1 }],
      },
      "direction",
    ],
    [
      "an infinite magnitude",
      { tokens: [1], steering: [{ direction, layers: [0, 1] as const, magnitude: Number.POSITIVE_INFINITY }] },
      "magnitude",
    ],
  ])("%s", async (_, row, code) => {
    await expect(engine.forward([row], { report: "last" })).rejects.toMatchObject({ code, name: "InputError" });
  });

  it("names fact, value and remedy", async () => {
    const steering = [{ direction, layers: [0, 36] as const, magnitude: 1 }];
    await expect(engine.forward([{ tokens: [1], steering }])).rejects.toThrow(
      "Expected layerEnd <= 4 for steering of row 0 but received 36. The model has 4 layers (0..3).",
    );
  });

  it("C++ refuses by itself what would read outside memory", async () => {
    const native = loadNative();
    const handle = native.createEngine({ backend: "cpu", dtype: "f32", threads: 1, isa: "" });
    const model = await native.openModel(handle, TOY, null, 1, {});
    const i = (...x: number[]): Int32Array => Int32Array.from(x);
    const good = {
      tokens: i(1, 2),
      rowOffsets: i(0, 2),
      parentRow: i(-1),
      parentCache: [null],
      adapters: [],
      rowAdapter: i(-1),
      steering: {
        vectors: new Float32Array(32),
        row: i(0),
        vector: i(0),
        layerStart: i(0),
        layerEnd: i(1),
        spanStart: i(0),
        spanEnd: i(2),
        magnitude: Float32Array.of(1),
      },
      report: { rows: i(0), positions: "last" as const, tokenIds: i(4), tokenOffsets: i(0, 1), topK: 2, all: false },
      capture: { rows: i(0), layers: i(0), positions: "all" as const },
      keepCache: Uint8Array.of(0),
      shareLayers: true,
    };
    await native.forward(model, good, {});
    const { steering, report, capture } = good;
    const bad = [
      { tokens: i(1, 61) },
      { tokens: i(-1, 2) },
      { rowOffsets: i(0, 3) },
      { rowOffsets: i(1, 2) },
      { rowOffsets: i(0) },
      { rowOffsets: i(0, 2, 2) },
      { parentRow: i(0) },
      { parentRow: i() },
      { parentCache: [] },
      { rowAdapter: i(0) },
      { keepCache: new Uint8Array(0) },
      { steering: { ...steering, layerEnd: i(5) } },
      { steering: { ...steering, layerStart: i(-1) } },
      { steering: { ...steering, spanEnd: i(3) } },
      { steering: { ...steering, vector: i(1) } },
      { steering: { ...steering, row: i(1) } },
      { steering: { ...steering, magnitude: new Float32Array(0) } },
      { steering: { ...steering, vectors: new Float32Array(31) } },
      { report: { ...report, rows: i(1) } },
      { report: { ...report, tokenIds: i(61) } },
      { report: { ...report, tokenOffsets: i(0, 2) } },
      { report: { ...report, topK: 62 } },
      { capture: { ...capture, rows: i(-1) } },
      { capture: { ...capture, layers: i(4) } },
      { tokens: Float32Array.of(1, 2) as unknown as Int32Array },
    ];
    for (const change of bad) {
      const attempt = async (): Promise<unknown> => native.forward(model, { ...good, ...change }, {});
      await expect(attempt(), JSON.stringify(change)).rejects.toMatchObject({ code: expect.stringMatching(/^bad-/) });
    }
    native.disposeModel(model);
  });

  it("a disposed model's weights go back while its engine lives on", () => {
    // 32 MB of random weights each: eight models kept would be 250 MB.
    const grown = inNode(`${PRELUDE}
      const large = { ...config, vocab_size: 250000 };
      const e = engine();
      const open = async () => native.disposeModel(await native.openModel(e, large, null, 1, {}));
      (async () => {
        await open();
        const before = process.memoryUsage.rss();
        for (let n = 0; n < 8; ++n) await open();
        console.log((process.memoryUsage.rss() - before) / 1e6);
      })();
    `);
    expect(Number(grown)).toBeLessThan(100);
  });

  it("refuses adapters of another shape and training examples that do not fit", async () => {
    const [part] = adapterParts(1);
    const bind = (change: object) => (): unknown =>
      engine.bindAdapter([{ ...part, ...change }], { name: "x", hash: "x" });
    expect(bind({ layer: 4 })).toThrow("Expected layer in [0, 4) for adapter part but received 4");
    expect(bind({ r: 4 })).toThrow(expect.objectContaining({ code: "adapter-shape" }));
    expect(() => engine.bindAdapter([part, part], { name: "x", hash: "x" })).toThrow(
      expect.objectContaining({ code: "duplicate-part" }),
    );
    expect(() => engine.createTrainer(TRAINER, new Float32Array(3))).toThrow(
      expect.objectContaining({ code: "bad-request" }),
    );
    const trainer = engine.createTrainer({ ...TRAINER, targets: ["q_proj"] }, new Float32Array(4 * 2 * 64));
    const [example] = toyExamples(1);
    await expect(trainer.step([{ ...example, labels: [4, 4] }], 1, 0.1)).rejects.toMatchObject({ code: "labels" });
    await expect(trainer.step([{ ...example, target: 2 as 1 }], 1, 0.1)).rejects.toMatchObject({ code: "target" });
    await expect(trainer.step([{ ...example, question: [] }], 1, 0.1)).rejects.toMatchObject({ code: "empty-row" });
    await expect(trainer.step([example], 0, 0.1)).rejects.toMatchObject({ code: "bad-request" });
    await expect(trainer.step([], 1, 0.1)).rejects.toMatchObject({ code: "empty-batch" });
    trainer.dispose();
    await expect(trainer.evaluate([example])).rejects.toMatchObject({ code: "disposed" });
  });
});

describe("life and death of handles", () => {
  it("a disposed model, cache or adapter says so; calls already queued still finish", async () => {
    const engine = await toyEngine();
    const adapter = adapterOf(engine, 1);
    const [{ cache }] = await engine.forward([{ tokens: [1, 2, 3], keepCache: true }]);
    const queued = engine.forward([{ tokens: [4], cache, adapter }], { report: "last", topK: 1 });
    adapter.dispose();
    cache?.dispose();
    expect((await queued)[0].positions[0].top.length).toBe(1);
    await expect(engine.forward([{ tokens: [4], cache }])).rejects.toMatchObject({ code: "disposed" });
    await expect(engine.forward([{ tokens: [4], adapter }])).rejects.toMatchObject({ code: "disposed" });
    cache?.dispose();
    const last = engine.forward([{ tokens: [4] }], { report: "last", topK: 1 });
    engine.dispose();
    engine.dispose();
    expect((await last)[0].positions[0].top.length).toBe(1);
    await expect(engine.forward([{ tokens: [4] }])).rejects.toMatchObject({ code: "disposed", name: "InputError" });
  });

  it("caches and adapters of another engine are refused by name", async () => {
    const [one, two] = [await toyEngine(), await toyEngine()];
    const [{ cache }] = await one.forward([{ tokens: [1], keepCache: true }]);
    await expect(two.forward([{ tokens: [1], cache }])).rejects.toMatchObject({ code: "foreign-cache" });
    await expect(two.forward([{ tokens: [1], adapter: adapterOf(one, 1) }])).rejects.toMatchObject({
      code: "foreign-adapter",
    });
    await expect(two.forward([{ tokens: [1], cache: { length: 3 } as Cache }])).rejects.toMatchObject({
      code: "foreign-cache",
    });
    one.dispose();
    two.dispose();
  });

  it("a handle of the wrong kind is not followed", async () => {
    const native = loadNative();
    const engine = native.createEngine({ backend: "cpu", dtype: "f32", threads: 1, isa: "" });
    expect(() => native.disposeModel(engine as never)).toThrow(expect.objectContaining({ code: "bad-handle" }));
    expect(() => native.cacheLength({} as never)).toThrow(expect.objectContaining({ code: "bad-handle" }));
  });

  it("abort before and during a call; the engine goes on", async () => {
    const engine = await toyEngine();
    await expect(engine.forward([{ tokens: [1] }], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "aborted",
    });
    const controller = new AbortController();
    const rows = Array.from({ length: 1500 }, (_, i) => ({ tokens: tokensOf(60, i) }));
    const long = engine.forward(rows, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
      shareLayers: false,
    });
    await expect(long).rejects.toMatchObject({ code: "aborted", name: "AbortedError" });
    expect((await engine.forward([{ tokens: [1] }], { report: "last", topK: 1 }))[0].positions.length).toBe(1);
    engine.dispose();
  }, 60_000);

  it("progress rises to the total; an exception of the listener stops the call and comes out", async () => {
    const seen: [number, number][] = [];
    const engine = await openNative({
      backend: "cpu",
      dtype: "f32",
      config: TOY,
      tensors: null,
      onProgress: (done, total) => void seen.push([done, total]),
    });
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1]);
    const failing = engine.forward([{ tokens: [1] }], {
      onProgress: () => {
        throw new RangeError("listener");
      },
    });
    await expect(failing).rejects.toThrow("listener");
    engine.dispose();
  });

  it("unreferenced caches are collected and their memory returns", () => {
    const script = `${PRELUDE}
      (async () => {
        const model = await native.openModel(engine(), config, null, 1, {});
        const tick = () => new Promise((r) => setTimeout(r, 5));
        const rss = () => process.memoryUsage().rss / 2 ** 20;
        const round = async (n) => { for (let r = 0; r < n; r++) { await native.forward(model, request(90, true), {}); if (r % 50 === 0) { gc(); await tick(); } } };
        await round(200); gc(); await tick();
        const before = rss();
        await round(2000); gc(); await tick();
        console.log(rss() - before);
      })();`;
    // 2000 caches of 90 positions x 4 layers x 2 x 16 floats = 92 MB if none were freed
    expect(Number(inNode(script, ["--expose-gc"]))).toBeLessThan(30);
  });

  it("a process may exit in the middle of a call", () => {
    const script = `${PRELUDE}
      (async () => {
        const model = await native.openModel(engine(), { ...config, max_position_embeddings: 4096 }, null, 1, {});
        native.forward(model, request(4000, true), {}).then(() => console.log("finished"), () => {});
        setTimeout(() => { console.log("leaving"); process.exit(0); }, 20);
      })();`;
    expect(inNode(script)).toBe("leaving");
  });

  it("worker threads may open engines and end while a call runs, the process lives on", () => {
    const script = `${PRELUDE}
      const { Worker } = require("node:worker_threads");
      const body = ${JSON.stringify(PRELUDE)} + \`
        (async () => {
          const model = await native.openModel(engine(), { ...config, max_position_embeddings: 4096 }, null, 1, {});
          native.forward(model, request(4000, true), {}).catch(() => {});
          require("node:worker_threads").parentPort.postMessage("running");
        })();\`;
      (async () => {
        for (let r = 0; r < 3; r++) {
          const worker = new Worker(body, { eval: true });
          await new Promise((done) => worker.once("message", done));
          await worker.terminate();
        }
        const model = await native.openModel(engine(), config, null, 1, {});
        await native.forward(model, request(5, true), {});
        console.log("alive");
      })();`;
    expect(inNode(script)).toBe("alive");
  });
});
