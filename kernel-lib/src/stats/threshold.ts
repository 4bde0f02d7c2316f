/**
 * The 50 % threshold with an interval that may be open beyond the strengths tried.
 *
 * A resample tells either a strength, or two strengths between which one half lies (a jump), or only a side of the grid. Each
 * is kept as a range: the interval's low end is a quantile of the ranges' low ends, its high end of their high ends, so that a
 * jump is never turned into a made-up number in the middle. "below 0.025" means that already the weakest strength is noticed
 * more often than not.
 */
import { expected, InputError } from "../base";
import { type BootstrapOptions, drawWeights, percentileInterval, resampledAxes } from "./bootstrap";
import type { ClusterAxes, ClusterLabel } from "./clusters";
import { checkLevel, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { fitPsychometric, type PsychometricOptions, type StrengthCount } from "./psychometric";

/** One steered trial. */
export interface StrengthTrial {
  strength: number;
  hit: boolean;
  /** what was sampled, if it is one thing: the vector, concept or context */
  cluster?: ClusterLabel;
}

/** A threshold; `value` null where the data only bound it. */
export interface ThresholdEstimate extends Estimate {
  /** strengths between which the point estimate lies if it is no number; an infinite end is null */
  between: [number | null, number | null] | null;
  /** the low end lies below the weakest strength tried */
  openLow: boolean;
  /** the high end lies above the strongest strength tried */
  openHigh: boolean;
  /** such as "below 0.025", "0.062 [0.05, 0.08]", "0.38 [0.3, open above]" */
  text: string;
}

type Range = readonly [number, number];

/** Where one half lies: one strength, a jump, or a side of the grid. Null for a curve that falls through one half. */
function halfRange(counts: readonly StrengthCount[], options: PsychometricOptions): Range | null {
  const known = counts.filter(({ n }) => n > 0);
  if (known.length < 2) return null;
  const fit = fitPsychometric(known, options);
  if (fit.threshold !== null) return [fit.threshold, fit.threshold];
  if (fit.between !== null) return fit.between;
  const sorted = [...known].sort((a, b) => a.strength - b.strength);
  const isNoticed = ({ hits, n }: StrengthCount): boolean => 2 * hits > n;
  const [weakest, strongest] = [sorted[0], sorted[sorted.length - 1]];
  if (isNoticed(weakest) && !isNoticed(strongest)) return null;
  const pooled = sorted.reduce((sum, { hits, n }) => ({ hits: sum.hits + hits, n: sum.n + n }), { hits: 0, n: 0 });
  return 2 * pooled.hits >= pooled.n
    ? [Number.NEGATIVE_INFINITY, weakest.strength]
    : [strongest.strength, Number.POSITIVE_INFINITY];
}

/** Trials of the same clusters and strength counted together: a resample then costs one product per cell. */
function cellsOf(trials: readonly StrengthTrial[], clusters: ClusterAxes) {
  const names = Object.keys(clusters);
  const cells = new Map<string, { first: number; hits: number; n: number; strength: number }>();
  for (const [i, { strength, hit }] of trials.entries()) {
    const labels = names.map((name) => clusters[name][i] ?? `trial ${i}`);
    const key = JSON.stringify([strength, ...labels]);
    const cell = cells.get(key) ?? { first: i, hits: 0, n: 0, strength };
    cells.set(key, { ...cell, hits: cell.hits + (hit ? 1 : 0), n: cell.n + 1 });
  }
  const list = [...cells.values()];
  const axes = Object.fromEntries(names.map((name) => [name, list.map(({ first }) => clusters[name][first])]));
  return { list, axes };
}

/**
 * The strength at which half of the trials are noticed.
 *
 * @param trials one per steered trial
 * @param options.clusters axes of the trials; default: one axis of `trial.cluster`
 * @param options.guess false-alarm rate, taken as known
 * @returns interval null (and not open) if every axis has fewer than 6 clusters
 * @throws InputError "cluster" if neither is given; else as `fitPsychometric` and `crossedBootstrap`
 *
 * @example
 * thresholdInterval(trials, { clusters: { vector: vectors, topic: topics }, guess: 0.02, random: random(1) }).text;
 */
export function thresholdInterval(
  trials: readonly StrengthTrial[],
  options: PsychometricOptions & BootstrapOptions & { clusters?: ClusterAxes },
): ThresholdEstimate {
  const { samples = 1000 } = options;
  const level = checkLevel(options.level ?? DEFAULT_LEVEL);
  if (!Number.isInteger(samples) || samples < 1)
    throw new InputError("samples", expected("an integer >= 1", "samples", samples));
  const clusters = options.clusters ?? { cluster: trials.map(ownCluster) };
  for (const [name, labels] of Object.entries(clusters))
    if (labels.length !== trials.length)
      throw new InputError(
        "unpaired",
        expected(`${trials.length} labels, one per trial,`, `axis ${name}`, labels.length),
      );
  const { list, axes: cellAxes } = cellsOf(trials, clusters);
  const strengths = [...new Set(list.map(({ strength }) => strength))];
  const place = Int32Array.from(list, ({ strength }) => strengths.indexOf(strength));
  const weights = new Float64Array(list.length).fill(1);
  const range = (): Range | null => {
    const counts = strengths.map((strength) => ({ strength, hits: 0, n: 0 }));
    for (const [c, cell] of list.entries()) {
      counts[place[c]].hits += weights[c] * cell.hits;
      counts[place[c]].n += weights[c] * cell.n;
    }
    return halfRange(counts, options);
  };
  const point = range();
  const { axes, words, least } = resampledAxes(cellAxes, list.length);
  if (axes.length === 0)
    return described(trials.length, point, null, "logistic fit, no interval: fewer than 6 clusters");
  const stream = options.random.fork("threshold-bootstrap");
  const ranges = Array.from({ length: samples }, () => {
    drawWeights(axes, stream, weights);
    return range();
  });
  const end = (side: 0 | 1): number | null => {
    const ends = percentileInterval(
      ranges.map((one) => (one === null ? null : one[side])),
      level,
      least,
    );
    return side === 0 ? ends.low : ends.high;
  };
  const method = `logistic fit, ${axes.length > 1 ? "pigeonhole" : "cluster"} bootstrap ${percent(level)} ${words}, ${samples} samples`;
  const [low, high] = [end(0), end(1)];
  return described(trials.length, point, low === null || high === null ? null : [low, high], method);
}

function ownCluster({ cluster }: StrengthTrial, i: number): ClusterLabel {
  if (cluster === undefined)
    throw new InputError(
      "cluster",
      expected("a cluster", `trials[${i}]`, "none", "Give trial.cluster or options.clusters."),
    );
  return cluster;
}

function described(n: number, point: Range | null, interval: Range | null, method: string): ThresholdEstimate {
  const finite = (end: number): number | null => (Number.isFinite(end) ? end : null);
  const isNumber = point !== null && point[0] === point[1];
  const between: ThresholdEstimate["between"] =
    point === null || isNumber ? null : [finite(point[0]), finite(point[1])];
  return {
    value: isNumber ? point[0] : null,
    n,
    low: interval === null ? null : finite(interval[0]),
    high: interval === null ? null : finite(interval[1]),
    method,
    between,
    openLow: interval !== null && interval[0] === Number.NEGATIVE_INFINITY,
    openHigh: interval !== null && interval[1] === Number.POSITIVE_INFINITY,
    text: thresholdText(point, interval),
  };
}

const shown = (value: number): string => String(Number(value.toPrecision(3)));

function thresholdText(point: Range | null, interval: Range | null): string {
  if (point === null) return "undefined";
  const [low, high] = point;
  const value =
    low === high
      ? shown(low)
      : low === Number.NEGATIVE_INFINITY
        ? `below ${shown(high)}`
        : high === Number.POSITIVE_INFINITY
          ? `above ${shown(low)}`
          : `between ${shown(low)} and ${shown(high)}`;
  if (interval === null || (interval[0] === low && interval[1] === high)) return value;
  const from = interval[0] === Number.NEGATIVE_INFINITY ? "open below" : shown(interval[0]);
  const to = interval[1] === Number.POSITIVE_INFINITY ? "open above" : shown(interval[1]);
  return `${value} [${from}, ${to}]`;
}
