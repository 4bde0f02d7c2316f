// Directions as laws: unit length, independence of count, contrast algebra, geometry kept by rotation, files that come back.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { writeSafetensors } from "../../../kernel-lib/src/files";
import {
  contrastDirection,
  cosine,
  cosineMatrix,
  dot,
  readDirections,
  matchedRandom,
  norm,
  normalise,
  randomDirections,
  randomDirectionSet,
  writeDirections,
} from "../../../kernel-lib/src/steering";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-vectors-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);

describe("random directions", () => {
  it("have unit length, repeat for a seed, and do not depend on how many are asked for", () => {
    const many = randomDirections(50, 64, random(1));
    for (const direction of many) expect(norm(direction)).toBeCloseTo(1, 6);
    expect(randomDirections(3, 64, random(1))).toEqual(many.slice(0, 3));
    expect(randomDirections(1, 64, random(2))[0]).not.toEqual(many[0]);
    expect(() => randomDirections(-1, 4, random(1))).toThrowError(/count/);
    expect(() => randomDirections(1, 0, random(1))).toThrowError(/size/);
  });

  it("are spread evenly: over 1,225 pairs in 64 dimensions cosines have mean 0 and variance 1/64 (5 sigma, odds 6e-7 each)", () => {
    const cosines = cosineMatrix(randomDirections(50, 64, random(3))).flatMap((row, i) => row.slice(i + 1));
    expect(cosines.length).toBe(1225);
    const mean = cosines.reduce((sum, value) => sum + value, 0) / 1225;
    const square = cosines.reduce((sum, value) => sum + value * value, 0) / 1225;
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(64 * 1225));
    expect(Math.abs(square * 64 - 1)).toBeLessThan(5 * Math.sqrt(2 / 1225));
  });
});

describe("contrast", () => {
  it("is the normalised difference of means, with its length; swapping sides flips it, shifting both changes nothing", () => {
    const positive = [Float32Array.of(3, 1, 0), Float32Array.of(5, 1, 0)];
    const negative = [Float32Array.of(1, 1, 4)];
    const { direction, norm: length } = contrastDirection(positive, negative);
    expect(length).toBeCloseTo(5, 12);
    expect([...direction].map((value) => Math.round(value * 1e6) / 1e6)).toEqual([0.6, 0, -0.8]);
    expect(contrastDirection(negative, positive).direction).toEqual(
      direction.map((value) => (value === 0 ? 0 : -value)),
    );
    const shift = (states: Float32Array[]): Float32Array[] => states.map((state) => state.map((value) => value + 2));
    expect(contrastDirection(shift(positive), shift(negative)).direction).toEqual(direction);
  });

  it("finds a planted direction under noise", () => {
    const rng = random(5);
    const [planted] = randomDirections(1, 128, rng);
    const states = (weight: number): Float32Array[] =>
      Array.from({ length: 40 }, () => planted.map((value) => weight * value + 0.3 * rng.normal()));
    expect(cosine(contrastDirection(states(3), states(0)).direction, planted)).toBeGreaterThan(0.95); // expected 3 / sqrt(9 + 128 * 2 * 0.09 / 40) = 0.969
  });

  it("refuses empty sides, unequal lengths and equal means", () => {
    const v = Float32Array.of(1, 2);
    expect(() => contrastDirection([], [v])).toThrowError(/both sides/);
    expect(() => contrastDirection([v], [Float32Array.of(1)])).toThrowError(/2 components/);
    expect(() => contrastDirection([v], [v])).toThrowError(/not zero/);
    expect(() => normalise([Number.NaN, 1])).toThrowError(/finite/);
    expect(() => dot([1], [1, 2])).toThrowError(/components/);
  });
});

describe("matchedRandom", () => {
  it("keeps every length and angle, even of dependent vectors, and turns the set away", () => {
    const rng = random(7);
    const [a, b, c] = randomDirections(3, 200, rng);
    const set = [a.map((x) => 3 * x), b, c.map((x, i) => x + a[i]), a.map((x, i) => x - 2 * b[i])];
    const turned = matchedRandom(set, random(8));
    for (let i = 0; i < set.length; i++) {
      for (let j = 0; j < set.length; j++) expect(dot(turned[i], turned[j])).toBeCloseTo(dot(set[i], set[j]), 5);
      expect(Math.abs(cosine(turned[i], set[i]))).toBeLessThan(0.4); // 200 dimensions: 5.6 sigma
    }
    expect(matchedRandom(set, random(8))).toEqual(turned);
    expect(matchedRandom([new Float32Array(3)], random(1))).toEqual([new Float32Array(3)]);
  });
});

describe("direction files", () => {
  it("come back whole, and byte for byte the same", async () => {
    const set = {
      ...randomDirectionSet(5, 16, 9),
      norms: [1, 2, 3, 4, 5.5],
      layers: [5, 5, 6, 7, 1],
      modelHash: "ab",
      method: "contrast",
    };
    writeDirections(at("a.safetensors"), set);
    writeDirections(at("b.safetensors"), set);
    expect(fs.readFileSync(at("a.safetensors")).equals(fs.readFileSync(at("b.safetensors")))).toBe(true);
    expect(await readDirections(at("a.safetensors"))).toEqual(set);
    const plain = randomDirectionSet(3, 16, 9);
    writeDirections(at("c.safetensors"), plain);
    expect(await readDirections(at("c.safetensors"))).toEqual(plain);
    expect(plain.names[2]).toBe("random-2");
  });

  it("from elsewhere load with their origin unknown and their lengths kept", async () => {
    writeSafetensors(at("foreign.safetensors"), { vectors: { dtype: "F32", shape: [2, 2], data: [3, 4, 0, 2] } });
    const set = await readDirections(at("foreign.safetensors"));
    expect(set).toMatchObject({ names: ["vector-0", "vector-1"], norms: [5, 2], method: null, seed: null });
    expect(set.directions.map((direction) => [...direction])).toEqual([
      [Math.fround(0.6), Math.fround(0.8)],
      [0, 1],
    ]);
  });

  it("are refused when they do not hold directions", async () => {
    const write = (shape: number[], data: number[], more: object = {}): void =>
      writeSafetensors(at("bad.safetensors"), { vectors: { dtype: "F32", shape, data }, ...more });
    write([4], [1, 0, 0, 0]);
    await expect(readDirections(at("bad.safetensors"))).rejects.toThrowError(/shape \[n, hidden\]/);
    write([2, 2], [1, 0, 0, 0]);
    await expect(readDirections(at("bad.safetensors"))).rejects.toThrowError(/vectors\[1\]/);
    write([1, 2], [1, 0], { norms: { dtype: "F32", shape: [2], data: [1, 1] } });
    await expect(readDirections(at("bad.safetensors"))).rejects.toThrowError(/norms/);
    writeSafetensors(
      at("bad.safetensors"),
      { vectors: { dtype: "F32", shape: [1, 2], data: [1, 0] } },
      { format: "steerlab-vectors-1", origin: '{"names":[]}' },
    );
    await expect(readDirections(at("bad.safetensors"))).rejects.toThrowError(
      expect.objectContaining({ code: "vector-origin" }),
    );
    const set = randomDirectionSet(2, 4, 1);
    expect(() => writeDirections(at("x"), { ...set, names: ["a", "a"] })).toThrowError(/different names/);
    expect(() => writeDirections(at("x"), { ...set, norms: [1] })).toThrowError(/2 norms/);
    expect(() =>
      writeDirections(at("x"), { ...set, directions: [set.directions[0], set.directions[1].map((v) => 2 * v)] }),
    ).toThrowError(/unit length/);
  });
});
