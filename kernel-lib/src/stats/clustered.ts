/**
 * Rates and means over trials that share vectors, topics and wordings.
 *
 * Which axes are named decides what the interval speaks of: `{ topic, vector }` is about new topics and new vectors, at the
 * wordings asked; add `wording` and it is about new wordings too. Variance: multiway jackknife (multiway.ts). Rates: bounded
 * interval (bounded.ts). Means: Student's t, corrected for skewness (skewness.ts). An axis with fewer than 6 clusters is held fixed and the method says so; if none is left, or n < 6, there is no interval.
 */
import { expected, InputError } from "../base";
import { boundedInterval, type BoundedMean, effectiveInterval } from "./bounded";
import { type ClusterAxes, MIN_CLUSTERS } from "./clusters";
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent, type TestResult } from "./estimate";
import { clusterWords, jackknifeVariance, type Multiway, multiway } from "./multiway";
import { correctedSkewness, transformedT, untransformedT } from "./skewness";
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

/** What an interval covers, and what it allows for. */
export interface ClusterOptions {
  /** coverage, default 0.95 */
  level?: number;
  /**
   * allow for a kind of cluster that was not drawn (default). False: clusters differ, but none is of another kind: narrower, and
   * too narrow where a few clusters are all or nothing. Say so beside the figure; the method's name does
   */
  unseen?: boolean;
}

/** Options with their defaults. @throws InputError "level" */
export function clusterOptions({ level = DEFAULT_LEVEL, unseen = true }: ClusterOptions): Required<ClusterOptions> {
  return { level: checkLevel(level), unseen };
}

/** Name of the interval of a bounded mean. */
export function boundedWords({ level, unseen }: Required<ClusterOptions>): string {
  return `${unseen ? "Gaffke-beta" : "Korn-Graubard"} ${percent(level)}`;
}

/** Interval of a mean within [0, 1]. */
export function unitInterval(
  of: BoundedMean,
  { level, unseen }: Required<ClusterOptions>,
): { low: number; high: number } {
  return unseen ? boundedInterval(of, level) : effectiveInterval(of, level);
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

/** A figure without value or interval. */
export function nothing(n: number, method: string): ClusteredEstimate {
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
 * const clean = sweep.records.filter(({ target }) => target === "clean");
 * const alarms = clean.map(({ saysSteered }) => saysSteered);
 * clusteredRate(alarms, { topic: clean.map(({ context }) => context) });
 * // { value: 0.048, low: 0.034, high: 0.074, n: 2600, clusters: { topic: 216 }, ... }
 */
export function clusteredRate(
  outcomes: ArrayLike<number | boolean>,
  clusters: ClusterAxes,
  options: ClusterOptions = {},
): ClusteredEstimate {
  const chosen = clusterOptions(options);
  const values = yesNo(outcomes);
  const n = values.length;
  if (n === 0) return nothing(n, "rate of no trials");
  const way = multiway(values, new Uint8Array(n), 1, clusters);
  const value = way.means[0];
  const { sampled } = way;
  if (!hasInterval(way, clusters)) return { ...nothing(n, `no interval: ${tooFew(way)}`), value, clusters: sampled };
  const jackknife = jackknifeVariance(way, [1]);
  const binomial = value * (1 - value);
  return {
    value,
    n,
    ...unitInterval({ value, ...jackknife, trials: n }, chosen),
    method: `${boundedWords(chosen)} ${clusterWords(way)}`,
    clusters: sampled,
    designEffect: binomial === 0 ? null : (jackknife.variance * n) / binomial,
    effectiveN: binomial === 0 || jackknife.variance === 0 ? null : binomial / jackknife.variance,
  };
}

/** Why there is no interval, for its method's name. */
export function tooFew(way: Multiway): string {
  const least = Math.min(...way.sizes);
  if (least < MIN_CLUSTERS) return `${least} trials, fewer than ${MIN_CLUSTERS}`;
  return Object.keys(way.fixed).length === 0
    ? "no axis applies to these trials"
    : `${clusterWords(way)}, fewer than ${MIN_CLUSTERS}`;
}

/**
 * Mean of any finite numbers (log-odds, mass, differences of pairs), Student's t on the multiway jackknife, corrected for skewness.
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
  const { variance, freedom, skewness } = jackknifeVariance(way, [1]);
  const quantile = studentQuantile((1 + level) / 2, freedom);
  const k = correctedSkewness(skewness, quantile);
  const [down, up] = [quantile, -quantile].map((t) => untransformedT(t, k) * Math.sqrt(variance));
  let squares = 0;
  for (const one of series) squares += (one - value) ** 2;
  const independent = squares / (n - 1) / n;
  return {
    value,
    n,
    low: value - down,
    high: value - up,
    method: `multiway jackknife t ${percent(level)}, skewness corrected, ${clusterWords(way)}`,
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
  const { variance, freedom, skewness } = jackknifeVariance(way, [1]);
  const method = `multiway jackknife t test, skewness corrected, ${clusterWords(way)}`;
  if (variance === 0) return { statistic, n, p: null, method };
  const k = correctedSkewness(skewness, studentQuantile((1 + DEFAULT_LEVEL) / 2, freedom));
  const t = transformedT(statistic / Math.sqrt(variance), k);
  return { statistic, n, p: 2 * studentCdf(-Math.abs(t), freedom), method };
}
