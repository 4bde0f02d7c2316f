/**
 * Differences of rates and balanced accuracy over trials that share clusters.
 *
 * Two arms: each arm's interval as `clusteredRate` gives it, deviations added as errors with the correlation that shared
 * clusters give the arms (MOVER, Zou and Donner 2008). Pairs: the bounded interval of the mean difference, within [-1, 1].
 */
import { armCorrelation, combineArms, joinArms } from "./arms";
import { boundedInterval } from "./bounded";
import {
  type ClusteredEstimate,
  clusteredMean,
  clusteredRate,
  type ClusterOptions,
  clusterOptions,
  type ClusterSample,
  nothing,
  yesNo,
} from "./clustered";
import { percent } from "./estimate";
import { clusterWords, jackknifeVariance, multiway } from "./multiway";

function twoArms(
  one: ClusterSample,
  other: ClusterSample,
  weights: readonly [number, number],
  offset: number,
  range: [number, number],
  options: ClusterOptions,
): ClusteredEstimate {
  const rates = [
    clusteredRate(one.outcomes, one.clusters, options),
    clusteredRate(other.outcomes, other.clusters, options),
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
 * Rate of `one` minus rate of `other`: tuned minus base, held-out minus in-distribution.
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
  options: ClusterOptions = {},
): ClusteredEstimate {
  const { level, unseen } = clusterOptions(options);
  if (!isPaired(one, other)) return twoArms(one, other, [1, -1], 0, [-1, 1], options);
  const [after, before] = [yesNo(one.outcomes), yesNo(other.outcomes)];
  const change = after.map((value, i) => value - before[i]);
  const mean = clusteredMean(change, one.clusters, { level });
  if (mean.low === null || mean.value === null) return mean;
  const way = multiway(change, new Uint8Array(change.length), 1, one.clusters);
  const { variance, freedom } = jackknifeVariance(way, [1]);
  if (!unseen && variance > 0) return { ...mean, method: `paired ${mean.method}` };
  // From [-1, 1] to [0, 1] and back.
  const unit = boundedInterval({ value: (mean.value + 1) / 2, variance: variance / 4, freedom }, level);
  const method = `paired Gaffke-beta ${percent(level)} ${clusterWords(way)}`;
  return { ...mean, low: 2 * unit.low - 1, high: 2 * unit.high - 1, method };
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
  options: ClusterOptions = {},
): ClusteredEstimate {
  clusterOptions(options);
  return twoArms(steered, clean, [0.5, -0.5], 0.5, [0, 1], options);
}

/** The steered and clean trials of one tier. */
export interface DetectionSample {
  steered: ClusterSample;
  clean: ClusterSample;
}

/**
 * Balanced accuracy of `one` minus that of `other`: the gap between what was trained on and what was held out.
 *
 * Both figures' intervals, deviations added with the correlation that clusters shared by the four groups of trials give them.
 *
 * @returns value in [-1, 1]
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredGap({ steered: trainedHits, clean: alarms }, { steered: heldOutHits, clean: heldOutAlarms });
 */
export function clusteredGap(
  one: DetectionSample,
  other: DetectionSample,
  options: ClusterOptions = {},
): ClusteredEstimate {
  const samples = [one.steered, one.clean, other.steered, other.clean];
  const [first, second] = [one, other].map(({ steered, clean }) => clusteredBalancedAccuracy(steered, clean, options));
  const n = first.n + second.n;
  if (first.value === null || second.value === null) return nothing(n, "gap with an empty arm");
  const { values, arms, axes } = joinArms(
    samples.map(({ outcomes, clusters }) => ({ values: yesNo(outcomes), clusters })),
  );
  const way = multiway(values, arms, 4, axes);
  const varianceOf = (weights: readonly number[]): number => jackknifeVariance(way, weights).variance;
  const [mine, theirs] = [varianceOf([0.5, -0.5, 0, 0]), varianceOf([0, 0, 0.5, -0.5])];
  const variance = varianceOf([0.5, -0.5, -0.5, 0.5]);
  const shared = mine === 0 || theirs === 0 ? 0 : (mine + theirs - variance) / (2 * Math.sqrt(mine * theirs));
  const correlation = Math.max(-1, Math.min(1, shared));
  const { value, low, high } = combineArms([first, second], [1, -1], 0, correlation);
  return {
    value,
    n,
    low: low === null ? null : Math.max(-1, low),
    high: high === null ? null : Math.min(1, high),
    method:
      low === null
        ? `no interval: ${[first, second].find((part) => part.low === null)?.method}`
        : `MOVER of two balanced accuracies (${first.method}; ${second.method}), correlation ${correlation.toFixed(2)}`,
    clusters: way.sampled,
    designEffect: null,
    effectiveN: null,
  };
}

/**
 * What steering does to one answer beyond what it does to another: (hits - false alarms) of `one` minus the same of `other`, twice the gap
 * of their balanced accuracies. **Selectivity** is that of the detection question and of control questions on the same caches.
 *
 * @returns value in [-2, 2]; 0 for a model that answers both by the cache alone, 1 for one that reads the question perfectly
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredInteraction({ steered: hits, clean: falseAlarms }, { steered: leaks, clean: leaksOnClean });
 */
export function clusteredInteraction(
  one: DetectionSample,
  other: DetectionSample,
  options: ClusterOptions = {},
): ClusteredEstimate {
  const gap = clusteredGap(one, other, options);
  const twice = (value: number | null): number | null => (value === null ? null : 2 * value);
  return { ...gap, value: twice(gap.value), low: twice(gap.low), high: twice(gap.high), method: `twice ${gap.method}` };
}
