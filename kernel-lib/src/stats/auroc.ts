/**
 * Area under the ROC curve: the chance that a steered trial scores above a clean one, ties counting half.
 *
 * By midranks in n log n, with DeLong's variance (DeLong et al. 1988; the midrank form of Sun and Xu 2014). Where every
 * steered score beats every clean one that variance is 0 and says nothing; the interval is then Wilson's for a rate of
 * the smaller class's size, and its name says so.
 */
import { joinArms } from "./arms";
import {
  boundedWords,
  type ClusteredEstimate,
  type ClusterOptions,
  clusterOptions,
  hasInterval,
  tooFew,
  unitInterval,
} from "./clustered";
import type { ClusterAxes } from "./clusters";
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { clusterWords, jackknifeVariance, multiway } from "./multiway";
import { wilson } from "./proportion";
import { normalQuantile } from "./special";

/** Ranks from 1, equal values sharing the mean of their ranks. */
export function midranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a] - values[b]);
  const ranks = new Float64Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let i = start; i < end; i++) ranks[order[i]] = (start + 1 + end) / 2;
    start = end;
  }
  return ranks;
}

function sampleVariance(values: Float64Array): number {
  if (values.length < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
}

/** Share of the other class that each score beats (a clean one: is beaten by); both means are the AUROC. */
function placements(
  steered: ArrayLike<number>,
  clean: ArrayLike<number>,
): { wins: Float64Array; losses: Float64Array } {
  const [m, k] = [steered.length, clean.length];
  const all = midranks(Float64Array.from([...Array.from(steered), ...Array.from(clean)]));
  const [own, other] = [midranks(steered), midranks(clean)];
  // Rank among all minus rank in the own class = how many of the other class lie below.
  return {
    wins: Float64Array.from({ length: m }, (_, i) => (all[i] - own[i]) / k),
    losses: Float64Array.from({ length: k }, (_, i) => 1 - (all[m + i] - other[i]) / m),
  };
}

/**
 * AUROC of independent scores; see `clusteredAuroc` for trials that share vectors or topics.
 *
 * @param steered scores of steered trials, any unit, higher = more "yes"
 * @param clean scores of clean trials
 * @returns nulls if a class is empty
 * @throws InputError "not-finite", "level"
 *
 * @example
 * auroc([0.9, 0.8, 0.3], [0.1, 0.4]).value; // 5 of 6 pairs: 0.8333
 */
export function auroc(steered: ArrayLike<number>, clean: ArrayLike<number>, level: number = DEFAULT_LEVEL): Estimate {
  checkSeries("steered", steered);
  checkSeries("clean", clean);
  const [m, k] = [steered.length, clean.length];
  const n = m + k;
  const method = `DeLong ${percent(checkLevel(level))}`;
  if (m === 0 || k === 0) return { value: null, n, low: null, high: null, method };
  const { wins, losses } = placements(steered, clean);
  const value = wins.reduce((sum, share) => sum + share, 0) / m;
  const variance = sampleVariance(wins) / m + sampleVariance(losses) / k;
  if (variance === 0) {
    const smaller = Math.min(m, k);
    const { low, high } = wilson(Math.round(value * smaller), smaller, level);
    return {
      value,
      n,
      low: value === 1 || value === 0 ? low : null,
      high: value === 1 || value === 0 ? high : null,
      method: `Wilson ${percent(level)} on the smaller class (DeLong variance is 0)`,
    };
  }
  const half = normalQuantile((1 + level) / 2) * Math.sqrt(variance);
  return { value, n, low: Math.max(0, value - half), high: Math.min(1, value + half), method };
}

/** Scores of one class. */
export interface ScoreSample {
  /** one per trial, higher = more "steered" */
  scores: ArrayLike<number>;
  clusters: ClusterAxes;
}

/**
 * AUROC of trials that share clusters, within a class or across them.
 *
 * Each trial's placement (share of the other class that it beats) enters the multiway jackknife, as Obuchowski (1997) sums
 * DeLong's components by cluster; the interval is the bounded one of `clusteredRate`, so full separation is as uncertain as
 * the scarcest axis makes it.
 *
 * @returns nulls if a class is empty; interval null below 6 trials in a class, or if every axis has fewer than 6 clusters
 * @throws InputError "not-finite", "unpaired", "level"
 *
 * @example
 * clusteredAuroc(
 *   { scores: steeredLogOdds, clusters: { vector: vectors, topic: topics } },
 *   { scores: cleanLogOdds, clusters: { topic: cleanTopics } },
 * );
 */
export function clusteredAuroc(
  steered: ScoreSample,
  clean: ScoreSample,
  options: ClusterOptions = {},
): ClusteredEstimate {
  const chosen = clusterOptions(options);
  checkSeries("steered", steered.scores);
  checkSeries("clean", clean.scores);
  const n = steered.scores.length + clean.scores.length;
  const none = { value: null, n, low: null, high: null, clusters: {}, designEffect: null, effectiveN: null };
  if (steered.scores.length === 0 || clean.scores.length === 0) return { ...none, method: "AUROC of an empty class" };
  const { wins, losses } = placements(steered.scores, clean.scores);
  const { values, arms, axes } = joinArms([
    { values: wins, clusters: steered.clusters },
    { values: losses, clusters: clean.clusters },
  ]);
  const way = multiway(values, arms, 2, axes);
  const value = way.means[0];
  if (!hasInterval(way, axes)) return { ...none, value, clusters: way.sampled, method: `no interval: ${tooFew(way)}` };
  const jackknife = jackknifeVariance(way, [1, 1]);
  const { variance } = jackknife;
  const independent = sampleVariance(wins) / wins.length + sampleVariance(losses) / losses.length;
  return {
    value,
    n,
    ...unitInterval({ value, ...jackknife }, chosen),
    method: `placements, ${boundedWords(chosen)} ${clusterWords(way)}`,
    clusters: way.sampled,
    designEffect: independent === 0 ? null : variance / independent,
    effectiveN: independent === 0 || variance === 0 ? null : (n * independent) / variance,
  };
}
