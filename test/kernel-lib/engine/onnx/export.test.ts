/** The exported file: what it holds, same input same bytes, f16, a built-in adapter, nothing left of a stopped export, bad files. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { checkpointHash, readAdapter, readCheckpoint } from "../../../../kernel-lib/src/checkpoint";
import {
  decodeModel,
  encodeModel,
  exportOnnx,
  type ModelProto,
  openOnnx,
  openOnnxFile,
  readOnnxFile,
} from "../../../../kernel-lib/src/engine";
import { TOY, tokensOf } from "../../../gpu-native/toy";
import { adapterFolder, modelFolder } from "../../../parity/readers";
import { F32_LOGPROB } from "../../../parity/tolerances";
import { farthest, writeCheckpoint } from "./models";

const LAST = { report: "last", fullVocabulary: true } as const;

let scratch: string;
let toy: string;
const at = (...parts: string[]): string => path.join(scratch, ...parts);
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-onnx-"));
  toy = writeCheckpoint(at("toy"), 2, TOY, "BF16");
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const graphOf = (file: string): ModelProto => decodeModel(fs.readFileSync(file), file);

describe("export", () => {
  it("uses standard operators of the pinned set only, and says whose weights and which conventions", async () => {
    const { file, dataFile, bytes, modelHash } = await exportOnnx({ model: toy, out: at("a.onnx") });
    const model = graphOf(file);
    expect(model.opsetImport).toEqual([{ domain: "", version: 18 }]);
    const metadata = Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value]));
    expect(metadata["steerlab.model_hash"]).toBe(await checkpointHash(readCheckpoint(toy)));
    expect(metadata["steerlab.adapter_hash"]).toBe("");
    expect(JSON.parse(metadata["steerlab.config"])).toEqual(readCheckpoint(toy).config);
    expect(metadata["steerlab.convention.steering"]).toContain("residual +=");
    expect(modelHash).toBe(metadata["steerlab.model_hash"]);
    expect(bytes).toBe(fs.statSync(file).size + fs.statSync(dataFile).size);
    expect(model.graph.input.every(({ docString }) => docString.length > 10)).toBe(true);
  });

  it("same checkpoint, same bytes; a tied head is stored once", async () => {
    await exportOnnx({ model: toy, out: at("one", "m.onnx") });
    await exportOnnx({ model: toy, out: at("two", "m.onnx") });
    for (const name of ["m.onnx", "m.onnx.data"])
      expect(fs.readFileSync(at("two", name)).equals(fs.readFileSync(at("one", name)))).toBe(true);
    expect(graphOf(at("one", "m.onnx")).graph.initializer.filter(({ dims }) => dims[0] === TOY.vocab_size).length).toBe(
      1,
    );
    expect((await readOnnxFile(at("one", "m.onnx"), { verify: true })).metadata.dtype).toBe("f32");
  });

  it("f16 halves the matrices and stays near; a weight beyond f16 is refused by name", async () => {
    const rows = [{ tokens: tokensOf(9, 1) }];
    const full = await exportOnnx({ model: toy, out: at("f32.onnx") });
    const half = await exportOnnx({ model: toy, out: at("f16.onnx"), dtype: "f16" });
    expect(fs.statSync(half.dataFile).size).toBeLessThan(0.6 * fs.statSync(full.dataFile).size + 4096 * 32);
    const [a, b] = [await openOnnxFile(full.file, { threads: 1 }), await openOnnxFile(half.file, { threads: 1 })];
    // bf16 weights below 2^-14 lose bits in f16; all others are exact.
    expect(farthest(await a.forward(rows, LAST), await b.forward(rows, LAST))).toBeLessThan(1e-3);
    const huge = writeCheckpoint(at("huge"), 2, TOY, "BF16", 1e6);
    await expect(exportOnnx({ model: huge, out: at("huge.onnx"), dtype: "f16" })).rejects.toMatchObject({
      code: "f16-range",
    });
    expect(fs.readdirSync(scratch).filter((name) => name.startsWith("huge."))).toEqual([]);
  });

  it("refuses quantised weights by name", async () => {
    const quantised = path.join(import.meta.dirname, "../../../fixtures/gguf/toy.gguf");
    await expect(exportOnnx({ model: quantised, out: at("q.onnx") })).rejects.toThrowError(
      /plain weights .* q4_0.*Hugging Face folder/,
    );
  });

  it("an adapter built in equals the same adapter bound, and then no other can be bound", async () => {
    const folder = adapterFolder("gqa-tied", "r4-all");
    const model = modelFolder("gqa-tied");
    const { file, adapterHash } = await exportOnnx({ model, out: at("built-in.onnx"), adapter: folder });
    const adapter = await readAdapter(folder, { config: readCheckpoint(model).config, name: null });
    expect(adapterHash).toBe(adapter.hash);
    const builtIn = await openOnnxFile(file, { threads: 1 });
    const plain = await openOnnx(readCheckpoint(model), { threads: 1, cacheFolder: scratch, notice: () => undefined });
    const tokens = tokensOf(9, 1);
    const bound = await plain.forward(
      [
        { tokens, adapter: plain.bindAdapter(adapter.parts, adapter) },
        { tokens: [1, 2], parent: 0, adapter: plain.bindAdapter(adapter.parts, adapter) },
      ],
      LAST,
    );
    const inside = await builtIn.forward([{ tokens }, { tokens: [1, 2], parent: 0 }], LAST);
    expect(farthest(inside, bound)).toBeLessThan(F32_LOGPROB);
    expect(farthest(inside, await plain.forward([{ tokens }, { tokens: [1, 2], parent: 0 }], LAST))).toBeGreaterThan(
      0.01,
    );
    expect(() => builtIn.bindAdapter(adapter.parts, adapter)).toThrow(
      expect.objectContaining({ code: "adapter-built-in" }),
    );
    const generated = await builtIn.generate([{ tokens }, { tokens: [1] }], { maxTokens: 5, temperature: 0, seed: 1 });
    expect(generated[0].tokens.length).toBe(5);
  });

  it("a stopped export leaves nothing, and an older file stays as it was", async () => {
    const out = at("stopped.onnx");
    const controller = new AbortController();
    await expect(
      exportOnnx({ model: toy, out, signal: controller.signal, onProgress: () => controller.abort() }),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(fs.readdirSync(scratch).filter((name) => name.includes("stopped"))).toEqual([]);
    await exportOnnx({ model: toy, out });
    const before = fs.readFileSync(out);
    const again = new AbortController();
    await expect(
      exportOnnx({ model: toy, out, signal: again.signal, onProgress: () => again.abort() }),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(fs.readFileSync(out).equals(before)).toBe(true);
    await readOnnxFile(out, { verify: true });
  });

  it.each([
    ["onnx-out", { out: "model.bin" }],
    ["bad-dtype", { dtype: "f8" as "f32" }],
  ])("refuses %s", async (code, options) => {
    await expect(exportOnnx({ model: toy, out: at("x.onnx"), ...options })).rejects.toMatchObject({ code });
  });
});

describe("bad files", () => {
  const copy = async (name: string, change: (file: string) => void): Promise<string> => {
    fs.mkdirSync(at(name));
    const { file } = await exportOnnx({ model: toy, out: at(name, "m.onnx") });
    change(file);
    return file;
  };
  const edit = (file: string, change: (model: ModelProto) => void): void => {
    const model = graphOf(file);
    change(model);
    fs.writeFileSync(file, encodeModel(model));
  };
  const external = (model: ModelProto): { key: string; value: string }[] =>
    model.graph.initializer.flatMap((tensor) => tensor.externalData ?? []);

  it.each<[string, (file: string) => void]>([
    ["onnx-missing-file", (file) => fs.rmSync(file)],
    ["onnx-data-missing", (file) => fs.rmSync(`${file}.data`)],
    ["onnx-data-size", (file) => fs.truncateSync(`${file}.data`, fs.statSync(`${file}.data`).size - 1)],
    ["onnx-data-mismatch", (file) => fs.writeFileSync(`${file}.data`, Buffer.alloc(fs.statSync(`${file}.data`).size))],
    ["onnx-damaged", (file) => fs.truncateSync(file, Math.floor(fs.statSync(file).size / 2))],
    ["onnx-damaged", (file) => fs.writeFileSync(file, "not protobuf at all, just a line of text\n")],
    ["onnx-foreign", (file) => fs.writeFileSync(file, "")],
    ["onnx-foreign", (file) => edit(file, (model) => (model.metadataProps = []))],
    ["onnx-opset", (file) => edit(file, (model) => (model.opsetImport[0].version = 17))],
    ["onnx-opset", (file) => edit(file, (model) => model.opsetImport.push({ domain: "com.example", version: 1 }))],
    ["onnx-version", (file) => edit(file, (model) => (model.metadataProps[0].value = "steerlab-onnx/0"))],
    [
      "onnx-damaged",
      (file) =>
        edit(
          file,
          (model) => (model.metadataProps = model.metadataProps.filter(({ key }) => key !== "steerlab.model_hash")),
        ),
    ],
    [
      "path-escape",
      (file) =>
        edit(file, (model) => {
          for (const entry of external(model)) if (entry.key === "location") entry.value = "../toy/config.json";
        }),
    ],
    [
      "onnx-data-size",
      (file) =>
        edit(file, (model) => (external(model).filter(({ key }) => key === "offset")[1].value = String(2 ** 40))),
    ],
  ])("%s in one sentence (case %#)", async (code, change) => {
    const file = await copy(`bad-${fs.readdirSync(scratch).length}`, change);
    const error = await openOnnxFile(file, { threads: 1 }).then(
      () => null,
      (e: unknown) => e as Error & { code: string },
    );
    expect(error?.code).toBe(code);
    expect(error?.message).toMatch(/^Expected .*\.$/);
    expect(error?.message).not.toContain("\n");
  });

  it("another model's hash, and changed data where it is verified", async () => {
    const file = await copy("hash", () => undefined);
    await expect(openOnnxFile(file, { modelHash: "0".repeat(64) })).rejects.toMatchObject({
      code: "onnx-model-mismatch",
    });
    const data = fs.readFileSync(`${file}.data`);
    data[data.length - 3] ^= 1;
    fs.writeFileSync(`${file}.data`, data);
    await expect(openOnnxFile(file, { verify: true })).rejects.toMatchObject({ code: "onnx-data-mismatch" });
  });
});

describe("kept exports", () => {
  it("writes once with a notice, mends a damaged one, and refuses other compute types", async () => {
    const checkpoint = readCheckpoint(toy);
    const notice = vi.fn();
    const cacheFolder = at("cache");
    const open = (): ReturnType<typeof openOnnx> => openOnnx(checkpoint, { threads: 1, cacheFolder, notice });
    (await open()).dispose();
    (await open()).dispose();
    expect(notice).toHaveBeenCalledTimes(1);
    const folders = fs.readdirSync(cacheFolder);
    expect(folders.length).toBe(1);
    fs.truncateSync(path.join(cacheFolder, folders[0], "model.onnx.data"), 100);
    (await open()).dispose();
    expect(notice).toHaveBeenCalledTimes(2);
    expect(fs.readdirSync(cacheFolder)).toEqual(folders);
    await expect(openOnnx(checkpoint, { dtype: "bf16", cacheFolder })).rejects.toMatchObject({ code: "bad-dtype" });
  });

  it("two openings at once end with one good export", async () => {
    const cacheFolder = at("race");
    const engines = await Promise.all(
      [1, 2].map(() => openOnnx(readCheckpoint(toy), { threads: 1, cacheFolder, notice: () => undefined })),
    );
    for (const engine of engines) expect((await engine.forward([{ tokens: [1] }], LAST))[0].positions.length).toBe(1);
    expect(fs.readdirSync(cacheFolder).length).toBe(1);
  });
});
