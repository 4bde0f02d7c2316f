/** Answers carry their mass; steering plans stay inside the model and scale with the residual norm. */
import { describe, expect, it } from "vitest";
import { answer, type RowResult, totalProbability } from "../../../kernel-lib/src/engine";
import { absoluteSteering, layerThirds, relativeSteering, residualNorms } from "../../../kernel-lib/src/steering";
import { FakeEngine } from "../../helpers/fake-engine";

describe("answer", () => {
  it("gives probability over the labels, their mass and log-odds", () => {
    const { probability, mass, logOdds } = answer(Math.log(0.6), Math.log(0.2));
    expect(probability).toBeCloseTo(0.75, 12);
    expect(mass).toBeCloseTo(0.8, 12);
    expect(logOdds).toBeCloseTo(Math.log(3), 12);
  });

  it("stays exact where the mass is tiny", () => {
    expect(answer(-800, -801).probability).toBeCloseTo(1 / (1 + Math.exp(-1)), 12);
  });

  it("refuses what is no logprob, and labels without any mass", () => {
    expect(() => answer(Number.NaN, -1)).toThrow(/natural logprob/);
    expect(() => answer(0.5, -1)).toThrow(/natural logprob/);
    expect(() => answer(-Infinity, -Infinity)).toThrow(/at least one label/);
  });

  it("sums spellings", () => {
    expect(totalProbability([Math.log(0.25), Math.log(0.5)])).toBeCloseTo(0.75, 12);
    expect(totalProbability([])).toBe(0);
  });
});

describe("steering plans", () => {
  it("are the card's thirds at 64 layers, and never the last block where thirds would reach it", () => {
    const ends = (layers: number): number[][] => layerThirds(layers).map(({ start, end }) => [start, end]);
    expect(ends(64)).toEqual([
      [0, 21],
      [21, 42],
      [42, 63],
    ]);
    expect(ends(12)).toEqual([
      [0, 4],
      [4, 8],
      [8, 11],
    ]);
    expect(() => layerThirds(3)).toThrow(/at least 4 layers/);
  });

  it("scale each layer by its own norm", () => {
    const plan = relativeSteering(Float32Array.of(1, 0), { name: "r", start: 1, end: 3 }, 0.5, [10, 20, 40]);
    expect(plan.map(({ layers, magnitude }) => [...layers, magnitude])).toEqual([
      [1, 2, 10],
      [2, 3, 20],
    ]);
  });

  it("keep one absolute length, and refuse a range outside the model", () => {
    const direction = Float32Array.of(1, 0);
    expect(absoluteSteering(direction, { name: "r", start: 0, end: 2 }, 20, 2)).toMatchObject([
      { layers: [0, 2], magnitude: 20 },
    ]);
    expect(() => absoluteSteering(direction, { name: "r", start: 0, end: 3 }, 20, 2)).toThrow(/0 <= start < end <= 2/);
  });
});

describe("residual norms", () => {
  /** Captures (token, layer, width): token id t in layer l is t (l + 1) throughout; a thousand times that at the start. */
  function engine(): FakeEngine {
    const fake = new FakeEngine();
    const { num_hidden_layers: L, hidden_size: C } = fake.config;
    fake.forward = async ([{ tokens }], options) => {
      expect(options?.capture).toEqual({ layers: [0, 1, 2, 3, 4, 5], positions: "all" });
      const ids = Array.from(tokens);
      const captures = Float32Array.from(
        ids.flatMap((id, t) =>
          Array.from({ length: L * C }, (_, i) => (t === 0 ? 1000 : 1) * id * (Math.floor(i / C) + 1)),
        ),
      );
      return [{ cache: null, positions: [], captures } as RowResult];
    };
    return fake;
  }

  it("are means over tokens, layer by layer, without the first token of a sequence, whose norm is an outlier", async () => {
    const { norms, tokens } = await residualNorms(engine(), [[9, 1, 2], Int32Array.from([9, 6])]);
    expect(tokens).toBe(3);
    for (const [layer, norm] of norms.entries())
      expect(norm).toBeCloseTo(((1 + 2 + 6) / 3) * (layer + 1) * Math.sqrt(8), 9);
    expect(norms).toHaveLength(6);
  });

  it("need a second token", async () => {
    await expect(residualNorms(engine(), [[1, 2], [3]])).rejects.toThrow(/at least 2 tokens/);
  });
});
