// Blocks of every quantised type, decoded as the Python gguf package decodes them, to the last bit.
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { loadBinding } from "../../kernel-lib/src/engine";
import { readSafetensorsHeader, readTensor, tensorEntry } from "../../kernel-lib/src/files";
import * as fs from "node:fs";

const file = path.join(import.meta.dirname, "../fixtures/gguf/blocks.safetensors");
const table = readSafetensorsHeader(file);
const TYPES = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"] as const;

function blocksOf(type: string): Uint8Array {
  const { byteOffset, byteLength } = tensorEntry(table, `${type}.blocks`);
  return new Uint8Array(fs.readFileSync(file).subarray(byteOffset, byteOffset + byteLength));
}

describe("quantised blocks", () => {
  it("has a golden for every type", () => {
    expect([...table.tensors.keys()].filter((name) => name.endsWith(".values")).sort()).toEqual(
      TYPES.map((type) => `${type}.values`).sort(),
    );
  });

  it.each(TYPES)("decodes %s bit for bit", async (type) => {
    const expected = await readTensor(table, `${type}.values`);
    const values = loadBinding().dequantise(type, blocksOf(type));
    expect(new Uint32Array(values.buffer)).toEqual(new Uint32Array(expected.buffer));
  });

  it("gives the same values on many threads", async () => {
    const blocks = blocksOf("q6_k");
    const copies = 20_000;
    const many = new Uint8Array(blocks.length * copies);
    for (let i = 0; i < copies; i++) many.set(blocks, i * blocks.length);
    const expected = await readTensor(table, "q6_k.values");
    const values = loadBinding().dequantise("q6_k", many);
    for (let i = 0; i < copies; i += 997)
      expect(values.subarray(i * expected.length, (i + 1) * expected.length)).toEqual(expected);
    expect(values.subarray(-expected.length)).toEqual(expected);
  });

  it("refuses other names and parts of blocks", () => {
    const { dequantise } = loadBinding();
    expect(() => dequantise("iq4_nl" as "q4_0", new Uint8Array(18))).toThrowError(/block format/);
    expect(() => dequantise("q4_0", new Uint8Array(19))).toThrowError(/whole blocks of 18/);
  });
});
