/**
 * Bootstrap intervals that resample whole clusters, for statistics without a closed form.
 *
 * One axis: draw as many clusters as there are, with replacement, keep each whole; the interval is bias-corrected and
 * accelerated (BCa, Efron 1987). Crossed axes: draw every axis by itself, a trial counts the product of its clusters' counts
 * (pigeonhole bootstrap, Owen 2007: wide rather than narrow). Both use Student's quantiles in place of the normal ones,
 * because few clusters spread less than they should (Hesterberg 2015). Below 6 clusters there is no interval. Seeded: the
 * same stream gives the same interval.
 */
import { expected, InputError, type Random } from "../base";
import { type ClusterAxes, codeAxis, type CodedAxis, MIN_CLUSTERS } from "./clusters";
import { checkLevel, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { normalCdf, normalQuantile, studentQuantile } from "./special";

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

/** Linear interpolation between order statistics (type 7) of sorted values; between a number and infinity lies infinity. */
export function sortedQuantile(sorted: ArrayLike<number>, p: number): number {
  const at = p * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  if (sorted[low] === sorted[high] || at === low) return sorted[low];
  if (!Number.isFinite(sorted[high] - sorted[low])) return Number.isFinite(sorted[low]) ? sorted[high] : sorted[low];
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** Student's quantile scaled so that resampled values of G clusters reach as far as a t interval does. */
function reach(level: number, clusters: number): number {
  return Math.sqrt(clusters / (clusters - 1)) * studentQuantile((1 + level) / 2, clusters - 1);
}

/** Resampled values in rising order, or null if too many are undefined. */
function knownValues(values: readonly (number | null)[]): number[] | null {
  const known = values.filter((value): value is number => value !== null && !Number.isNaN(value)).sort((a, b) => a - b);
  return known.length === 0 || values.length - known.length > MAX_UNDEFINED * values.length ? null : known;
}

/**
 * Middle of resampled values, widened to Student's quantiles for that number of clusters; infinite ends stay infinite.
 *
 * @returns nulls if more than 5 % of the values are undefined
 */
export function percentileInterval(
  values: readonly (number | null)[],
  level: number,
  clusters: number,
): { low: number | null; high: number | null } {
  const known = knownValues(values);
  if (known === null) return { low: null, high: null };
  const tail = normalCdf(-reach(level, clusters));
  return { low: sortedQuantile(known, tail), high: sortedQuantile(known, 1 - tail) };
}

/** Skewness of the jackknife over six: how the statistic's spread changes with its value. */
function acceleration(left: readonly (number | null)[]): number {
  if (!left.every((value): value is number => value !== null && Number.isFinite(value))) return 0;
  const centre = left.reduce((sum, value) => sum + value, 0) / left.length;
  let [squares, cubes] = [0, 0];
  for (const value of left) {
    squares += (centre - value) ** 2;
    cubes += (centre - value) ** 3;
  }
  return squares === 0 ? 0 : cubes / (6 * squares ** 1.5);
}

/** BCa ends; `left` holds the statistic with each cluster left out. */
function acceleratedInterval(
  value: number,
  values: readonly (number | null)[],
  left: readonly (number | null)[],
  level: number,
): { low: number | null; high: number | null } {
  const known = knownValues(values);
  if (known === null) return { low: null, high: null };
  const below = known.reduce((sum, one) => sum + (one < value ? 1 : one === value ? 0.5 : 0), 0) / known.length;
  const half = 1 / (2 * known.length); // all on one side: as if half a value were on the other
  const shift = normalQuantile(Math.min(1 - half, Math.max(half, below)));
  const a = acceleration(left);
  const end = (z: number): number | null => {
    const moved = shift + z;
    const scale = 1 - a * moved;
    const found = sortedQuantile(known, normalCdf(scale > 0 ? shift + moved / scale : Math.sign(z) * 40));
    return Number.isFinite(found) ? found : null;
  };
  const z = reach(level, left.length);
  return { low: end(-z), high: end(z) };
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

function checkSamples(samples = 2000): number {
  if (!Number.isInteger(samples) || samples < 1)
    throw new InputError("samples", expected("an integer >= 1", "samples", samples));
  return samples;
}

/**
 * Any statistic with a cluster-bootstrap interval (BCa).
 *
 * @param items one entry per trial
 * @param clusterOf the unit that was sampled: vector, concept, context; give the index for independent items
 * @param statistic of a resample; null where undefined
 * @returns interval null for fewer than 6 clusters or if the statistic is undefined on more than 5 % of resamples
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
  const level = checkLevel(options.level ?? DEFAULT_LEVEL);
  const samples = checkSamples(options.samples);
  const clusters = groups(items, clusterOf);
  const method = `cluster bootstrap ${percent(level)}, ${clusters.length} clusters, ${samples} samples, BCa`;
  const value = items.length === 0 ? null : statistic(items);
  if (clusters.length < MIN_CLUSTERS || value === null)
    return { value, n: items.length, low: null, high: null, method: `no interval: ${clusters.length} clusters` };
  const stream = options.random.fork("cluster-bootstrap");
  const values: (number | null)[] = [];
  for (let s = 0; s < samples; s++) {
    const sample: T[] = [];
    for (let c = 0; c < clusters.length; c++)
      for (const item of clusters[stream.integer(clusters.length)]) sample.push(item);
    values.push(statistic(sample));
  }
  const left = clusters.map((out) => statistic(clusters.flatMap((cluster) => (cluster === out ? [] : cluster))));
  return { value, n: items.length, ...acceleratedInterval(value, values, left, level), method };
}

/** Axes with enough clusters to resample; the others are held fixed. Null labels are clusters of one trial. */
export function resampledAxes(clusters: ClusterAxes, n: number): { axes: CodedAxis[]; words: string; least: number } {
  const axes = Object.entries(clusters).map(([name, labels]) => codeAxis(name, labels, n));
  const [free, fixed] = [true, false].map((isFree) => axes.filter(({ size }) => size >= MIN_CLUSTERS === isFree));
  const list = (some: readonly CodedAxis[]): string => some.map(({ name, size }) => `${name} (${size})`).join(" and ");
  const words = [`by ${list(free)}`, fixed.length === 0 ? "" : `${list(fixed)} held fixed`].filter(
    (text) => text !== "",
  );
  return { axes: free, words: words.join(", "), least: Math.min(...free.map(({ size }) => size)) };
}

/** Pigeonhole weights: `weights[i]` becomes the product over axes of how often trial i's cluster was drawn. */
export function drawWeights(axes: readonly CodedAxis[], stream: Random, weights: Float64Array): void {
  weights.fill(1);
  for (const { codes, size } of axes) {
    const counts = new Uint32Array(size);
    for (let draw = 0; draw < size; draw++) counts[stream.integer(size)] += 1;
    for (let i = 0; i < weights.length; i++) weights[i] *= counts[codes[i]];
  }
}

/**
 * Any statistic of weighted trials with a pigeonhole-bootstrap interval, for crossed clusters. Cost: samples x trials; for
 * rates and means prefer the closed form of `clusteredRate` and `clusteredMean`.
 *
 * @param n trials
 * @param clusters `{ axis: labels }`, at least one axis
 * @param statistic of whole-number weights, one per trial (all 1 = the value); null where undefined. Do not keep the array
 * @returns interval null if every axis has fewer than 6 clusters, or if the statistic is often undefined
 * @throws InputError "unpaired", "samples", "level"
 *
 * @example
 * crossedBootstrap(trials.length, { vector: vectors, topic: topics }, (w) => weightedMedian(scores, w), { random: random(1) });
 */
export function crossedBootstrap(
  n: number,
  clusters: ClusterAxes,
  statistic: (weights: Float64Array) => number | null,
  options: BootstrapOptions,
): Estimate {
  const level = checkLevel(options.level ?? DEFAULT_LEVEL);
  const samples = checkSamples(options.samples);
  const { axes, words, least } = resampledAxes(clusters, n);
  const weights = new Float64Array(n).fill(1);
  const value = n === 0 ? null : statistic(weights);
  if (axes.length === 0 || value === null)
    return { value, n, low: null, high: null, method: `no interval: fewer than ${MIN_CLUSTERS} clusters` };
  const stream = options.random.fork("crossed-bootstrap");
  const values = Array.from({ length: samples }, () => {
    drawWeights(axes, stream, weights);
    return statistic(weights);
  });
  const { low, high } = percentileInterval(values, level, least);
  const finite = (end: number | null): number | null => (end !== null && Number.isFinite(end) ? end : null);
  const method = `pigeonhole bootstrap ${percent(level)} ${words}, ${samples} samples`;
  return { value, n, low: finite(low), high: finite(high), method };
}
