// Every statistic against scipy or statsmodels, then as laws: coverage, symmetry, what is undefined stays null.
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import {
  auroc,
  balancedAccuracy,
  benjaminiHochberg,
  betaQuantile,
  clopperPearson,
  type BootstrapOptions,
  clusterBootstrap,
  criterion,
  dPrime,
  type Estimate,
  fitPsychometric,
  incompleteBeta,
  logGamma,
  mcnemar,
  mean,
  midranks,
  normalCdf,
  normalQuantile,
  differences,
  percentileInterval,
  permutationTest,
  rateDifference,
  signFlipTest,
  sortedQuantile,
  type StrengthTrial,
  studentQuantile,
  thresholdInterval,
  wilson,
} from "../../../kernel-lib/src/stats";

const golden: any = JSON.parse(
  fs.readFileSync(path.join(__dirname, "..", "..", "fixtures", "stats", "golden.json"), "utf8"),
);

/** Relative agreement; 1e-10 unless a reference is itself only good to less. */
function near(received: number | null, wanted: number, relative = 1e-10): void {
  expect(received).not.toBeNull();
  expect(Math.abs((received as number) - wanted)).toBeLessThanOrEqual(relative * Math.max(1e-3, Math.abs(wanted)));
}

describe("special functions", () => {
  it("agree with scipy", () => {
    const { special } = golden;
    for (const [x, value] of special.logGamma) near(logGamma(x), value, 1e-12);
    for (const [x, a, b, value] of special.incompleteBeta) near(incompleteBeta(x, a, b), value);
    for (const [p, a, b, value] of special.betaQuantile) near(betaQuantile(p, a, b), value);
    for (const [z, value] of special.normalCdf) expect(Math.abs(normalCdf(z) / value - 1)).toBeLessThan(1e-11);
    for (const [p, value] of special.normalQuantile) near(normalQuantile(p), value, 1e-11);
    for (const [p, f, value] of special.studentQuantile) near(studentQuantile(p, f), value);
  });
});

describe("rates", () => {
  it("Wilson and Clopper-Pearson agree with statsmodels", () => {
    for (const { k, n, level, wilson: w, clopperPearson: c } of golden.proportions) {
      const [one, other] = [wilson(k, n, level), clopperPearson(k, n, level)];
      near(one.value, k / n);
      const ends = [one.low, one.high, other.low, other.high];
      for (const [i, end] of ends.entries()) near(end, [...w, ...c][i], 1e-9);
    }
  });

  it("Newcombe's difference agrees with statsmodels", () => {
    for (const {
      counts,
      low_high: [low, high],
    } of golden.differences) {
      const [a, b, c, d] = counts as [number, number, number, number];
      near(rateDifference(a, b, c, d).low, low, 1e-9);
      near(rateDifference(a, b, c, d).high, high, 1e-9);
    }
  });

  it("coverage of 95 % intervals, summed exactly over all outcomes, is what each method promises", () => {
    for (const n of [10, 50, 200]) {
      for (const p of [0.02, 0.1, 0.5, 0.9]) {
        let [exact, score] = [0, 0];
        for (let k = 0; k <= n; k++) {
          const mass = Math.exp(
            logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1) + k * Math.log(p) + (n - k) * Math.log(1 - p),
          );
          const covers = (estimate: Estimate): boolean =>
            (estimate.low as number) <= p && p <= (estimate.high as number);
          if (covers(clopperPearson(k, n))) exact += mass;
          if (covers(wilson(k, n))) score += mass;
        }
        expect(exact).toBeGreaterThan(0.95);
        expect(score).toBeGreaterThan(0.88); // Wilson is right on average, not everywhere
      }
    }
  });

  it("balanced accuracy is 0.5 for constant answers, 1 for perfect ones, null without a class", () => {
    expect(balancedAccuracy({ hits: 600, steered: 600, falseAlarms: 50, clean: 50 }).value).toBe(0.5);
    expect(balancedAccuracy({ hits: 0, steered: 600, falseAlarms: 0, clean: 50 }).value).toBe(0.5);
    const perfect = balancedAccuracy({ hits: 30, steered: 30, falseAlarms: 0, clean: 30 });
    expect([perfect.value, perfect.high]).toEqual([1, 1]);
    expect(perfect.low).toBeLessThan(0.95);
    expect(balancedAccuracy({ hits: 3, steered: 5, falseAlarms: 0, clean: 0 })).toMatchObject({
      value: null,
      low: null,
      high: null,
    });
  });

  it("refuses impossible counts, and gives nulls for none", () => {
    expect(() => wilson(3, 2)).toThrowError(/0 <= k <= n/);
    expect(() => clopperPearson(-1, 2)).toThrowError(/0 <= k <= n/);
    expect(() => wilson(1, 2, 95)).toThrowError(/level/);
    expect(() => dPrime({ hits: 1, steered: 2, falseAlarms: 3, clean: 2 })).toThrowError(/false alarms/);
    expect(wilson(0, 0)).toMatchObject({ value: null, low: null, high: null });
    expect(clopperPearson(0, 0)).toMatchObject({ value: null });
  });
});

describe("dPrime", () => {
  it("agrees with scipy's normal quantiles, corrected as named", () => {
    for (const { counts, value, low, high, criterion: c, clipped } of golden.dPrime) {
      const [hits, steered, falseAlarms, clean] = counts as [number, number, number, number];
      const count = { hits, steered, falseAlarms, clean };
      const estimate = dPrime(count);
      near(estimate.value, value);
      near(estimate.low, low);
      near(estimate.high, high);
      near(criterion(count), c);
      near(dPrime(count, { correction: "clip" }).value, clipped);
    }
  });

  it("is 0 when both rates are equal, flips with its classes, and is null where it is undefined", () => {
    expect(dPrime({ hits: 7, steered: 20, falseAlarms: 7, clean: 20 }).value).toBeCloseTo(0, 12);
    const one = dPrime({ hits: 9, steered: 10, falseAlarms: 2, clean: 10 }).value as number;
    expect(dPrime({ hits: 2, steered: 10, falseAlarms: 9, clean: 10 }).value).toBeCloseTo(-one, 12);
    expect(dPrime({ hits: 10, steered: 10, falseAlarms: 2, clean: 10 }, { correction: "none" }).value).toBeNull();
    expect(dPrime({ hits: 0, steered: 0, falseAlarms: 2, clean: 10 }).value).toBeNull();
    expect(criterion({ hits: 0, steered: 0, falseAlarms: 0, clean: 9 })).toBeNull();
  });
});

describe("auroc", () => {
  it("agrees with DeLong by all pairs", () => {
    for (const { positives, negatives, value, low, high } of golden.auroc) {
      const estimate = auroc(positives, negatives);
      near(estimate.value, value);
      near(estimate.low, low);
      near(estimate.high, high);
    }
  });

  it("is 0.5 for equal scores, 1 - itself with classes swapped, unmoved by monotone changes", () => {
    expect(auroc([1, 1, 1], [1, 1])).toMatchObject({ value: 0.5, low: null, high: null });
    const [a, b] = [
      [3, 5, 1, 9],
      [2, 4, 4],
    ];
    expect(auroc(b, a).value).toBeCloseTo(1 - (auroc(a, b).value as number), 12);
    expect(auroc(a.map(Math.exp), b.map(Math.exp)).value).toBe(auroc(a, b).value);
    expect([...midranks([10, 20, 10, 5])]).toEqual([2.5, 4, 2.5, 1]);
  });

  it("does not pretend certainty when the classes separate", () => {
    const perfect = auroc([5, 6, 7, 8], [1, 2, 3]);
    expect([perfect.value, perfect.high]).toEqual([1, 1]);
    expect(perfect.low).toBeLessThan(0.6);
    expect(perfect.method).toMatch(/Wilson/);
    expect(auroc([], [1])).toMatchObject({ value: null, low: null, high: null });
    expect(() => auroc([Number.NaN], [1])).toThrowError(/finite/);
  });
});

describe("tests", () => {
  it("McNemar, sign flips, permutation and Benjamini-Hochberg agree with the references", () => {
    for (const { counts, p } of golden.mcnemar) near(mcnemar(counts[0], counts[1]).p, p);
    const { before, after, p } = golden.signFlip;
    near(signFlipTest(after, before, { random: random(1) }).p, p);
    near(
      permutationTest(golden.permutation.one, golden.permutation.other, { random: random(1) }).p,
      golden.permutation.p,
    );
    const adjusted = benjaminiHochberg(golden.benjaminiHochberg.p);
    for (const [i, value] of adjusted.entries()) near(value, golden.benjaminiHochberg.adjusted[i]);
  });

  it("Monte Carlo agrees with the exact count within 5 standard errors (odds of false alarm 6e-7) and never gives 0", () => {
    const { before, after, p } = golden.signFlip;
    const more = (values: number[]): number[] => [...values, 0, 0, 0, 0, 0, 0, 0]; // 18 pairs, too many to count; zeros change nothing
    const sampled = signFlipTest(more(after), more(before), { random: random(2), samples: 20_000 });
    expect(sampled.method).toMatch(/Monte Carlo/);
    expect(Math.abs((sampled.p as number) - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / 20_000));
    const far = Array.from({ length: 30 }, () => 1);
    expect(
      signFlipTest(
        far,
        far.map(() => 0),
        { random: random(3), samples: 500 },
      ).p,
    ).toBe(1 / 501);
  });

  it("keeps group sizes: a false-positive rate of 5 % for 3 against 57 (400 null data sets, 5 sigma)", () => {
    const rng = random(4);
    let rejected = 0;
    for (let i = 0; i < 400; i++) {
      const draw = (n: number): number[] => Array.from({ length: n }, () => rng.normal());
      if ((permutationTest(draw(3), draw(57), { random: rng, samples: 199 }).p as number) <= 0.05) rejected += 1;
    }
    expect(Math.abs(rejected - 20)).toBeLessThan(5 * Math.sqrt(400 * 0.05 * 0.95));
  });

  it("flips clusters together: copies of one pair are one observation", () => {
    const after = [1, 1, 1, 1, 1, 1, 1, 1];
    const before = after.map(() => 0);
    expect(signFlipTest(after, before, { random: random(5) }).p).toBe(2 / 256);
    const one = signFlipTest(after, before, { random: random(5), clusters: after.map(() => "same") });
    expect([one.p, one.statistic, one.n]).toEqual([1, 1, 8]);
  });

  it("gives nulls where nothing can be said, and refuses nonsense", () => {
    expect(mcnemar(0, 0).p).toBeNull();
    expect(signFlipTest([], [], { random: random(1) })).toMatchObject({ statistic: null, p: null });
    expect(permutationTest([1], [], { random: random(1) }).p).toBeNull();
    expect(benjaminiHochberg([null, 0.02, null, 0.04])).toEqual([null, 0.04, null, 0.04]);
    expect(() => benjaminiHochberg([1.2])).toThrowError(/0 <= p <= 1/);
    expect(() => signFlipTest([1, 2], [1], { random: random(1) })).toThrowError(/one per value/);
  });
});

describe("means and bootstraps", () => {
  const clusterMean = (
    values: readonly number[],
    clusters: readonly (string | number)[],
    options: BootstrapOptions,
  ): Estimate =>
    clusterBootstrap(
      values,
      (_, i) => clusters[i],
      (sample) => mean(sample).value,
      options,
    );

  it("Student's interval agrees with scipy; pairs are differences", () => {
    const { values, value, low, high } = golden.mean;
    const estimate = mean(values);
    near(estimate.value, value);
    near(estimate.low, low);
    near(estimate.high, high);
    expect(differences([3, 5], [1, 2])).toEqual([2, 3]);
    expect(mean([4])).toMatchObject({ value: 4, low: null, high: null });
    expect(mean([])).toMatchObject({ value: null });
    expect(() => mean([1, Number.POSITIVE_INFINITY])).toThrowError(/values\[1\]/);
  });

  it("order-statistic quantiles interpolate as numpy's default, infinities included", () => {
    expect(sortedQuantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(sortedQuantile([1, 2, 3, 4], 1)).toBe(4);
    expect(sortedQuantile([1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY], 0.9)).toBe(Number.POSITIVE_INFINITY);
    expect(sortedQuantile([Number.NEGATIVE_INFINITY, 1], 0.9)).toBe(Number.NEGATIVE_INFINITY);
    expect(sortedQuantile([1, Number.POSITIVE_INFINITY], 0.1)).toBe(Number.POSITIVE_INFINITY);
    expect(percentileInterval([1, 2, null, null], 0.95, 20)).toEqual({ low: null, high: null });
    const known = Array.from({ length: 1001 }, (_, i) => i / 1000);
    const [few, many] = [percentileInterval(known, 0.95, 8), percentileInterval(known, 0.95, 10_000)];
    expect(many.low).toBeCloseTo(0.025, 4);
    expect(few.low as number).toBeLessThan(0.01); // 8 clusters spread less than they should
  });

  it("repeats for a seed, leaves the stream alone, and widens when clusters are few", () => {
    const rng = random(6);
    const effects = Array.from({ length: 20 }, () => rng.normal());
    const values = effects.flatMap((effect) => Array.from({ length: 30 }, () => effect + 0.1 * rng.normal()));
    const clusters = values.map((_, i) => Math.floor(i / 30));
    const before = JSON.stringify(rng.state());
    const clustered = clusterMean(values, clusters, { random: rng, samples: 500 });
    expect(clusterMean(values, clusters, { random: rng, samples: 500 })).toEqual(clustered);
    expect(JSON.stringify(rng.state())).toBe(before);
    const naive = clusterMean(
      values,
      values.map((_, i) => i),
      { random: rng, samples: 500 },
    );
    const width = (estimate: Estimate): number => (estimate.high as number) - (estimate.low as number);
    expect(width(clustered)).toBeGreaterThan(3 * width(naive));
    expect(clustered.method).toMatch(/20 clusters, 500 samples/);
  });

  it("covers a known mean in 95 % of clustered data sets (300 sets of 40 clusters; bound 88.5 % = 5 sigma below)", () => {
    const rng = random(8);
    let covered = 0;
    for (let set = 0; set < 300; set++) {
      const values: number[] = [];
      const clusters: number[] = [];
      for (let c = 0; c < 40; c++) {
        const effect = rng.normal();
        for (let i = 0; i < 3; i++) {
          values.push(effect + rng.normal());
          clusters.push(c);
        }
      }
      const { low, high } = clusterMean(values, clusters, { random: rng.fork(set), samples: 300 });
      if ((low as number) <= 0 && 0 <= (high as number)) covered += 1;
    }
    expect(covered).toBeGreaterThan(300 * 0.885);
    expect(covered).toBeLessThan(300);
  });

  it("says null for one cluster, no data, and statistics that are often undefined", () => {
    expect(clusterMean([1, 2], ["a", "a"], { random: random(1) })).toMatchObject({ value: 1.5, low: null, high: null });
    expect(
      clusterBootstrap(
        [],
        () => 0,
        () => 1,
        { random: random(1) },
      ),
    ).toMatchObject({ value: null });
    let calls = 0;
    const often = clusterBootstrap(
      [1, 2, 3],
      (item) => item,
      () => (calls++ % 2 === 0 ? 1 : null),
      { random: random(1), samples: 50 },
    );
    expect(often).toMatchObject({ low: null, high: null });
    const ones = clusterMean([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6], { random: random(1), samples: 50 });
    expect([ones.value, ones.low, ones.high]).toEqual([1, 1, 1]);
    expect(clusterMean([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], { random: random(1) })).toMatchObject({
      value: 1,
      low: null,
      high: null,
      method: "no interval: 5 clusters",
    });
    expect(() => clusterMean([1], ["a"], { random: random(1), samples: 0 })).toThrowError(/samples/);
  });
});

describe("psychometric curve", () => {
  it("agrees with statsmodels' binomial regression, and with scipy where guesses and lapses are given", () => {
    for (const { guess, lapse, rows, intercept, slope, threshold, logLikelihood } of golden.psychometric) {
      const counts = (rows as [number, number, number][]).map(([strength, hits, n]) => ({ strength, hits, n }));
      const fit = fitPsychometric(counts, { guess, lapse });
      near(fit.intercept, intercept, 1e-6);
      near(fit.slope, slope, 1e-6);
      near(fit.threshold, threshold, 1e-6);
      near(fit.logLikelihood, logLikelihood, 1e-8);
      expect(fitPsychometric([...counts].reverse(), { guess, lapse })).toEqual(fit);
    }
  });

  const at = (rows: [number, number, number][], options = {}): ReturnType<typeof fitPsychometric> =>
    fitPsychometric(
      rows.map(([strength, hits, n]) => ({ strength, hits, n })),
      options,
    );

  it("does not extrapolate, does not invent slopes, and says where a jump lies", () => {
    expect(
      at([
        [1, 0, 50],
        [2, 1, 50],
        [4, 5, 50],
      ]).threshold,
    ).toBeNull(); // never reaches half
    expect(
      at([
        [1, 45, 50],
        [2, 48, 50],
        [4, 50, 50],
      ]).threshold,
    ).toBeNull(); // always above half
    expect(
      at([
        [1, 0, 50],
        [2, 0, 50],
      ]).threshold,
    ).toBeNull();
    expect(
      at([
        [1, 40, 50],
        [2, 25, 50],
        [4, 10, 50],
      ]).threshold,
    ).toBeNull(); // falls
    const jump = at([
      [1, 0, 20],
      [2, 0, 20],
      [4, 20, 20],
      [8, 20, 20],
    ]);
    expect(jump.threshold).toBeNull();
    expect(jump.between?.map((x) => Math.round(x * 1e9) / 1e9)).toEqual([2, 4]);
    const partial = (hits: number): [number, number] | null =>
      at([
        [1, 0, 20],
        [2, hits, 20],
        [4, 20, 20],
      ]).between?.map((x) => Math.round(x * 1e9) / 1e9) as [number, number] | null;
    expect([partial(6), partial(14)]).toEqual([
      [2, 4],
      [1, 2],
    ]); // one strength between never and always: no finite slope, but one half is bounded
    expect(at([[1, 3, 9]])).toMatchObject({ slope: null, threshold: null });
    expect(
      at(
        [
          [-1, 2, 20],
          [0, 10, 20],
          [1, 18, 20],
        ],
        { scale: "linear" },
      ).threshold,
    ).toBeCloseTo(0, 10);
    expect(() =>
      at([
        [0, 1, 2],
        [1, 2, 2],
      ]),
    ).toThrowError(/strength > 0/);
    expect(() =>
      at([
        [1, 3, 2],
        [2, 2, 2],
      ]),
    ).toThrowError(/hits/);
    expect(() =>
      at(
        [
          [1, 1, 2],
          [2, 2, 2],
        ],
        { guess: 0.6, lapse: 0.5 },
      ),
    ).toThrowError(/guess/);
  });

  function trialsOf(seed: number, strengths: number[], threshold: number): StrengthTrial[] {
    const rng = random(seed);
    return Array.from({ length: 25 }, (_, cluster) => {
      const own = Math.log(threshold) + 0.2 * rng.normal();
      return strengths.flatMap((strength) =>
        Array.from({ length: 2 }, () => ({
          strength,
          cluster,
          hit: rng.uniform() < 1 / (1 + Math.exp(-4 * (Math.log(strength) - own))),
        })),
      );
    }).flat();
  }

  it("finds a known threshold within its bootstrap interval", () => {
    const estimate = thresholdInterval(trialsOf(3, [2, 4, 8, 16], 6), { random: random(1), samples: 200 });
    expect(estimate.value).toBeGreaterThan(4.5);
    expect(estimate.value).toBeLessThan(8);
    expect(estimate.low as number).toBeLessThan(6.2);
    expect(estimate.high as number).toBeGreaterThan(5.8);
    expect((estimate.high as number) / (estimate.low as number)).toBeLessThan(1.8);
    expect(estimate.method).toMatch(/by cluster \(25\)/);
  });

  it("leaves the far end open when the threshold is at the edge of what was tried", () => {
    const estimate = thresholdInterval(trialsOf(4, [2, 3, 6], 6.3), { random: random(1), samples: 200 });
    expect(estimate).toMatchObject({ high: null, openHigh: true, openLow: false });
    expect(estimate.text).toMatch(/ open above\]$/);
  });

  const grid = (hits: (strength: number) => boolean, clusters = 8): StrengthTrial[] =>
    [0.025, 0.05, 0.1].flatMap((strength) =>
      Array.from({ length: clusters }, (_, cluster) => ({ strength, cluster, hit: hits(strength) })),
    );
  const of = (trials: StrengthTrial[]) => thresholdInterval(trials, { random: random(1), samples: 50 });

  it("says below or above the grid, or between two strengths, and never the middle of a jump", () => {
    expect(of(grid(() => true))).toMatchObject({
      value: null,
      between: [null, 0.025],
      low: null,
      openLow: true,
      high: 0.025,
      text: "below 0.025",
    });
    expect(of(grid(() => false))).toMatchObject({ between: [0.1, null], low: 0.1, openHigh: true, text: "above 0.1" });
    const jump = of(grid((strength) => strength > 0.03));
    expect(jump).toMatchObject({ value: null, openLow: false, openHigh: false, text: "between 0.025 and 0.05" });
    expect([jump.low, jump.high].map((end) => Number(end?.toFixed(9)))).toEqual([0.025, 0.05]);
    expect(of(grid((strength) => strength < 0.03))).toMatchObject({ value: null, between: null, text: "undefined" });
  });

  it("has no interval below 6 clusters, and wants to know the clusters", () => {
    const few = of(grid(() => true, 5));
    expect(few).toMatchObject({ text: "below 0.025", low: null, high: null, openLow: false, openHigh: false });
    expect(few.method).toMatch(/no interval/);
    expect(() => of([{ strength: 1, hit: true }])).toThrowError(/trial.cluster or options.clusters/);
    const wrong = { random: random(1), clusters: { vector: [1] } };
    expect(() =>
      thresholdInterval(
        grid(() => true),
        wrong,
      ),
    ).toThrowError(/24 labels/);
  });

  it("widens when topics are shared by all vectors (crossed), and names both axes", () => {
    const rng = random(12);
    const topicEffect = Array.from({ length: 8 }, () => 1.5 * rng.normal());
    const [trials, topic]: [StrengthTrial[], number[]] = [[], []];
    for (const strength of [2, 4, 8, 16]) {
      for (let cluster = 0; cluster < 40; cluster++) {
        const t = (cluster * 3) % 8;
        const p = 1 / (1 + Math.exp(-(3 * Math.log(strength / 6) + topicEffect[t])));
        trials.push({ strength, cluster, hit: rng.uniform() < p });
        topic.push(t);
      }
    }
    const options = { random: random(1), samples: 200 };
    const [one, two] = [
      thresholdInterval(trials, options),
      thresholdInterval(trials, {
        ...options,
        clusters: { vector: trials.map(({ cluster }) => cluster as number), topic },
      }),
    ];
    expect(two.value).toBe(one.value);
    const width = (estimate: Estimate): number => Math.log((estimate.high as number) / (estimate.low as number));
    expect(width(two)).toBeGreaterThan(1.3 * width(one));
    expect(two.method).toMatch(/pigeonhole bootstrap 95 % by vector \(40\) and topic \(8\), 200 samples/);
  });
});
