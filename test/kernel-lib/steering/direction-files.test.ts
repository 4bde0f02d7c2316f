// Directions from every format that is known; one rule for their rows; control vectors there and back.
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readGguf, type TensorToWrite, writeSafetensors } from "../../../kernel-lib/src/files";
import {
  type DirectionSet,
  norm,
  randomDirectionSet,
  readDirections,
  writeDirections,
} from "../../../kernel-lib/src/steering";
import { ggufBytes, tinyQwen2 } from "../../helpers/gguf";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-directions-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);
const fixture = path.join(import.meta.dirname, "../../fixtures/gguf/vectors.gguf");

function put(tensors: Record<string, TensorToWrite>, metadata: Record<string, string> = {}): string {
  writeSafetensors(at("x.safetensors"), tensors, metadata);
  return at("x.safetensors");
}
const f32 = (shape: number[], data: number[]): TensorToWrite => ({ dtype: "F32", shape, data });

describe("control vectors", () => {
  it("are read as llama.cpp's tools write them: direction.N acts after block N, lengths kept", async () => {
    const set = await readDirections(fixture, { width: 16 });
    expect(set).toMatchObject({
      names: ["direction.1", "direction.2", "direction.3"],
      layers: [1, 2, 3],
      method: null,
    });
    const table = readGguf(fixture);
    const bytes = fs.readFileSync(fixture);
    for (const [i, { byteOffset }] of [...table.tensors.values()].entries()) {
      const length = (set.norms as number[])[i];
      expect(norm(set.directions[i])).toBeCloseTo(1, 6);
      for (let c = 0; c < 16; c++)
        expect(set.directions[i][c] * length).toBeCloseTo(bytes.readFloatLE(byteOffset + 4 * c), 5);
    }
  });

  it("come back whole: directions, lengths, layers and origin", async () => {
    const set: DirectionSet = {
      ...randomDirectionSet(3, 16, 4),
      layers: [7, 1, 30],
      norms: [1, 2.5, 40],
      modelHash: "ab",
    };
    writeDirections(at("v.gguf"), set);
    const back = await readDirections(at("v.gguf"));
    expect([back.layers, back.names, back.method, back.seed, back.modelHash]).toEqual([
      [1, 7, 30],
      [set.names[1], set.names[0], set.names[2]],
      "random",
      4,
      "ab",
    ]);
    for (const [i, from] of [1, 0, 2].entries()) {
      expect((back.norms as number[])[i]).toBeCloseTo((set.norms as number[])[from], 4);
      for (let c = 0; c < 16; c++) expect(back.directions[i][c]).toBeCloseTo(set.directions[from][c], 6);
    }
    const { metadata } = readGguf(at("v.gguf"));
    expect(metadata.get("general.architecture")).toBe("controlvector");
    expect(metadata.get("controlvector.model_hint")).toBe("qwen2");
    expect(metadata.get("controlvector.layer_count")).toBe(3);
  });

  const python = process.env.STEERLAB_ORACLE_PYTHON ?? "";
  it.skipIf(python === "")(
    "are read by the Python gguf package (skipped by name without STEERLAB_ORACLE_PYTHON)",
    () => {
      writeDirections(at("p.gguf"), { ...randomDirectionSet(2, 4, 1), layers: [1, 2] });
      const script = "import sys, gguf; print([(t.name, t.data.shape) for t in gguf.GGUFReader(sys.argv[1]).tensors])";
      const out = execFileSync(python, ["-c", script, at("p.gguf")], { encoding: "utf8" });
      expect(out).toContain("direction.1");
      expect(out).toContain("(4,)");
    },
  );

  it("need a layer of their own from block 1 on", () => {
    const set = randomDirectionSet(2, 4, 1);
    for (const layers of [null, [0, 1], [1, 1], [1, 1.5]])
      expect(() => writeDirections(at("v.gguf"), { ...set, layers })).toThrowError(/different layer from 1 on/);
    expect(() => writeDirections(at("v.gguf"), { ...set, layers: [1] })).toThrowError(/2 layers/);
  });

  it("are told from other GGUF files and from damaged ones", async () => {
    const write = (bytes: Buffer): string => {
      fs.writeFileSync(at("bad.gguf"), bytes);
      return at("bad.gguf");
    };
    await expect(readDirections(write(ggufBytes(tinyQwen2())))).rejects.toThrowError(/controlvector.*"qwen2"/);
    const control = (name: string, shape: number[]): Buffer =>
      ggufBytes({
        metadata: [["general.architecture", "controlvector"]],
        tensors: [{ name, shape, bytes: 4 * shape.reduce((a, b) => a * b, 1) }],
      });
    await expect(readDirections(write(control("direction.0", [4])))).rejects.toThrowError(/no direction\.0/);
    await expect(readDirections(write(control("direction.1", [2, 2])))).rejects.toThrowError(/2 dimensions/);
    await expect(readDirections(write(control("direction.1", [4])))).rejects.toThrowError(
      /direction\.1 in .*zeros only/,
    );
    const none = ggufBytes({ metadata: [["general.architecture", "controlvector"]] });
    await expect(readDirections(write(none))).rejects.toThrowError(/received "none"/);
  });
});

describe("other formats", () => {
  it("one tensor per concept, by name", async () => {
    const set = await readDirections(put({ joy: f32([2], [0, 3]), awe: f32([1, 2], [1, 0]) }, { method: "caa" }));
    expect(set).toMatchObject({ names: ["awe", "joy"], norms: [1, 3], method: "caa", layers: null });
    expect(set.directions.map((direction) => [...direction])).toEqual([
      [1, 0],
      [0, 1],
    ]);
    await expect(readDirections(put({ a: f32([2], [1, 0]), b: f32([3], [1, 0, 0]) }))).rejects.toThrowError(
      /same length/,
    );
    await expect(readDirections(put({ a: f32([2, 2], [1, 0, 0, 1]) }))).rejects.toThrowError(/a \[2, 2\]/);
  });

  it("decoder rows of a sparse autoencoder, all or chosen", async () => {
    const decoder = put({ W_dec: f32([4, 2], [1, 0, 0, 2, 0, 0, 3, 4]), W_enc: f32([2, 4], Array(8).fill(1)) });
    await expect(readDirections(decoder, { width: 2 })).rejects.toThrowError(/row 2 of W_dec .*zeros only/);
    const set = await readDirections(decoder, { width: 2, rows: [3, 1] });
    expect(set).toMatchObject({ names: ["feature-3", "feature-1"], norms: [5, 2], method: "decoder row" });
    expect([...set.directions[1]]).toEqual([0, 1]);
    await expect(readDirections(decoder, { rows: [4] })).rejects.toMatchObject({ code: "row-range" });
  });

  it("a transposed matrix is told so", async () => {
    const turned = put({ W_dec: f32([2, 4], Array(8).fill(1)) });
    await expect(readDirections(turned, { width: 2 })).rejects.toThrowError(/transposed/);
    await expect(readDirections(turned)).rejects.toThrowError(/transposed/);
    expect((await readDirections(turned, { width: 4 })).names.length).toBe(2);
    await expect(readDirections(put({ vectors: f32([2, 4], Array(8).fill(1)) }), { width: 2 })).rejects.toThrowError(
      /transposed/,
    );
  });

  it("ours, some rows of it, and files that say one layer for all", async () => {
    const set = { ...randomDirectionSet(3, 8, 1), norms: [1, 2, 3], layers: [4, 5, 6] };
    writeDirections(at("o.safetensors"), set);
    expect(await readDirections(at("o.safetensors"), { rows: [2, 0] })).toMatchObject({
      names: [set.names[2], set.names[0]],
      norms: [3, 1],
      layers: [6, 4],
    });
    const origin = JSON.stringify({ names: ["a", "b"], layer: 3 });
    const older = put({ vectors: f32([2, 2], [1, 0, 0, 1]) }, { format: "steerlab-vectors-1", origin });
    expect((await readDirections(older)).layers).toEqual([3, 3]);
    const bad = JSON.stringify({ names: ["a", "b"], layers: [3] });
    const wrong = put({ vectors: f32([2, 2], [1, 0, 0, 1]) }, { format: "steerlab-vectors-1", origin: bad });
    await expect(readDirections(wrong)).rejects.toThrowError(/2 layers/);
  });
});

describe("the rule for rows", () => {
  it.each<[string, RegExp, TensorToWrite]>([
    ["whole numbers", /floats .*I32/, { dtype: "I32", shape: [1, 2], data: [1, 0] }],
    ["a zero row", /vectors\[1\].*zeros only/, f32([2, 2], [1, 0, 0, 0])],
    ["a row that is not finite", /vectors\[0\].*NaN in component 1/, f32([1, 2], [1, Number.NaN])],
    ["another width", /2 components/, f32([1, 3], [1, 0, 0])],
  ])("refuses %s", async (_, sentence, vectors) => {
    await expect(readDirections(put({ vectors }), { width: 2 })).rejects.toThrowError(sentence);
  });

  it("normalises rows of another length, leaves unit rows to the bit, and says so", async () => {
    const unit = [Math.fround(Math.SQRT1_2), Math.fround(Math.SQRT1_2)];
    const file = put({ vectors: f32([2, 2], [...unit, 0, 100]) });
    const notes: string[] = [];
    const onNote = (note: string): void => void notes.push(note);
    const set = await readDirections(file, { onNote });
    expect(set.directions.map((direction) => [...direction])).toEqual([unit, [0, 1]]);
    expect((set.norms as number[])[1]).toBe(100);
    expect(notes).toEqual([expect.stringMatching(/vector-1: 100\.0\); they are normalised/)]);
    await readDirections(put({ vectors: f32([1, 2], unit), norms: f32([1], [7]) }), { onNote }); // a length that is only told
    expect(notes.length).toBe(1);
  });
});
