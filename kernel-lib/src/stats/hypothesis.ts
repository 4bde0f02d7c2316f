/**
 * Two-sided tests for base against tuned: McNemar's exact test, sign flips of paired differences, permutation of two groups.
 *
 * Sign flips and permutations are exact where all arrangements can be counted, else Monte Carlo with (1 + as extreme) /
 * (1 + samples), which never gives p = 0. Flips go by cluster where trials share a vector or context. Group sizes are kept.
 */
import { expected, InputError, type Random } from "../base";
import type { ClusterLabel } from "./clusters";
import { checkCounts, checkSeries, type TestResult } from "./estimate";
import { differences } from "./mean";
import { logChoose } from "./special";

/** Up to this many arrangements are counted one by one. */
const MAX_EXACT = 1 << 16;
/** Sums in another order differ by rounding; arrangements this close to the observed one count as equal to it. */
const EQUAL = 1e-12;

/**
 * McNemar's exact test of paired yes/no outcomes: are changes in one direction as likely as in the other?
 *
 * @param onlyBefore pairs positive before only
 * @param onlyAfter pairs positive after only
 * @returns statistic = onlyAfter - onlyBefore; p null without a single change
 * @throws InputError "count"
 *
 * @example
 * mcnemar(1, 9).p; // 0.0215
 */
export function mcnemar(onlyBefore: number, onlyAfter: number): TestResult {
  const n = onlyBefore + onlyAfter;
  checkCounts(onlyBefore, n, "mcnemar");
  const method = "McNemar exact";
  if (n === 0) return { statistic: 0, n, p: null, method };
  let tail = 0;
  for (let k = 0; k <= Math.min(onlyBefore, onlyAfter); k++) tail += Math.exp(logChoose(n, k) - n * Math.LN2);
  return { statistic: onlyAfter - onlyBefore, n, p: Math.min(1, 2 * tail), method };
}

export interface ArrangementOptions {
  /** needed once there are too many arrangements to count */
  random: Random;
  /** Monte Carlo arrangements; default 10000 */
  samples?: number;
}

/** p-value of |sum| under arrangements: all of them when few, else random ones. */
function arrangementP(
  observed: number,
  total: number,
  exact: () => Iterable<number>,
  draw: () => number,
  samples: number,
): { p: number; how: string } {
  const bound = Math.abs(observed) - EQUAL * Math.max(1, Math.abs(observed));
  if (total <= MAX_EXACT) {
    let extreme = 0;
    for (const value of exact()) if (Math.abs(value) >= bound) extreme += 1;
    return { p: extreme / total, how: `exact, ${total} arrangements` };
  }
  let extreme = 0;
  for (let s = 0; s < samples; s++) if (Math.abs(draw()) >= bound) extreme += 1;
  return { p: (1 + extreme) / (1 + samples), how: `Monte Carlo, ${samples} samples` };
}

/**
 * Sign-flip (paired permutation) test: is the mean of after - before zero?
 *
 * @param options.clusters one label per pair; all differences of a cluster flip together
 * @returns statistic = mean difference; p null without pairs
 * @throws InputError "not-finite", "unpaired", "samples"
 *
 * @example
 * signFlipTest(tuned, base, { random: random(1), clusters: concepts }).p;
 */
export function signFlipTest(
  after: ArrayLike<number>,
  before: ArrayLike<number>,
  options: ArrangementOptions & { clusters?: readonly (string | number)[] },
): TestResult {
  const change = differences(after, before);
  checkSeries("clusters", change, options.clusters ?? change);
  const samples = checkSamples(options.samples);
  const n = change.length;
  if (n === 0) return { statistic: null, n, p: null, method: "sign flips" };
  const sums = new Map<string | number, number>();
  change.forEach((value, i) => {
    const key = options.clusters?.[i] ?? i;
    sums.set(key, (sums.get(key) ?? 0) + value);
  });
  const parts = [...sums.values()];
  const total = parts.length <= 16 ? 2 ** parts.length : Number.POSITIVE_INFINITY;
  const stream = options.random.fork("sign-flips");
  function* all(): Iterable<number> {
    for (let mask = 0; mask < total; mask++)
      yield parts.reduce((sum, part, i) => sum + ((mask >> i) & 1 ? -part : part), 0);
  }
  const draw = (): number => parts.reduce((sum, part) => sum + (stream.integer(2) === 0 ? part : -part), 0);
  const observed = parts.reduce((sum, part) => sum + part, 0);
  const { p, how } = arrangementP(observed, total, all, draw, samples);
  return {
    statistic: observed / n,
    n,
    p,
    method: `sign flips of ${parts.length} ${options.clusters ? "clusters" : "pairs"}, ${how}`,
  };
}

/**
 * Permutation test of two independent groups: is the difference of their means zero? Group sizes stay as they are.
 *
 * With clusters (each within one group) whole clusters change groups, so the number of clusters stays instead of the number
 * of values; a group's mean is over its values. Clusters that stand in both groups are pairs: use `signFlipTest`.
 *
 * @param options.clusters labels of the values of `one` and of `other`
 * @returns statistic = mean(one) - mean(other); p null if a group is empty
 * @throws InputError "not-finite", "samples", "unpaired", "cluster" if a cluster stands in both groups
 *
 * @example
 * permutationTest(concepts, randoms, { random: random(1), clusters: [conceptOfTrial, vectorOfTrial] }).p;
 */
export function permutationTest(
  one: ArrayLike<number>,
  other: ArrayLike<number>,
  options: ArrangementOptions & { clusters?: readonly [ArrayLike<ClusterLabel>, ArrayLike<ClusterLabel>] },
): TestResult {
  checkSeries("one", one, options.clusters?.[0]);
  checkSeries("other", other, options.clusters?.[1]);
  const samples = checkSamples(options.samples);
  if (options.clusters !== undefined) return permuteClusters(one, other, options.clusters, options.random, samples);
  const [m, k] = [one.length, other.length];
  const n = m + k;
  if (m === 0 || k === 0) return { statistic: null, n, p: null, method: "permutation" };
  const pool = [...Array.from(one), ...Array.from(other)];
  const sumAll = pool.reduce((sum, value) => sum + value, 0);
  const difference = (sumOne: number): number => sumOne / m - (sumAll - sumOne) / k;
  const observed = difference(pool.slice(0, m).reduce((sum, value) => sum + value, 0));
  const stream = options.random.fork("permutation");
  function* all(start = 0, left = m, sum = 0): Iterable<number> {
    if (left === 0) yield difference(sum);
    else for (let i = start; i <= n - left; i++) yield* all(i + 1, left - 1, sum + pool[i]);
  }
  const draw = (): number =>
    difference(
      stream
        .shuffle(pool)
        .slice(0, m)
        .reduce((sum, value) => sum + value, 0),
    );
  const total = Math.round(Math.exp(logChoose(n, m)));
  const { p, how } = arrangementP(observed, total, all, draw, samples);
  return { statistic: observed, n, p, method: `permutation of ${m} + ${k}, ${how}` };
}

/** Sum and size of each cluster, in order of first appearance. */
function clusterTotals(
  values: ArrayLike<number>,
  labels: ArrayLike<ClusterLabel>,
): Map<ClusterLabel, [number, number]> {
  const totals = new Map<ClusterLabel, [number, number]>();
  for (let i = 0; i < values.length; i++) {
    const [sum, size] = totals.get(labels[i]) ?? [0, 0];
    totals.set(labels[i], [sum + values[i], size + 1]);
  }
  return totals;
}

function permuteClusters(
  one: ArrayLike<number>,
  other: ArrayLike<number>,
  labels: readonly [ArrayLike<ClusterLabel>, ArrayLike<ClusterLabel>],
  random: Random,
  samples: number,
): TestResult {
  const n = one.length + other.length;
  if (one.length === 0 || other.length === 0) return { statistic: null, n, p: null, method: "permutation of clusters" };
  const [ofOne, ofOther] = [clusterTotals(one, labels[0]), clusterTotals(other, labels[1])];
  for (const label of ofOne.keys())
    if (ofOther.has(label))
      throw new InputError(
        "cluster",
        expected(
          "each cluster in one group only",
          "clusters",
          label,
          "Clusters in both groups are pairs: use signFlipTest.",
        ),
      );
  const pool = [...ofOne.values(), ...ofOther.values()];
  const [sumAll, sizeAll] = pool.reduce(([sum, size], [s, k]) => [sum + s, size + k], [0, 0]);
  const m = ofOne.size;
  const difference = (sum: number, size: number): number => sum / size - (sumAll - sum) / (sizeAll - size);
  function* all(start = 0, left = m, sum = 0, size = 0): Iterable<number> {
    if (left === 0) yield difference(sum, size);
    else
      for (let i = start; i <= pool.length - left; i++)
        yield* all(i + 1, left - 1, sum + pool[i][0], size + pool[i][1]);
  }
  const firstOf = (arrangement: readonly [number, number][]): number => {
    let [sum, size] = [0, 0];
    for (let i = 0; i < m; i++) {
      sum += arrangement[i][0];
      size += arrangement[i][1];
    }
    return difference(sum, size);
  };
  const stream = random.fork("cluster-permutation");
  const observed = firstOf(pool);
  const total = Math.round(Math.exp(logChoose(pool.length, m)));
  const { p, how } = arrangementP(observed, total, all, () => firstOf(stream.shuffle(pool)), samples);
  return { statistic: observed, n, p, method: `permutation of ${m} + ${ofOther.size} clusters, ${how}` };
}

function checkSamples(samples = 10_000): number {
  if (!Number.isInteger(samples) || samples < 1)
    throw new InputError("samples", expected("an integer >= 1", "samples", samples));
  return samples;
}

/**
 * Benjamini-Hochberg adjusted p-values: rejecting those at or below q keeps the expected share of false rejections at q.
 *
 * @param pValues one per hypothesis; null (undefined test) stays null and does not count
 * @throws InputError "p-value" outside [0, 1]
 *
 * @example
 * benjaminiHochberg([0.01, 0.04, 0.03]); // [0.03, 0.04, 0.04]
 */
export function benjaminiHochberg(pValues: readonly (number | null)[]): (number | null)[] {
  const known = pValues.flatMap((p, i) => (p === null ? [] : [{ p, i }]));
  for (const { p, i } of known)
    if (!(p >= 0 && p <= 1)) throw new InputError("p-value", expected("0 <= p <= 1", `pValues[${i}]`, p));
  known.sort((a, b) => b.p - a.p);
  const out: (number | null)[] = pValues.map(() => null);
  let least = 1;
  known.forEach(({ p, i }, fromTop) => {
    least = Math.min(least, (p * known.length) / (known.length - fromTop));
    out[i] = least;
  });
  return out;
}
