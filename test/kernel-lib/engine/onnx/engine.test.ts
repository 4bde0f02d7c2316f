/**
 * Manners of the ONNX engine: laws of steering and caches, generation, refusals, order of calls, disposal, abort. Numbers of a row
 * may differ in the last bits with its batch (the runtime blocks its products by shape), so laws hold within a few f32 roundings.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Cache,
  type ForwardOptions,
  type GenerateOptions,
  type NativeEngine,
  type OnnxEngine,
  openOnnxFile,
  type Row,
} from "../../../../kernel-lib/src/engine";
import { adapterParts, directionOf, TOY, TRAINER, tokensOf } from "../../../gpu-native/toy";
import { bothEngines, farthest, vocabularies, writeCheckpoint } from "./models";

const LAST: ForwardOptions = { report: "last", fullVocabulary: true };
const ALL: ForwardOptions = { report: "all", fullVocabulary: true };
/** The same sums in another order: some f32 roundings of logprobs of order 5. */
const ROUNDING = 1e-5;

let scratch: string;
let cpu: NativeEngine;
let onnx: OnnxEngine;
beforeAll(async () => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-onnx-"));
  ({ cpu, onnx } = await bothEngines(writeCheckpoint(path.join(scratch, "toy"), 2, TOY), scratch));
});
afterAll(() => {
  cpu.dispose();
  onnx.dispose();
  fs.rmSync(scratch, { recursive: true, force: true });
});

const context = tokensOf(9, 1);
const direction = directionOf(3);
const bound = (engine: OnnxEngine | NativeEngine, seed: number) =>
  engine.bindAdapter(adapterParts(seed), { name: `toy-${seed}`, hash: `${seed}` });

describe("laws", () => {
  it("magnitude 0, an empty span and an empty layer range are exactly no steering; a real one is not", async () => {
    const clean = vocabularies(await onnx.forward([{ tokens: context }], ALL));
    for (const plan of [
      { direction, layers: [0, 4] as const, magnitude: 0 },
      { direction, layers: [0, 4] as const, magnitude: 3, span: [4, 4] as const },
      { direction, layers: [2, 2] as const, magnitude: 3 },
    ]) {
      expect(vocabularies(await onnx.forward([{ tokens: context, steering: [plan] }], ALL))).toEqual(clean);
    }
    const steered = vocabularies(
      await onnx.forward(
        [{ tokens: context, steering: [{ direction, layers: [0, 4], magnitude: 3, span: [5, 9] }] }],
        ALL,
      ),
    );
    for (let t = 0; t < 5; t++) expect(steered[t]).toEqual(clean[t]);
    expect(steered[5]).not.toEqual(clean[5]);
  });

  it("a capture moves by magnitude times direction where the plan says", async () => {
    const capture = { layers: [1, 2], positions: "last" as const };
    const [clean] = await onnx.forward([{ tokens: context }], { capture });
    const [steered] = await onnx.forward(
      [{ tokens: context, steering: [{ direction, layers: [2, 3], magnitude: 2 }] }],
      { capture },
    );
    const [a, b] = [clean.captures as Float32Array, steered.captures as Float32Array];
    expect(b.subarray(0, 32)).toEqual(a.subarray(0, 32));
    for (const [i, d] of direction.entries()) expect(b[32 + i] - a[32 + i]).toBeCloseTo(2 * d, 5);
  });

  it("twenty questions in any order, together or alone, over a cache in pieces, give the same numbers; the cache stays", async () => {
    const questions = Array.from({ length: 20 }, (_, i) => tokensOf(1 + (i % 5), 50 + i));
    const [first] = await onnx.forward([{ tokens: context.slice(0, 4), keepCache: true }]);
    const [{ cache }] = await onnx.forward([{ tokens: context.slice(4), cache: first.cache, keepCache: true }]);
    expect(cache?.length).toBe(9);
    const together = await onnx.forward(
      questions.map((tokens) => ({ tokens, cache })),
      LAST,
    );
    const backwards = (
      await onnx.forward(
        [...questions].reverse().map((tokens) => ({ tokens, cache })),
        LAST,
      )
    ).reverse();
    expect(farthest(backwards, together)).toBeLessThan(ROUNDING);
    for (const [i, tokens] of questions.entries()) {
      const alone = await onnx.forward([{ tokens: [...context, ...tokens] }], LAST);
      expect(farthest(alone, [together[i]])).toBeLessThan(ROUNDING);
    }
    expect(
      farthest(
        await onnx.forward(
          questions.map((tokens) => ({ tokens, cache })),
          LAST,
        ),
        together,
      ),
    ).toBe(0);
  });

  it("two adapters and the base in one call equal each alone, and a disposed adapter is refused", async () => {
    const adapters = [bound(onnx, 21), bound(onnx, 22)];
    const rows: Row[] = [
      { tokens: context },
      { tokens: context, adapter: adapters[0] },
      { tokens: context, adapter: adapters[1] },
    ];
    const together = await onnx.forward(rows, LAST);
    for (const [i, row] of rows.entries())
      expect(farthest(await onnx.forward([row], LAST), [together[i]])).toBeLessThan(ROUNDING);
    expect(farthest([together[0]], [together[1]])).toBeGreaterThan(0.01);
    expect(farthest([together[1]], [together[2]])).toBeGreaterThan(0.01);
    adapters[0].dispose();
    await expect(onnx.forward([rows[1]], LAST)).rejects.toMatchObject({ code: "disposed" });
  });
});

describe("generation", () => {
  const prompts = (engine: OnnxEngine | NativeEngine, cache: Cache | null): Row[] => [
    { tokens: tokensOf(5, 7), steering: [{ direction, layers: [0, 3], magnitude: 2 }] },
    { tokens: tokensOf(2, 8), cache },
    { tokens: tokensOf(7, 9), adapter: bound(engine, 3) },
    { tokens: tokensOf(1, 10), cache },
    { tokens: tokensOf(3, 11), parent: 0 },
  ];

  it.each([
    { name: "argmax", temperature: 0, topP: 1 },
    { name: "sampled", temperature: 1.3, topP: 1 },
    { name: "sampled from the nucleus", temperature: 0.9, topP: 0.7 },
  ])("$name: the same tokens as the CPU engine from the same seeds", async ({ temperature, topP }) => {
    const caches = await Promise.all(
      [cpu, onnx].map(async (engine) => (await engine.forward([{ tokens: context, keepCache: true }]))[0].cache),
    );
    const options = { maxTokens: 70, temperature, topP, seed: 5, stopIds: [17] };
    const expected = await cpu.generate(prompts(cpu, caches[0]), options);
    const generated = await onnx.generate(prompts(onnx, caches[1]), options);
    expect(generated).toEqual(expected);
    expect(Math.max(...generated.map(({ tokens }) => tokens.length))).toBeGreaterThan(64); // past one growth of the block
    expect(new Set(generated.map(({ tokens }) => tokens.join(" "))).size).toBe(5);
  });

  it("a row that does not report generates nothing, and big seeds work", async () => {
    const seed = [2 ** 53 - 1, 2 ** 40 + 5];
    const rows: Row[] = [
      { tokens: context, report: false },
      { tokens: [3], parent: 0 },
    ];
    const generated = await onnx.generate(rows, { maxTokens: 6, seed });
    expect(generated).toEqual(await cpu.generate(rows, { maxTokens: 6, seed }));
    expect(generated[0].tokens.length).toBe(0);
  });
});

describe("refusals and order", () => {
  it("names what it cannot do", async () => {
    expect(() => onnx.createTrainer(TRAINER, new Float32Array(0))).toThrow(
      expect.objectContaining({ code: "onnx-training" }),
    );
    await expect(onnx.forward([{ tokens: [1] }], { shareLayers: true })).rejects.toMatchObject({
      code: "onnx-layer-forks",
    });
  });

  it.each([
    ["empty-row", { tokens: [] }, {}],
    ["bad-token", { tokens: [61] }, {}],
    ["bad-token", { tokens: [1], wanted: [-1] }, { report: "last" }],
    ["layer-range", { tokens: [1], steering: [{ direction, layers: [0, 5], magnitude: 1 }] }, {}],
    ["span", { tokens: [1], steering: [{ direction, layers: [0, 4], magnitude: 1, span: [0, 2] }] }, {}],
    ["direction", { tokens: [1], steering: [{ direction: new Float32Array(31), layers: [0, 4], magnitude: 1 }] }, {}],
    [
      "direction",
      { tokens: [1], steering: [{ direction: new Float32Array(32).fill(Number.NaN), layers: [0, 4], magnitude: 1 }] },
      {},
    ],
    ["magnitude", { tokens: [1], steering: [{ direction, layers: [0, 4], magnitude: Number.POSITIVE_INFINITY }] }, {}],
    ["parent-row", { tokens: [1], parent: 0 }, {}],
    ["top-k", { tokens: [1] }, { report: "last", topK: 62 }],
    ["layer-range", { tokens: [1] }, { capture: { layers: [4], positions: "all" } }],
    ["too-long", { tokens: new Int32Array(97) }, {}],
  ] as [string, Row, ForwardOptions][])("refuses %s with the native engine's code", async (code, row, options) => {
    await expect(onnx.forward([row], options)).rejects.toMatchObject({ code });
    await expect(cpu.forward([row], options)).rejects.toMatchObject({ code });
  });

  it.each([
    ["too-long", { maxTokens: 50, seed: 1 }],
    ["max-tokens", { maxTokens: 0, seed: 1 }],
    ["temperature", { maxTokens: 1, seed: 1, temperature: -1 }],
    ["top-p", { maxTokens: 1, seed: 1, topP: 0 }],
    ["seed", { maxTokens: 1, seed: [1, 2] }],
    ["bad-token", { maxTokens: 1, seed: 1, stopIds: [61] }],
  ] as [string, GenerateOptions][])("refuses to generate with %s, as the native engine does", async (code, options) => {
    const rows = [{ tokens: tokensOf(60, 1) }];
    await expect(onnx.generate(rows, options)).rejects.toMatchObject({ code });
    await expect(cpu.generate(rows, options)).rejects.toMatchObject({ code });
  });

  it("refuses caches and adapters of another engine, and misshapen parts", async () => {
    const [{ cache }] = await cpu.forward([{ tokens: [1, 2], keepCache: true }]);
    await expect(onnx.forward([{ tokens: [1], cache }])).rejects.toMatchObject({ code: "foreign-cache" });
    await expect(onnx.forward([{ tokens: [1], adapter: bound(cpu, 1) }])).rejects.toMatchObject({
      code: "foreign-adapter",
    });
    const [part] = adapterParts(1);
    for (const [code, parts] of [
      ["bad-layer", [{ ...part, layer: 4 }]],
      ["adapter-shape", [{ ...part, a: part.a.slice(1) }]],
      ["duplicate-part", [part, part]],
    ] as const) {
      expect(() => onnx.bindAdapter(parts, { name: "x", hash: "x" })).toThrow(expect.objectContaining({ code }));
    }
  });

  it("answers calls in the order they were made, and a failed one does not stop the next", async () => {
    const finished: number[] = [];
    const abort = AbortSignal.abort();
    await Promise.allSettled([
      onnx.forward([{ tokens: tokensOf(80, 1) }], ALL).then(() => finished.push(0)),
      onnx.forward([{ tokens: [1] }], { ...LAST, signal: abort }).catch(() => finished.push(1)),
      onnx.forward([{ tokens: [1] }], LAST).then(() => finished.push(2)),
    ]);
    expect(finished).toEqual([0, 1, 2]);
  });

  it("stops between two runs, with progress up to there", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const onProgress = (done: number): void => {
      seen.push(done);
      if (seen.length === 3) controller.abort();
    };
    await expect(
      onnx.generate([{ tokens: [1] }], { maxTokens: 60, seed: 1, signal: controller.signal, onProgress }),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(seen).toEqual([1, 2, 3]);
  });

  it("calls under way see a cache disposed after them; later ones are refused, as on a disposed engine", async () => {
    const own = await openOnnxFile(onnx.file.file, { threads: 1 });
    const [{ cache }] = await own.forward([{ tokens: context, keepCache: true }]);
    const underWay = own.forward([{ tokens: [1], cache }], LAST);
    cache?.dispose();
    await expect(own.forward([{ tokens: [1], cache }], LAST)).rejects.toMatchObject({ code: "disposed" });
    own.dispose();
    expect((await underWay).length).toBe(1);
    await expect(own.forward([{ tokens: [1] }], LAST)).rejects.toMatchObject({ code: "disposed" });
    own.dispose();
  });
});
