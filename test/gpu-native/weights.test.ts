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

describe("an engine", () => {
  it("does not start more threads than a machine can have", async () => {
    await expect(toyEngine({ threads: 1e8 })).rejects.toThrow(/threads 0\.\.1024 but received 100000000/);
  });
});
