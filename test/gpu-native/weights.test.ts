/** Damage inside the weights is found while they are read, and named by tensor, row and column. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCheckpoint } from "../../kernel-lib/src/checkpoint";
import { type NativeEngine, openNative } from "../../kernel-lib/src/engine";
import { toyEngine } from "./toy";

const MODELS = path.resolve(__dirname, "../fixtures/parity/models");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weights-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Bit patterns per type: infinity, a NaN that differs from it in the last bit only, and the largest finite number. */
const PATTERNS = {
  f32: { bytes: 4, infinity: 0xff800000, nan: 0x7f800001, largest: 0x7f7fffff },
  bf16: { bytes: 2, infinity: 0x7f80, nan: 0xff81, largest: 0xff7f },
  f16: { bytes: 2, infinity: 0xfc00, nan: 0x7c01, largest: 0x7bff },
};

async function open(model: string): Promise<NativeEngine> {
  const { config, tensors } = readCheckpoint(model);
  return openNative({ backend: "cpu", dtype: "f32", threads: 1, config, tensors });
}

describe.each([
  ["gqa-tied", "f32"],
  ["bf16-theta", "bf16"],
  ["mha-sharded-f16", "f16"],
] as const)("a checkpoint (%s) in %s", (name, dtype) => {
  const { bytes, ...patterns } = PATTERNS[dtype];
  const model = path.join(folder, name);
  fs.cpSync(path.join(MODELS, name), model, { recursive: true });
  const { tensors } = readCheckpoint(model);
  const places = [
    ["model.embed_tokens.weight", 0, 0],
    ["model.layers.1.mlp.down_proj.weight", -1, -1],
    ["model.layers.0.self_attn.k_proj.bias", 0, 2],
  ] as const;

  it.each(places)("with a number in %s that is none is refused by its place", async (tensorName, atRow, atColumn) => {
    const tensor = tensors.find((one) => one.name === tensorName);
    if (tensor === undefined || tensor.dtype !== dtype) throw new Error(`no ${dtype} ${tensorName} in ${name}`);
    const columns = tensor.shape[tensor.shape.length - 1];
    const rows = tensor.byteLength / bytes / columns;
    const [row, column] = [(atRow + rows) % rows, (atColumn + columns) % columns];
    const whole = fs.readFileSync(tensor.file);
    const put = (bits: number): void => {
      const spoilt = Buffer.from(whole);
      spoilt.writeUIntLE(bits, tensor.byteOffset + (row * columns + column) * bytes, bytes);
      fs.writeFileSync(tensor.file, spoilt);
    };
    for (const bits of [patterns.infinity, patterns.nan]) {
      put(bits);
      await expect(open(model)).rejects.toMatchObject({
        name: "DataError",
        code: "tensor-values",
        message: expect.stringContaining(
          `for tensor ${tensorName} but received NaN or infinity in row ${row}, column ${column}.`,
        ),
      });
    }
    put(patterns.largest);
    (await open(model)).dispose();
    fs.writeFileSync(tensor.file, whole);
  });
});

it("of several numbers that are none in a large matrix, the first is named", async () => {
  const model = path.join(folder, "large");
  const config = {
    ...JSON.parse(fs.readFileSync(path.join(MODELS, "bf16-theta", "config.json"), "utf8")),
    vocab_size: 65536, // 4 million elements with 64 columns: several threads look
    hidden_size: 64,
    head_dim: 8,
  };
  const writer = path.resolve(__dirname, "../../gpu-native/bench/random-checkpoint.mjs");
  (await import(writer)).writeRandomCheckpoint(model, config);
  const { tensors } = readCheckpoint(model);
  const embed = tensors.find((one) => one.name === "model.embed_tokens.weight");
  if (embed === undefined) throw new Error("no embedding");
  const file = fs.openSync(embed.file, "r+");
  for (const row of [65535, 40000, 20000])
    fs.writeSync(file, Buffer.from([0x80, 0x7f]), 0, 2, embed.byteOffset + (row * 64 + 7) * 2);
  fs.closeSync(file);
  await expect(open(model)).rejects.toMatchObject({
    code: "tensor-values",
    message: expect.stringContaining("in row 20000, column 7."),
  });
});

describe("an engine", () => {
  it("does not start more threads than a machine can have", async () => {
    await expect(toyEngine({ threads: 1e8 })).rejects.toThrow(/threads 0\.\.1024 but received 100000000/);
  });
});
