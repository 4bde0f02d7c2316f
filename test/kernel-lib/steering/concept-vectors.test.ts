/** Concept directions: concept minus filler at the last token of each template, after one block. */
import { describe, expect, it } from "vitest";
import { type Concept, type ConceptContrast, conceptVectors, geometry } from "../../../kernel-lib/src/steering";
import { FakeEngine, fakeModel } from "../../helpers/fake-engine";

/** The fake engine's state after block l: (l + 1) x 0.5 everywhere, x 2 at (last token mod 8). */
const concept = (name: string): Concept => ({ name, category: "test" });
const contrast: ConceptContrast = {
  templates: ["On {concept}", "{concept} {concept}"],
  neutral: ["h"],
  dosePrompts: [],
};
const place = (name: string): number => name.charCodeAt(name.length - 1) % 8; // "h" is at place 0

/** A model whose captured states depend on the last token alone. */
function quiet(engine = new FakeEngine()): ReturnType<typeof fakeModel> {
  engine.captureNoise = 0;
  return fakeModel(engine);
}

describe("conceptVectors", () => {
  it("point from the fillers' state to the concept's, and tell the difference's length and block", async () => {
    const names = ["a", "xb", "c"];
    const set = await conceptVectors(quiet(), {
      concepts: names.map(concept),
      contrast,
      form: "raw",
    });
    expect(set).toMatchObject({ names, method: "contrast", seed: null, layers: [2, 2, 2], modelHash: "fake-hash" });
    names.forEach((name, i) => {
      const wanted = Array(8).fill(0);
      wanted[place(name)] = Math.SQRT1_2;
      wanted[place("h")] = -Math.SQRT1_2;
      for (const [c, x] of set.directions[i].entries()) expect(x).toBeCloseTo(wanted[c], 6);
      expect(set.norms?.[i]).toBeCloseTo(1.5 * 3 * Math.SQRT2, 6);
    });
  });

  it("are means over templates and fillers, and are read after the block that was asked for", async () => {
    const mixed = { ...contrast, templates: ["On {concept}", "{concept}a"], neutral: ["h", "hb"] };
    const { directions, norms } = await conceptVectors(quiet(), {
      concepts: [concept("c")],
      contrast: mixed,
      layer: 0,
    });
    // Last tokens: concept c, a; fillers h, a, b, a. Means over the two and the four.
    const difference = Array(8).fill(0);
    for (const [name, weight] of [
      ["c", 1 / 2],
      ["a", 1 / 2],
      ["h", -1 / 4],
      ["b", -1 / 4],
      ["a", -1 / 2],
    ] as const)
      difference[place(name)] += 1.5 * weight;
    const length = Math.hypot(...difference);
    expect(norms?.[0]).toBeCloseTo(length, 6);
    for (const [c, x] of directions[0].entries()) expect(x).toBeCloseTo(difference[c] / length, 6);
  });

  it("run in passes of bounded size and tell how far they are", async () => {
    const engine = new FakeEngine();
    const concepts = Array.from({ length: 70 }, (_, i) => concept(`${i}${String.fromCharCode(97 + (i % 7))}`));
    const progress: [number, number][] = [];
    const one = { ...contrast, templates: ["{concept}"] };
    const set = await conceptVectors(quiet(engine), {
      concepts,
      contrast: one,
      form: "raw",
      onProgress: (done, total) => progress.push([done, total]),
    });
    expect(progress).toEqual([
      [64, 71],
      [71, 71],
    ]);
    expect(engine.calls).toBe(2);
    expect(set.directions).toHaveLength(70);
    const alone = await conceptVectors(quiet(), { concepts: [concepts[66]], contrast: one, form: "raw" });
    expect(set.directions[66]).toEqual(alone.directions[0]);
  });

  it("centred, lose what all concepts share, and by default are", async () => {
    const concepts = ["c", "d", "e"].map(concept);
    const raw = await conceptVectors(quiet(), { concepts, contrast, form: "raw" });
    const centred = await conceptVectors(quiet(), { concepts, contrast });
    expect(centred.method).toContain("centred");
    const whole = (set: typeof raw): number[] =>
      Array.from({ length: 8 }, (_, c) => set.directions.reduce((sum, v, i) => sum + v[c] * (set.norms?.[i] ?? 0), 0));
    for (const value of whole(centred)) expect(value).toBeCloseTo(0, 5); // what they share is gone
    // Three one-hot differences from one filler: cosine 1/2 each; centred, the corners of a triangle: -1/2.
    expect(geometry(raw.directions).meanCosine).toBeCloseTo(0.5, 5);
    expect(geometry(centred.directions).meanCosine).toBeCloseTo(-0.5, 5);
    expect(geometry(centred.directions).participationRatio).toBeCloseTo(2, 5); // a triangle lies in a plane
  });

  it("refuse a block that is not there, and a concept no different from the filler", async () => {
    for (const layer of [-1, 6, 1.5])
      await expect(conceptVectors(quiet(), { layer })).rejects.toMatchObject({ code: "layer-range" });
    await expect(conceptVectors(quiet(), { concepts: [concept("h")], contrast })).rejects.toMatchObject({
      code: "zero-vector",
    });
  });
});
