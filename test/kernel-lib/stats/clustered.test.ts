// Crossed clusters: closed forms against slow twins, known special cases, and what must not look certain.
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import {
  auroc,
  clopperPearson,
  clusteredAuroc,
  clusteredBalancedAccuracy,
  clusteredGap,
  clusteredDifference,
  clusteredDPrime,
  clusteredMean,
  clusteredMeanTest,
  clusteredRate,
  crossedBootstrap,
  dPrime,
  largestRate,
  mean,
  signFlipTest,
  studentQuantile,
} from "../../../kernel-lib/src/stats";
import { answers, crossing, drawEffects, latent } from "./simulation";

const repeat = <T>(values: readonly T[], times: number): T[] =>
  values.flatMap((value) => new Array<T>(times).fill(value));
const labels = (clusters: number, each: number): number[] => repeat([...Array(clusters).keys()], each);
const rng = random(31);
const of = crossing(12, 8, 7, 9);
const yes = answers(rng, latent(rng, of, drawEffects(rng, of, { vector: 1, topic: 1, wording: 0.5 }), 0.3));
const scores = latent(rng, of, drawEffects(rng, of, { vector: 1, topic: 1 }), 0, 1);

/** Leave-one-out jackknife by recomputing, for every set of axes; the fast one's slow twin. */
function slowVariance(values: ArrayLike<number>, axes: Record<string, ArrayLike<number>>): number {
  const all = Array.from(values);
  const average = (list: number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length;
  const names = Object.keys(axes);
  let [combined, largest] = [0, 0];
  for (let set = 1; set < 1 << names.length; set++) {
    const chosen = names.filter((_, i) => (set >> i) & 1);
    const keys = all.map((_, i) => chosen.map((name) => axes[name][i]).join("/"));
    const groups = [...new Set(keys)];
    const sum = groups.reduce(
      (total, group) => total + (average(all.filter((_, i) => keys[i] !== group)) - average(all)) ** 2,
      0,
    );
    const variance = ((groups.length - 1) / groups.length) * sum;
    combined += chosen.length % 2 === 1 ? variance : -variance;
    if (chosen.length === 1) largest = Math.max(largest, variance);
  }
  return Math.max(combined, largest);
}

describe("multiway variance", () => {
  it("is the inclusion-exclusion jackknife, recomputed the slow way, for one to three axes", () => {
    const sets: Record<string, number[]>[] = [{ vector: of.vector }, { vector: of.vector, topic: of.topic }, { ...of }];
    for (const axes of sets) {
      for (const values of [yes, scores]) {
        const estimate = clusteredMean(values, axes);
        const spread = mean(values).value as number;
        const independent =
          Array.from(values).reduce((sum, v) => sum + (v - spread) ** 2, 0) / (values.length - 1) / values.length;
        expect((estimate.designEffect as number) * independent).toBeCloseTo(slowVariance(values, axes), 12);
      }
    }
  });

  it("of equal clusters of one axis is Student's t of the cluster means where they are not skewed", () => {
    const half = Array.from({ length: 30 }, () => rng.normal());
    const values = [...half, ...half.map((value) => 1 - value)];
    const means = Array.from({ length: 10 }, (_, c) => mean(values.slice(6 * c, 6 * c + 6)).value as number);
    const [one, other] = [clusteredMean(values, { topic: labels(10, 6) }), mean(means)];
    expect(one.low).toBeCloseTo(other.low as number, 10);
    expect(one.high).toBeCloseTo(other.high as number, 10);
    expect(one.method).toBe("multiway jackknife t 95 %, skewness corrected, by topic (10)");
  });

  it("of skewed clusters is Hall's transformation, written out for ten values", () => {
    const values = [1, 1, 2, 3, 3, 4, 5, 6, 7, 9];
    const n = values.length;
    const middle = values.reduce((sum, value) => sum + value, 0) / n;
    const moment = (power: number): number => values.reduce((sum, value) => sum + (value - middle) ** power, 0);
    const error = Math.sqrt(moment(2) / (n - 1) / n);
    // A value left out moves the mean by -(value - middle) / (n - 1).
    const k = moment(3) / (n - 1) ** 3 / error ** 3;
    const { low, high } = clusteredMean(values, { topic: labels(n, 1) });
    const t = [low, high].map((end) => (middle - (end as number)) / error);
    const transformed = t.map((one) => one + (k * one ** 2) / 3 + (k ** 2 * one ** 3) / 27 + k / 6);
    const quantile = studentQuantile(0.975, n - 1);
    expect(transformed[0]).toBeCloseTo(quantile, 8);
    expect(transformed[1]).toBeCloseTo(-quantile, 8);
    expect((high as number) - middle).toBeGreaterThan(middle - (low as number));
    expect(k * quantile).toBeLessThan(0.8);
    // The test and the interval say the same.
    const at = (null0: number): number | null =>
      clusteredMeanTest(
        values.map((v) => v - null0),
        { topic: labels(n, 1) },
      ).p;
    expect(at(low as number)).toBeCloseTo(0.05, 8);
    expect(at(high as number)).toBeCloseTo(0.05, 8);
  });

  it("holds the correction where one far value would decide it", () => {
    const { low, high, value } = clusteredMean([...new Array(19).fill(1), ...[1.1, 1.2, 9]], { topic: labels(22, 1) });
    const [plain, centre] = [mean([...new Array(19).fill(1), ...[1.1, 1.2, 9]]), value as number];
    expect((high as number) - centre).toBeGreaterThan((plain.high as number) - centre);
    expect((high as number) - centre).toBeLessThan(2 * ((plain.high as number) - centre));
    expect(low).toBeGreaterThan(plain.low as number);
  });

  it("knows copies: the same trials ten times over have the same interval", () => {
    const [once, tenfold] = [
      clusteredRate(yes, { vector: of.vector, topic: of.topic }),
      clusteredRate(repeat(Array.from(yes), 10), { vector: repeat(of.vector, 10), topic: repeat(of.topic, 10) }),
    ];
    expect(tenfold.low).toBeCloseTo(once.low as number, 12);
    expect(tenfold.high).toBeCloseTo(once.high as number, 12);
    expect(tenfold.designEffect).toBeCloseTo(10 * (once.designEffect as number), 8);
  });

  it("takes a null label as a cluster of its own", () => {
    const given = labels(20, 3).map((label) => (label < 10 ? label : null));
    const spelled = given.map((label, i) => label ?? `own ${i}`);
    const values = Array.from({ length: 60 }, () => rng.normal());
    const [one, other] = [clusteredMean(values, { vector: given }), clusteredMean(values, { vector: spelled })];
    expect([one.low, one.high]).toEqual([other.low, other.high]);
    expect(one.clusters).toEqual({ vector: 10 });
  });
});

describe("clusteredRate", () => {
  it("is Clopper and Pearson's interval of trials without axes, and of clusters that are all or nothing", () => {
    for (const [k, n] of [
      [0, 14],
      [1, 14],
      [7, 14],
      [13, 14],
      [14, 14],
      [3, 200],
    ]) {
      const outcomes = Array.from({ length: n }, (_, i) => i < k);
      const exact = clopperPearson(k, n);
      for (const estimate of [
        clusteredRate(outcomes, {}),
        clusteredRate(repeat(outcomes, 160), { topic: labels(n, 160) }),
      ]) {
        expect(estimate.value).toBeCloseTo(k / n, 12);
        expect(estimate.low).toBeCloseTo(exact.low as number, 9);
        expect(estimate.high).toBeCloseTo(exact.high as number, 9);
      }
    }
  });

  it("does not take 0 of 2,240 from 14 topics for 2,240 trials", () => {
    const none = clusteredRate(new Array(2240).fill(false), { topic: labels(14, 160) });
    expect(none).toMatchObject({ value: 0, n: 2240, low: 0, clusters: { topic: 14 }, effectiveN: null });
    expect(none.high).toBeCloseTo(1 - 0.025 ** (1 / 14), 12); // .232
    expect(none.method).toBe("Gaffke-beta 95 % by topic (14)");
    const all = clusteredRate(new Array(2240).fill(true), { topic: labels(14, 160) });
    expect([all.low, all.high]).toEqual([1 - (none.high as number), 1]);
    const crossed = clusteredRate(new Array(2240).fill(0), { topic: labels(14, 160), reply: labels(160, 14) });
    expect(crossed.high).toBeCloseTo(none.high as number, 12); // the scarcest axis decides
  });

  it("allows more, never less, when an event is added", () => {
    const outcomes = new Array(14 * 40).fill(0);
    let last = 0;
    for (let topic = 0; topic < 14; topic++) {
      for (let i = 0; i < 40; i++) {
        outcomes[40 * topic + i] = 1;
        const { high } = clusteredRate(outcomes, { topic: labels(14, 40) });
        expect(high as number).toBeGreaterThan(last - 1e-12);
        last = high as number;
      }
    }
    expect(last).toBe(1);
  });

  it("without unseen clusters is narrower, says so, and still bounds no events by clusters", () => {
    const clusters = { vector: of.vector, topic: of.topic };
    const [safe, smooth] = [clusteredRate(yes, clusters), clusteredRate(yes, clusters, { unseen: false })];
    expect(smooth.low as number).toBeGreaterThan(safe.low as number);
    expect(smooth.high as number).toBeLessThan(safe.high as number);
    expect(smooth.method).toBe("Korn-Graubard 95 % by vector (12) and topic (8)");
    const none = { topic: labels(14, 40) };
    expect(clusteredRate(new Array(560).fill(0), none, { unseen: false }).high).toBeCloseTo(0.2316, 4);
  });

  it("holds scarce axes fixed and says so; with none left, or below 6 trials, gives the point alone", () => {
    const wording = yes.map((_, i) => i % 2);
    expect(clusteredRate(yes, { vector: of.vector, wording }).method).toBe(
      "Gaffke-beta 95 % by vector (12), wording (2) held fixed",
    );
    expect(clusteredRate(yes, { wording })).toMatchObject({
      low: null,
      high: null,
      method: "no interval: wording (2) held fixed, fewer than 6",
    });
    expect(clusteredRate(yes, { vector: new Array(yes.length).fill(null) }).method).toMatch(/no axis applies/);
    expect(clusteredRate([1, 0, 1, 1, 0], {})).toMatchObject({ value: 0.6, low: null, high: null, n: 5 });
    expect(clusteredRate([], { topic: [] })).toMatchObject({ value: null, n: 0, low: null });
  });

  it("counts one big cluster for what it is", () => {
    const lopsided = [...new Array(500).fill("big"), ...Array.from({ length: 10 }, (_, i) => `small ${i}`)];
    const { high } = clusteredRate(new Array(510).fill(0), { topic: lopsided });
    expect(high as number).toBeGreaterThan(0.8);
  });

  it("refuses what is no outcome, no label, no level", () => {
    expect(() => clusteredRate([0, 2], {})).toThrowError(/outcomes\[1\]/);
    expect(() => clusteredRate([0, 1], { topic: ["a"] })).toThrowError(/2 labels, one per trial, for axis topic/);
    expect(() => clusteredRate([0, 1], {}, { level: 95 })).toThrowError(/level/);
    expect(() => clusteredMean([0, Number.NaN], {})).toThrowError(/values\[1\]/);
  });
});

describe("contrasts", () => {
  const clusters = { vector: of.vector, topic: of.topic };
  const later = yes.map((value, i) => (i % 5 === 0 ? 1 - value : value));

  it("of pairs flip their sign with the arms, and use the pairing", () => {
    const [there, back] = [
      clusteredDifference({ outcomes: later, clusters }, { outcomes: yes, clusters }),
      clusteredDifference({ outcomes: yes, clusters }, { outcomes: later, clusters }),
    ];
    expect(there.value).toBeCloseTo(-(back.value as number), 12);
    expect(there.low).toBeCloseTo(-(back.high as number), 12);
    expect(there.method).toMatch(/^paired Gaffke-beta 95 % by vector \(12\) and topic \(8\)/);
    const narrow = clusteredDifference({ outcomes: later, clusters }, { outcomes: yes, clusters }, { unseen: false });
    expect(narrow.method).toMatch(/^paired multiway jackknife t/);
    expect((narrow.high as number) - (narrow.low as number)).toBeLessThan(
      (there.high as number) - (there.low as number),
    );
  });

  it("of identical answers are 0 with what the clusters could hide", () => {
    const same = clusteredDifference({ outcomes: yes, clusters }, { outcomes: yes, clusters });
    expect(same.value).toBe(0);
    expect(same.high as number).toBeGreaterThan(0.2);
    expect(same.low).toBeCloseTo(-(same.high as number), 12);
  });

  it("of arms that share clusters are tighter than of strangers when effects are shared", () => {
    const shared = drawEffects(rng, of, { vector: 2, topic: 2 });
    const [one, half] = [of, crossing(12, 8, 7, 5)];
    const detection = answers(rng, latent(rng, one, shared, 0.5));
    const control = answers(rng, latent(rng, half, shared, -0.5));
    const arm = (outcomes: Float64Array, { vector, topic }: typeof of, tag: string) => ({
      outcomes,
      clusters: { vector: vector.map((v) => `${tag}${v}`), topic: topic.map((t) => `${tag}${t}`) },
    });
    const together = clusteredDifference(arm(detection, one, ""), arm(control, half, ""));
    const apart = clusteredDifference(arm(detection, one, "d"), arm(control, half, "c"));
    expect(together.value).toBe(apart.value);
    const width = ({ low, high }: { low: number | null; high: number | null }) => (high as number) - (low as number);
    expect(width(together)).toBeLessThan(0.85 * width(apart));
    expect(apart.method).toMatch(/correlation 0.00$/);
    expect(together.method).toMatch(/^MOVER of .* correlation 0\.[3-9]/);
  });

  it("balanced accuracy is .5 for constant answers, never certain, null without a class", () => {
    const steered = (value: number) => ({ outcomes: new Array(120).fill(value), clusters: { vector: labels(20, 6) } });
    const clean = (value: number) => ({ outcomes: new Array(140).fill(value), clusters: { topic: labels(14, 10) } });
    expect(clusteredBalancedAccuracy(steered(1), clean(1)).value).toBe(0.5);
    const perfect = clusteredBalancedAccuracy(steered(1), clean(0));
    expect([perfect.value, perfect.high]).toEqual([1, 1]);
    expect(perfect.low).toBeCloseTo(1 - Math.hypot(0.1684 / 2, 0.2316 / 2), 3);
    expect(clusteredBalancedAccuracy(steered(1), { outcomes: [], clusters: { topic: [] } }).value).toBeNull();
  });
});

describe("gap between two tiers", () => {
  const arm = (outcomes: number[], topics: (string | number)[] = labels(14, 10)) => ({
    outcomes,
    clusters: { topic: topics },
  });
  const share = (every: number) => Array.from({ length: 140 }, (_, i) => Number(i % every === 0));

  it("is the difference of the balanced accuracies, within [-1, 1]", () => {
    const easy = { steered: arm(share(1)), clean: arm(share(1000)) };
    const hard = { steered: arm(share(2)), clean: arm(share(10)) };
    const gap = clusteredGap(easy, hard);
    const [one, other] = [easy, hard].map(({ steered, clean }) => clusteredBalancedAccuracy(steered, clean));
    expect(gap.value).toBeCloseTo((one.value as number) - (other.value as number), 12);
    expect(gap.low as number).toBeLessThan(gap.value as number);
    expect(gap.high as number).toBeLessThanOrEqual(1);
    expect(clusteredGap(easy, { ...hard, clean: arm([], []) }).value).toBeNull();
  });

  it("of a tier against itself is zero and narrower than of two tiers that share nothing", () => {
    const tier = { steered: arm(share(2).map((value, i) => (i < 70 ? 1 : value))), clean: arm(share(10)) };
    const away = (sample: ReturnType<typeof arm>) =>
      arm(
        sample.outcomes,
        sample.clusters.topic.map((t) => `x${t}`),
      );
    const apart = clusteredGap(tier, { steered: away(tier.steered), clean: away(tier.clean) });
    const same = clusteredGap(tier, tier);
    expect([same.value, apart.value]).toEqual([0, 0]);
    expect(same.high as number).toBeLessThan((apart.high as number) / 2);
    expect(apart.method).toMatch(/correlation 0.00$/);
  });
});

describe("clustered AUROC and d'", () => {
  const clean = { values: scores.map((value) => value - 1), topic: of.topic };
  const steered = { scores, clusters: { vector: of.vector, topic: of.topic } };

  it("AUROC keeps its value, widens with clusters, and takes separation for what the clusters allow", () => {
    const independent = clusteredAuroc({ scores, clusters: {} }, { scores: clean.values, clusters: {} });
    const clustered = clusteredAuroc(steered, { scores: clean.values, clusters: { topic: of.topic } });
    const plain = auroc(scores, clean.values);
    expect(clustered.value).toBeCloseTo(plain.value as number, 12);
    expect(independent.low).toBeCloseTo(plain.low as number, 1);
    expect((clustered.high as number) - (clustered.low as number)).toBeGreaterThan(
      1.5 * ((plain.high as number) - (plain.low as number)),
    );
    const apart = clusteredAuroc(steered, { scores: scores.map((v) => v - 100), clusters: { topic: of.topic } });
    expect([apart.value, apart.high]).toEqual([1, 1]);
    expect(apart.low as number).toBeLessThan(0.7);
    expect(clusteredAuroc(steered, { scores: [], clusters: {} }).value).toBeNull();
  });

  it("d' is open above where nothing was missed, closed when clipped, and equals the plain value", () => {
    const clusters = { vector: labels(20, 6) };
    const [all, none] = [new Array(120).fill(1), new Array(140).fill(0)];
    const perfect = clusteredDPrime(
      { outcomes: all, clusters },
      { outcomes: none, clusters: { topic: labels(14, 10) } },
    );
    const counts = { hits: 120, steered: 120, falseAlarms: 0, clean: 140 };
    expect(perfect.value).toBeCloseTo(dPrime(counts).value as number, 12);
    expect(perfect).toMatchObject({ high: null, openHigh: true, openLow: false });
    expect(perfect.low as number).toBeGreaterThan(1);
    expect(perfect.low as number).toBeLessThan(4);
    const clipped = clusteredDPrime(
      { outcomes: all, clusters },
      { outcomes: none, clusters: { topic: labels(14, 10) } },
      { correction: "clip" },
    );
    expect(clipped).toMatchObject({ openHigh: false });
    expect(clipped.value).toBeCloseTo(4.6527, 4);
    expect(clipped.high).toBeCloseTo(4.6527, 4);
    expect(clusteredDPrime({ outcomes: all, clusters }, { outcomes: [], clusters: {} }).value).toBeNull();
  });
});

describe("tests and bootstrap of crossed clusters", () => {
  it("t test: two axes are less sure than one; agrees with its own interval", () => {
    const shifted = scores.map((value) => value + 0.6);
    const [one, two] = [
      clusteredMeanTest(shifted, { vector: of.vector }).p as number,
      clusteredMeanTest(shifted, { vector: of.vector, topic: of.topic }).p as number,
    ];
    expect(two).toBeGreaterThan(one);
    const interval = clusteredMean(shifted, { vector: of.vector, topic: of.topic }, { level: 1 - two });
    expect(Math.min(Math.abs(interval.low as number), Math.abs(interval.high as number))).toBeLessThan(1e-6);
    expect(clusteredMeanTest([1, 1, 1, 1, 1, 1], {}).p).toBeNull();
    expect(clusteredMeanTest(scores, { wording: scores.map((_, i) => i % 3) }).method).toMatch(/^no test/);
    const zero = scores.map(() => 0);
    expect(signFlipTest(scores, zero, { random: random(1), clusters: of.topic }).n).toBe(scores.length);
  });

  it("pigeonhole bootstrap of a mean is near the closed form, repeats for a seed, leaves the stream alone", () => {
    const axes = { vector: of.vector, topic: of.topic };
    const weighted = (weights: Float64Array): number => {
      let [sum, total] = [0, 0];
      for (const [i, weight] of weights.entries()) {
        sum += weight * scores[i];
        total += weight;
      }
      return sum / total;
    };
    const options = { random: random(3), samples: 1000 };
    const before = JSON.stringify(options.random.state());
    const estimate = crossedBootstrap(scores.length, axes, weighted, options);
    const closed = clusteredMean(scores, axes);
    const width = ({ low, high }: { low: number | null; high: number | null }) => (high as number) - (low as number);
    expect(estimate.value).toBeCloseTo(closed.value as number, 12);
    expect(width(estimate) / width(closed)).toBeGreaterThan(0.8);
    expect(width(estimate) / width(closed)).toBeLessThan(1.6);
    expect(crossedBootstrap(scores.length, axes, weighted, options)).toEqual(estimate);
    expect(JSON.stringify(options.random.state())).toBe(before);
    expect(crossedBootstrap(5, { topic: [1, 2, 3, 4, 5] }, () => 1, options)).toMatchObject({ value: 1, low: null });
  });
});

describe("the largest of several rates", () => {
  const sample = (yes: number, n: number) => ({
    outcomes: Array.from({ length: n }, (_, i) => i < yes),
    clusters: { topic: labels(n, 1) },
  });
  const samples = [sample(1, 40), sample(9, 40), sample(0, 20)];

  it("says whose it is; its ends are those of a maximum", () => {
    const largest = largestRate(samples);
    expect(largest).toMatchObject({ at: 1, value: 9 / 40, n: 40 });
    const each = samples.map(({ outcomes, clusters }) => clusteredRate(outcomes, clusters));
    const stricter = clusteredRate(samples[1].outcomes, samples[1].clusters, { level: 1 - 0.05 / 3 });
    expect(largest.low).toBe(stricter.low);
    expect(largest.high).toBe(Math.max(...each.map(({ high }) => high as number)));
    expect(largest.method).toMatch(/^largest of 3, low ends at 98\.333 %/);
  });

  it("of one rate is that rate", () => {
    const one = clusteredRate(samples[0].outcomes, samples[0].clusters);
    expect(largestRate([samples[0]])).toMatchObject({ value: one.value, low: one.low, high: one.high });
  });

  it("has no interval where one of them has none, and no value without trials", () => {
    expect(largestRate([...samples, sample(1, 4)])).toMatchObject({ value: 0.25, low: null, high: null });
    expect(largestRate([])).toMatchObject({ value: null, at: null });
  });
});
