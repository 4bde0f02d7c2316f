// Before and after a run: effective numbers, what a design can show, verdicts, noise floor, predictive values, cluster permutations.
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import {
  clopperPearson,
  clusteredRate,
  designEffect,
  detectableDifference,
  detectableRate,
  type Estimate,
  intraclassCorrelation,
  kish,
  noiseFloor,
  permutationTest,
  predictiveValues,
  studentCdf,
  studentQuantile,
  type Verdict,
  verdict,
} from "../../../kernel-lib/src/stats";

const estimate = (value: number | null, low: number | null, high: number | null): Estimate => ({
  value,
  n: 100,
  low,
  high,
  method: "given",
});

describe("effective numbers", () => {
  it("Kish: equal weights count whole, one big cluster counts as one", () => {
    expect(kish([3, 3, 3, 3])).toBe(4);
    expect(kish([1000, 1, 1])).toBeCloseTo(1.004, 3);
    expect(kish([])).toBe(0);
  });

  it("design effect and ICC: a cluster that decides everything is one observation", () => {
    expect(designEffect(160, 0.1)).toBeCloseTo(16.9, 12);
    expect(designEffect(1, 1)).toBe(1);
    expect(intraclassCorrelation([1, 1, 0, 0, 1, 1], ["a", "a", "b", "b", "c", "c"])).toBe(1);
    expect(intraclassCorrelation([1, 0, 1, 0], ["a", "a", "b", "b"])).toBe(0);
    expect(intraclassCorrelation([1, 1, 1, 1], ["a", "a", "b", "b"])).toBeNull();
    expect(intraclassCorrelation([1, 0], ["a", "b"])).toBeNull();
    expect(() => designEffect(0, 0.1)).toThrowError(/perCluster/);
    expect(() => designEffect(2, 1.1)).toThrowError(/icc/);
  });

  it("ICC of drawn clusters is found (variance 1 of 4 between; 400 clusters of 5; 5 standard errors)", () => {
    const rng = random(5);
    const [values, labels]: number[][] = [[], []];
    for (let cluster = 0; cluster < 400; cluster++) {
      const effect = rng.normal();
      for (let i = 0; i < 5; i++) {
        values.push(effect + Math.sqrt(3) * rng.normal());
        labels.push(cluster);
      }
    }
    expect(Math.abs((intraclassCorrelation(values, labels) as number) - 0.25)).toBeLessThan(5 * 0.026);
  });

  it("Student's distribution inverts its quantile", () => {
    for (const p of [0.01, 0.3, 0.5, 0.975])
      for (const freedom of [1, 4.5, 200]) expect(studentCdf(studentQuantile(p, freedom), freedom)).toBeCloseTo(p, 10);
  });
});

describe("planning", () => {
  it("foretells the bound that clusteredRate gives when nothing happens", () => {
    const design = detectableRate({ clusters: 14, perCluster: 160, icc: 0.1 });
    const topics = Array.from({ length: 2240 }, (_, i) => Math.floor(i / 160));
    const seen = clusteredRate(new Array(2240).fill(0), { topic: topics });
    expect(design.guaranteedBound).toBeCloseTo(seen.high as number, 12);
    expect(design.designEffect).toBeCloseTo(designEffect(160, 0.1), 10);
    expect(design.effectiveN).toBeCloseTo(2240 / 16.9, 8);
    expect(design.expectedBound).toBeCloseTo(1 - 0.025 ** (16.9 / 2240), 10);
    // One event or more with 80 %: (1 - p)^n_eff = .2.
    expect((1 - design.smallestSeen) ** design.effectiveN).toBeCloseTo(0.2, 10);
  });

  it("more trials of the same topics do not help where topics decide; more topics do", () => {
    const bound = (clusters: number, perCluster: number): number =>
      detectableRate({ clusters, perCluster, icc: 1 }).expectedBound;
    expect(bound(14, 1000)).toBeCloseTo(bound(14, 10), 12);
    expect(bound(140, 10)).toBeLessThan(bound(14, 1000) / 8);
    expect(bound(14, 160)).toBeCloseTo(clopperPearson(0, 14).high as number, 10);
  });

  it("crossed axes add their variances; independent trials are the limit", () => {
    const axes = { vector: { clusters: 100, icc: 0.2 }, topic: { clusters: 14, icc: 0.1 } };
    const { effectiveN, guaranteedBound } = detectableRate({ axes, trials: 1400 });
    expect(1 / effectiveN).toBeCloseTo(0.2 / 100 + 0.1 / 14 + 0.7 / 1400, 12);
    expect(guaranteedBound).toBeCloseTo(0.2316, 4);
    expect(detectableRate({ clusters: 50, perCluster: 1, icc: 0 }).effectiveN).toBeCloseTo(50, 10);
  });

  it("differences: normal-theory size at many clusters, smaller for pairs, null below 6", () => {
    const many = { clusters: 100_000, perCluster: 1, icc: 0 };
    const { difference, halfWidth } = detectableDifference(many) as { difference: number; halfWidth: number };
    expect(difference).toBeCloseTo((1.95996 + 0.84162) * Math.sqrt(0.5 / 100_000), 5);
    expect(halfWidth).toBeCloseTo(1.95996 * Math.sqrt(0.25 / 100_000), 5);
    expect(detectableDifference(many, { correlation: 0.75 })?.difference).toBeCloseTo(difference / 2, 12);
    expect(detectableDifference({ clusters: 5, perCluster: 9, icc: 0.1 })).toBeNull();
  });

  it("refuses impossible designs", () => {
    expect(() => detectableRate({ clusters: 0, perCluster: 4, icc: 0.1 })).toThrowError(/trials/);
    expect(() => detectableRate({ axes: {}, trials: 10 })).toThrowError(/one axis/);
    expect(() => detectableRate({ axes: { a: { clusters: 20, icc: 0.1 } }, trials: 10 })).toThrowError(/1 .. 10/);
    const both = { a: { clusters: 5, icc: 0.6 }, b: { clusters: 5, icc: 0.6 } };
    expect(() => detectableRate({ axes: both, trials: 10 })).toThrowError(/at most 1/);
    expect(() => detectableRate({ clusters: 5, perCluster: 4, icc: 0.1 }, { power: 1 })).toThrowError(/power/);
    expect(() => detectableDifference({ clusters: 9, perCluster: 4, icc: 0.1 }, { rate: 0 })).toThrowError(/rate/);
  });
});

describe("verdict", () => {
  const rows: [number | null, number | null, number | null, number | null, number | null, Verdict][] = [
    [0.9, null, 0.95, 0.92, 0.97, "reached"],
    [0.9, null, 0.95, 0.85, 0.97, "reached, but its interval goes past the aim"],
    [0.9, null, 0.7, 0.6, 0.8, "missed"],
    [0.9, null, 0.88, 0.8, 0.93, "missed, but its interval reaches the aim"],
    [null, 0.02, 0, 0, 0.23, "reached, but its interval goes past the aim"],
    [null, 0.02, 0.01, 0.005, 0.02, "reached"],
    [null, 0.02, 0.5, 0.4, 0.6, "missed"],
    [0.4, 0.6, 0.5, 0.41, 0.59, "reached"],
    [0.4, 0.6, 0.5, 0.3, 0.59, "reached, but its interval goes past the aim"],
    [1, null, 2, 1.5, null, "reached"],
    [null, 3, 2, 1.5, null, "reached, but its interval goes past the aim"],
    [0.9, null, 0.95, null, null, "reached, without an interval"],
    [0.9, null, 0.5, null, null, "missed, without an interval"],
    [0.9, null, null, null, null, "not measured"],
  ];
  it.each(rows)("least %s most %s, %s [%s, %s]: %s", (least, most, value, low, high, word) => {
    expect(verdict({ least, most }, estimate(value, low, high))).toBe(word);
  });

  it("refuses an aim without bounds, or with crossed ones", () => {
    expect(() => verdict({ least: null, most: null }, estimate(1, 0, 2))).toThrowError(/aim/);
    expect(() => verdict({ least: 2, most: 1 }, estimate(1, 0, 2))).toThrowError(/least <= most/);
  });
});

describe("noise floor", () => {
  it("pools within items, ignores differences between them, and knows when it was not measured", () => {
    const floor = noiseFloor([[1, 3], [101, 103], [11, 13], [5], [7, 9], [0, 2], [4, 6]]);
    expect(floor.value).toBeCloseTo(Math.SQRT2, 12);
    expect(floor).toMatchObject({ items: 6, n: 12 });
    expect(floor.repeatability).toBeCloseTo(1.95996 * 2, 4);
    expect(floor.low).toBeCloseTo(Math.SQRT2, 12); // every item spreads alike
    expect(
      noiseFloor([
        [1, 1],
        [2, 2],
      ]),
    ).toMatchObject({ value: 0, low: null, high: null });
    expect(noiseFloor([[1], [2]])).toMatchObject({ value: null, method: "no repeats" });
    expect(
      noiseFloor([
        [1, 2],
        [2, 5],
      ]),
    ).toMatchObject({ low: null });
  });
});

describe("predictive values", () => {
  it("are Bayes' rule, and shrink with the prior", () => {
    const [hit, alarm] = [estimate(0.92, 0.85, 0.96), estimate(0.028, 0.01, 0.06)];
    const { positive, negative } = predictiveValues(hit, alarm, 0.01);
    expect(positive.value).toBeCloseTo((0.01 * 0.92) / (0.01 * 0.92 + 0.99 * 0.028), 12);
    expect(negative.value).toBeCloseTo((0.99 * 0.972) / (0.99 * 0.972 + 0.01 * 0.08), 12);
    expect(positive.low as number).toBeLessThan(positive.value as number);
    expect(positive.high as number).toBeGreaterThan(positive.value as number);
    expect(predictiveValues(hit, alarm, 0.5).positive.value).toBeCloseTo(0.92 / 0.948, 12);
  });

  it("no false alarm seen: value 1, a low end from what the clusters allow, an open mind where nobody says yes", () => {
    const [hit, none] = [estimate(0.9, 0.8, 0.95), estimate(0, 0, 0.23)];
    const { positive } = predictiveValues(hit, none, 0.01);
    expect([positive.value, positive.high]).toEqual([1, 1]);
    expect(positive.low).toBeCloseTo((0.01 * 0.8) / (0.01 * 0.8 + 0.99 * 0.23), 12);
    expect(predictiveValues(none, none, 0.01).positive.value).toBeNull();
    expect(predictiveValues(none, estimate(0.1, 0.05, 0.2), 0.01).positive).toMatchObject({ value: 0, low: 0 });
    expect(predictiveValues(hit, estimate(0.1, null, null), 0.01).positive).toMatchObject({ low: null, high: null });
    expect(() => predictiveValues(hit, none, 0)).toThrowError(/prior/);
  });
});

describe("cluster permutation", () => {
  const [one, other] = [
    [3, 5, 4],
    [1, 2, 2, 0],
  ];

  it("of single trials is the plain one; copies change nothing", () => {
    const names = (values: number[], tag: string): string[] => values.map((_, i) => `${tag}${i}`);
    const plain = permutationTest(one, other, { random: random(1) });
    const clustered = permutationTest(one, other, {
      random: random(1),
      clusters: [names(one, "a"), names(other, "b")],
    });
    expect(clustered.p).toBeCloseTo(plain.p as number, 12);
    const thrice = (values: readonly any[]): any[] => values.flatMap((value) => [value, value, value]);
    const copied = permutationTest(thrice(one), thrice(other), {
      random: random(1),
      clusters: [thrice(names(one, "a")), thrice(names(other, "b"))],
    });
    expect(copied.p).toBeCloseTo(plain.p as number, 12);
    expect(copied.method).toBe("permutation of 3 + 4 clusters, exact, 35 arrangements");
    expect(permutationTest(thrice(one), thrice(other), { random: random(1) }).p as number).toBeLessThan(0.002);
  });

  it("refuses clusters that stand in both groups, and labels that do not fit", () => {
    expect(() =>
      permutationTest(one, other, {
        random: random(1),
        clusters: [
          ["a", "b", "c"],
          ["a", "d", "e", "f"],
        ],
      }),
    ).toThrowError(/signFlipTest/);
    expect(() => permutationTest(one, other, { random: random(1), clusters: [["a"], ["b"]] })).toThrowError(/one/);
    expect(permutationTest([], other, { random: random(1), clusters: [[], ["a", "b", "c", "d"]] }).p).toBeNull();
  });
});
