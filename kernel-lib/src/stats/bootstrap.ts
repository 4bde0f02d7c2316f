/**
 * Bootstrap intervals that resample whole clusters, for trials that are not independent (same vector, concept or context).
 *
 * Draw as many clusters as there are, with replacement, keep each whole, take the statistic; the interval is the middle of
 * what comes out (percentile method). Seeded: the same stream gives the same interval. With few clusters (below about 20)
 * such intervals are too narrow; the method's name carries the number, so the reader sees it.
 */
import { expected, InputError, type Random } from "../base";
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { differences } from "./mean";

export interface BootstrapOptions {
  /** source of the resamples; forked, so that the caller's stream does not move */
  random: Random;
  /** resamples; default 2000 */
  samples?: number;
  /** default 0.95 */
  level?: number;
}

/** A statistic may be undefined on some resamples; with more than this share of them, the interval is null. */
const MAX_UNDEFINED = 0.05;

/** Linear interpolation between order statistics (type 7), of sorted values that may include infinities. */
export function sortedQuantile(sorted: ArrayLike<number>, p: number): number {
  const at = p * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  if (sorted[low] === sorted[high] || at === low) return sorted[low];
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** Middle `level` of resampled values; an end that is infinite or too often undefined is null. */
export function percentileInterval(
  values: readonly (number | null)[],
  level: number,
): { low: number | null; high: number | null } {
  const known = values.filter((value): value is number => value !== null && !Number.isNaN(value)).sort((a, b) => a - b);
  if (known.length === 0 || values.length - known.length > MAX_UNDEFINED * values.length)
    return { low: null, high: null };
  const end = (p: number): number | null => {
    const value = sortedQuantile(known, p);
    return Number.isFinite(value) ? value : null;
  };
  return { low: end((1 - level) / 2), high: end((1 + level) / 2) };
}

/** Items grouped by cluster, in order of first appearance. */
function groups<T>(items: readonly T[], clusterOf: (item: T, index: number) => string | number): T[][] {
  const byCluster = new Map<string | number, T[]>();
  for (const [i, item] of items.entries()) {
    const key = clusterOf(item, i);
    const group = byCluster.get(key);
    if (group === undefined) byCluster.set(key, [item]);
    else group.push(item);
  }
  return [...byCluster.values()];
}

/**
 * Any statistic with a cluster-bootstrap interval.
 *
 * @param items one entry per trial
 * @param clusterOf the unit that was sampled: vector, concept, context; give the index for independent items
 * @param statistic of a resample; null where undefined
 * @returns interval null for fewer than two clusters or if the statistic is often undefined
 * @throws InputError "samples", "level"
 *
 * @example
 * clusterBootstrap(trials, (trial) => trial.vector, (sample) => rate(sample), { random: random(1) });
 */
export function clusterBootstrap<T>(
  items: readonly T[],
  clusterOf: (item: T, index: number) => string | number,
  statistic: (sample: readonly T[]) => number | null,
  options: BootstrapOptions,
): Estimate {
  const { samples = 2000, level = DEFAULT_LEVEL } = options;
  checkLevel(level);
  if (!Number.isInteger(samples) || samples < 1)
    throw new InputError("samples", expected("an integer >= 1", "samples", samples));
  const clusters = groups(items, clusterOf);
  const method = `cluster bootstrap ${percent(level)}, ${clusters.length} clusters, ${samples} samples, percentile`;
  const value = items.length === 0 ? null : statistic(items);
  if (clusters.length < 2) return { value, n: items.length, low: null, high: null, method };
  const stream = options.random.fork("cluster-bootstrap");
  const values: (number | null)[] = [];
  for (let s = 0; s < samples; s++) {
    const sample: T[] = [];
    for (let c = 0; c < clusters.length; c++)
      for (const item of clusters[stream.integer(clusters.length)]) sample.push(item);
    values.push(statistic(sample));
  }
  return { value, n: items.length, ...percentileInterval(values, level), method };
}

const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Mean with a cluster-bootstrap interval.
 *
 * @param clusters one label per value
 * @throws InputError "not-finite", "unpaired", "samples", "level"
 */
export function clusterMean(
  values: readonly number[],
  clusters: readonly (string | number)[],
  options: BootstrapOptions,
): Estimate {
  checkSeries("values", values, clusters);
  return clusterBootstrap(values, (_value, i) => clusters[i], average, options);
}

/**
 * Mean of after - before over pairs, pairs resampled by cluster (each pair its own cluster if none are given).
 *
 * @throws InputError "not-finite", "unpaired", "samples", "level"
 *
 * @example
 * pairedBootstrap(tuned, base, { random: random(1), clusters: concepts });
 */
export function pairedBootstrap(
  after: ArrayLike<number>,
  before: ArrayLike<number>,
  options: BootstrapOptions & { clusters?: readonly (string | number)[] },
): Estimate {
  const change = differences(after, before);
  const estimate = clusterMean(change, options.clusters ?? change.map((_, i) => i), options);
  return { ...estimate, method: `paired ${estimate.method}` };
}
