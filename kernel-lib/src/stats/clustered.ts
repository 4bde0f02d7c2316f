/**
 * Rates, means and their differences over trials that share vectors, topics and wordings.
 *
 * Which axes are named decides what the interval speaks of: `{ topic, vector }` is about new topics and new vectors, at the
 * wordings asked; add `wording` and it is about new wordings too. Variance: multiway jackknife (multiway.ts). Rates: bounded
 * interval (bounded.ts). Means: Student's t. Two independent arms: the arms' intervals combined with the correlation that
 * shared clusters give them (MOVER, Zou and Donner 2008). Pairs: the bounded interval of the differences, within [-1, 1].
 * An axis with fewer than 6 clusters is held fixed and the method says so; if none is left, or n < 6, there is no interval.
 */
import { expected, InputError } from "../base";
import { boundedInterval } from "./bounded";
import { type ClusterAxes, type ClusterLabel, MIN_CLUSTERS } from "./clusters";
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent, type TestResult } from "./estimate";
import { clusterWords, jackknifeCovariance, jackknifeVariance, type Multiway, multiway } from "./multiway";
import { studentCdf, studentQuantile } from "./special";

/** An estimate that says what was sampled. */
export interface ClusteredEstimate extends Estimate {
  /** sampled axes with their numbers of clusters */
  clusters: Readonly<Record<string, number>>;
  /** variance over that of independent trials; null where there is no variance */
  designEffect: number | null;
  /** how many independent trials would tell as much; null where there is no variance */
  effectiveN: number | null;
}

/** Trials of one arm. */
export interface ClusterSample {
  /** 1 or true = event; one per trial */
  outcomes: ArrayLike<number | boolean>;
  /** one label per trial for each axis; null where an axis does not apply */
  clusters: ClusterAxes;
}

export interface ClusterOptions {
  /** coverage, default 0.95 */
  level?: number;
}

/** @throws InputError "outcome" unless all are 0, 1 or booleans */
export function yesNo(outcomes: ArrayLike<number | boolean>): Float64Array {
  return Float64Array.from({ length: outcomes.length }, (_, i) => {
    const value = Number(outcomes[i]);
    if (value !== 0 && value !== 1) throw new InputError("outcome", expected("0 or 1", `outcomes[${i}]`, outcomes[i]));
    return value;
  });
}

/** Is there anything to make an interval of? */
export function hasInterval(way: Multiway, axes: ClusterAxes): boolean {
  const independent = Object.keys(axes).length === 0;
  return Math.min(...way.sizes) >= MIN_CLUSTERS && (independent || Object.keys(way.sampled).length > 0);
}

/** The interval of a mean within [low, high] by rescaling to [0, 1]. */
function within(way: Multiway, weights: readonly number[], value: number, range: [number, number], level: number) {
  const { variance, freedom, clusters } = jackknifeVariance(way, weights);
  const width = range[1] - range[0];
  const unit = { value: (value - range[0]) / width, variance: variance / width ** 2, freedom, clusters };
  const { low, high } = boundedInterval(unit, level);
  return { variance, low: range[0] + width * low, high: range[0] + width * high };
}

function nothing(n: number, method: string): ClusteredEstimate {
  return { value: null, n, low: null, high: null, method, clusters: {}, designEffect: null, effectiveN: null };
}

/**
 * Share of events, k / n over all trials, with an interval for new clusters of the named axes.
 *
 * @param outcomes 0/1 or booleans, one per trial
 * @param clusters `{ axis: labels }`; `{}` for independent trials (then Clopper and Pearson's interval)
 * @returns value null for no trials; interval null below 6 trials, or if every axis has fewer than 6 clusters
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredRate(saysSteered, { vector: vectors, topic: topics });
 * // { value: 0.62, low: 0.5, high: 0.74, n: 1400, clusters: { vector: 100, topic: 14 }, ... }
 */
export function clusteredRate(
  outcomes: ArrayLike<number | boolean>,
  clusters: ClusterAxes,
  { level = DEFAULT_LEVEL }: ClusterOptions = {},
): ClusteredEstimate {
  checkLevel(level);
  const values = yesNo(outcomes);
  const n = values.length;
  if (n === 0) return nothing(n, "rate of no trials");
  const way = multiway(values, new Uint8Array(n), 1, clusters);
  const value = way.means[0];
  const { sampled } = way;
  if (!hasInterval(way, clusters)) return { ...nothing(n, `no interval: ${tooFew(way)}`), value, clusters: sampled };
  const { variance, low, high } = within(way, [1], value, [0, 1], level);
  const binomial = value * (1 - value);
  return {
    value,
    n,
    low,
    high,
    method: `Gaffke-beta ${percent(level)} ${clusterWords(way)}`,
    clusters: sampled,
    designEffect: binomial === 0 ? null : (variance * n) / binomial,
    effectiveN: binomial === 0 || variance === 0 ? null : binomial / variance,
  };
}

export function tooFew(way: Multiway): string {
  const least = Math.min(...way.sizes);
  return least < MIN_CLUSTERS
    ? `${least} trials, fewer than ${MIN_CLUSTERS}`
    : `${clusterWords(way)}, fewer than ${MIN_CLUSTERS}`;
}

/**
 * Mean of any finite numbers (log-odds, mass, differences of pairs), Student's t on the multiway jackknife.
 *
 * @param values one per trial, any unit
 * @returns as `clusteredRate`; designEffect against the variance of independent values
 * @throws InputError "not-finite", "unpaired", "level"
 *
 * @example
 * clusteredMean(differences(tunedLogOdds, baseLogOdds), { vector: vectors, topic: topics });
 */
export function clusteredMean(
  values: ArrayLike<number>,
  clusters: ClusterAxes,
  { level = DEFAULT_LEVEL }: ClusterOptions = {},
): ClusteredEstimate {
  checkSeries("values", values);
  checkLevel(level);
  const n = values.length;
  if (n === 0) return nothing(n, "mean of no values");
  const series = Float64Array.from(values);
  const way = multiway(series, new Uint8Array(n), 1, clusters);
  const value = way.means[0];
  if (!hasInterval(way, clusters))
    return { ...nothing(n, `no interval: ${tooFew(way)}`), value, clusters: way.sampled };
  const { variance, freedom } = jackknifeVariance(way, [1]);
  const half = studentQuantile((1 + level) / 2, freedom) * Math.sqrt(variance);
  let squares = 0;
  for (const one of series) squares += (one - value) ** 2;
  const independent = squares / (n - 1) / n;
  return {
    value,
    n,
    low: value - half,
    high: value + half,
    method: `multiway jackknife t ${percent(level)} ${clusterWords(way)}`,
    clusters: way.sampled,
    designEffect: independent === 0 ? null : variance / independent,
    effectiveN: independent === 0 || variance === 0 ? null : (n * independent) / variance,
  };
}

/**
 * Two-sided t test that a mean is zero, for crossed clusters (sign flips hold for one axis only).
 *
 * @returns statistic = mean; p null without an interval, or if the values do not vary
 * @throws InputError "not-finite", "unpaired"
 *
 * @example
 * clusteredMeanTest(differences(tuned, base), { vector: vectors, topic: topics }).p;
 */
export function clusteredMeanTest(values: ArrayLike<number>, clusters: ClusterAxes): TestResult {
  checkSeries("values", values);
  const n = values.length;
  if (n === 0) return { statistic: null, n, p: null, method: "multiway jackknife t test" };
  const way = multiway(Float64Array.from(values), new Uint8Array(n), 1, clusters);
  const statistic = way.means[0];
  if (!hasInterval(way, clusters)) return { statistic, n, p: null, method: `no test: ${tooFew(way)}` };
  const { variance, freedom } = jackknifeVariance(way, [1]);
  const method = `multiway jackknife t test ${clusterWords(way)}`;
  if (variance === 0) return { statistic, n, p: null, method };
  return { statistic, n, p: 2 * studentCdf(-Math.abs(statistic) / Math.sqrt(variance), freedom), method };
}

/** Both arms behind each other; an axis that one arm lacks is null there. */
export function joinArms(arms: readonly { values: Float64Array; clusters: ClusterAxes }[]): {
  values: Float64Array;
  arms: Uint8Array;
  axes: ClusterAxes;
} {
  const names = [...new Set(arms.flatMap((arm) => Object.keys(arm.clusters)))];
  const axes = Object.fromEntries(
    names.map((name) => [
      name,
      arms.flatMap(({ values, clusters }) => {
        const labels = clusters[name];
        if (labels !== undefined && labels.length !== values.length)
          throw new InputError(
            "unpaired",
            expected(`${values.length} labels, one per trial,`, `axis ${name}`, labels.length),
          );
        return labels === undefined ? new Array<ClusterLabel | null>(values.length).fill(null) : Array.from(labels);
      }),
    ]),
  );
  const sizes = arms.map(({ values }) => values.length);
  return {
    values: Float64Array.from(arms.flatMap(({ values }) => Array.from(values))),
    arms: Uint8Array.from(sizes.flatMap((size, arm) => new Array<number>(size).fill(arm))),
    axes,
  };
}

/** Correlation of the two arms' means through the clusters they share; 0 where it can't be told. */
export function armCorrelation(way: Multiway): number {
  const [one, other] = [jackknifeVariance(way, [1, 0]).variance, jackknifeVariance(way, [0, 1]).variance];
  if (one === 0 || other === 0) return 0;
  return Math.max(-1, Math.min(1, jackknifeCovariance(way) / Math.sqrt(one * other)));
}

/** offset + sum weight * estimate, with deviations of the arms' intervals added as correlated errors. */
export function combineArms(
  arms: readonly [Estimate, Estimate],
  weights: readonly [number, number],
  offset: number,
  correlation: number,
): { value: number | null; low: number | null; high: number | null } {
  if (arms.some((arm) => arm.value === null)) return { value: null, low: null, high: null };
  const value = offset + weights[0] * (arms[0].value as number) + weights[1] * (arms[1].value as number);
  const side = (up: boolean): number | null => {
    const reach = arms.map((arm, i) => {
      const end = weights[i] > 0 === up ? arm.high : arm.low;
      return end === null ? null : Math.abs(weights[i] * (end - (arm.value as number)));
    });
    if (reach[0] === null || reach[1] === null) return null;
    if (!Number.isFinite(reach[0] + reach[1])) return up ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    const together = 2 * Math.sign(weights[0] * weights[1]) * correlation * reach[0] * reach[1];
    const length = Math.sqrt(Math.max(0, reach[0] ** 2 + reach[1] ** 2 + together));
    return up ? value + length : value - length;
  };
  return { value, low: side(false), high: side(true) };
}

function twoArms(
  one: ClusterSample,
  other: ClusterSample,
  weights: readonly [number, number],
  offset: number,
  range: [number, number],
  level: number,
): ClusteredEstimate {
  const rates = [
    clusteredRate(one.outcomes, one.clusters, { level }),
    clusteredRate(other.outcomes, other.clusters, { level }),
  ];
  const n = rates[0].n + rates[1].n;
  if (rates.some((rate) => rate.n === 0)) return nothing(n, "difference with an empty arm");
  const { values, arms, axes } = joinArms(
    [one, other].map(({ outcomes, clusters }) => ({ values: yesNo(outcomes), clusters })),
  );
  const way = multiway(values, arms, 2, axes);
  const correlation = armCorrelation(way);
  const { value, low, high } = combineArms([rates[0], rates[1]], weights, offset, correlation);
  const { variance } = jackknifeVariance(way, weights);
  const independent = rates.reduce((sum, rate, arm) => {
    const p = rate.value as number;
    return sum + (weights[arm] ** 2 * p * (1 - p)) / rate.n;
  }, 0);
  const effect = independent === 0 ? null : variance / independent;
  return {
    value,
    n,
    low: low === null ? null : Math.max(range[0], low),
    high: high === null ? null : Math.min(range[1], high),
    method:
      low === null
        ? `no interval: ${rates.find((rate) => rate.low === null)?.method}`
        : `MOVER of ${rates[0].method} and ${rates[1].method}, correlation ${correlation.toFixed(2)}`,
    clusters: way.sampled,
    designEffect: effect,
    effectiveN: effect === null || effect === 0 ? null : n / effect,
  };
}

/** Same trials in both: equal length and equal labels, trial by trial. */
function isPaired(one: ClusterSample, other: ClusterSample): boolean {
  const names = Object.keys(one.clusters);
  return (
    one.outcomes.length === other.outcomes.length &&
    names.length > 0 &&
    names.length === Object.keys(other.clusters).length &&
    names.every((name) => {
      const [a, b] = [one.clusters[name], other.clusters[name]];
      return b !== undefined && a.length === b.length && Array.prototype.every.call(a, (label, i) => label === b[i]);
    })
  );
}

/**
 * Rate of `one` minus rate of `other`: tuned minus base, held-out minus in-distribution, or **selectivity** = detection minus
 * control questions on the same caches.
 *
 * If both list the same clusters trial by trial they are the same trials (pairs): the interval is of the mean difference, and
 * no change seen in G clusters still allows what G clusters can hide. Otherwise the arms' intervals are combined with the
 * correlation of shared clusters.
 *
 * @returns value in [-1, 1]
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredDifference(
 *   { outcomes: detection, clusters: { vector: vectors, topic: topics } },
 *   { outcomes: control, clusters: { vector: controlVectors, topic: controlTopics } },
 * );
 */
export function clusteredDifference(
  one: ClusterSample,
  other: ClusterSample,
  { level = DEFAULT_LEVEL }: ClusterOptions = {},
): ClusteredEstimate {
  checkLevel(level);
  if (!isPaired(one, other)) return twoArms(one, other, [1, -1], 0, [-1, 1], level);
  const [after, before] = [yesNo(one.outcomes), yesNo(other.outcomes)];
  const n = after.length;
  if (n === 0) return nothing(n, "difference of no pairs");
  const change = after.map((value, i) => value - before[i]);
  const mean = clusteredMean(change, one.clusters, { level });
  if (mean.low === null) return mean;
  const way = multiway(change, new Uint8Array(n), 1, one.clusters);
  const { low, high } = within(way, [1], mean.value as number, [-1, 1], level);
  return { ...mean, low, high, method: `paired Gaffke-beta ${percent(level)} ${clusterWords(way)}` };
}

/**
 * (hit rate + correct-rejection rate) / 2 with clusters: 0.5 for any answer that ignores the steering.
 *
 * @param steered outcomes 1 = says steered (a hit)
 * @param clean outcomes 1 = says steered (a false alarm)
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredBalancedAccuracy(
 *   { outcomes: hits, clusters: { vector: vectors, topic: topics } },
 *   { outcomes: falseAlarms, clusters: { topic: cleanTopics } },
 * );
 */
export function clusteredBalancedAccuracy(
  steered: ClusterSample,
  clean: ClusterSample,
  { level = DEFAULT_LEVEL }: ClusterOptions = {},
): ClusteredEstimate {
  checkLevel(level);
  return twoArms(steered, clean, [0.5, -0.5], 0.5, [0, 1], level);
}
