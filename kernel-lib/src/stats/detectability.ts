/**
 * d' and criterion of yes/no detection, with the correction for rates of 0 and 1 named, never silent.
 *
 * d' = z(hit rate) - z(false-alarm rate), c = -(z(H) + z(F)) / 2. "log-linear" adds 0.5 to counts and 1 to trials (Hautus
 * 1995); "clip" holds rates within [0.01, 0.99], as the model card does (d' then cannot exceed 4.65); "none" gives null at
 * 0 or 1. The interval is the normal one of Gourevitch and Galanter (1967) at the corrected rates.
 */
import { armCorrelation, combineArms, joinArms } from "./arms";
import { type ClusterOptions, type ClusterSample, clusteredRate, yesNo } from "./clustered";
import { checkCounts, checkLevel, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { multiway } from "./multiway";
import type { DetectionCounts } from "./proportion";
import { normalDensity, normalQuantile } from "./special";

export type RateCorrection = "log-linear" | "clip" | "none";

const CARD_CLIP = 0.01;

function corrected(k: number, n: number, correction: RateCorrection): number | null {
  if (n === 0) return null;
  if (correction === "log-linear") return (k + 0.5) / (n + 1);
  const rate = k / n;
  if (correction === "clip") return Math.min(Math.max(rate, CARD_CLIP), 1 - CARD_CLIP);
  return rate > 0 && rate < 1 ? rate : null;
}

/** Variance of z(rate) by the delta method: p (1 - p) / (n phi(z)^2). */
function zVariance(rate: number, n: number): number {
  return (rate * (1 - rate)) / (n * normalDensity(normalQuantile(rate)) ** 2);
}

/**
 * Sensitivity d'.
 *
 * @param counts trials must be independent
 * @returns value null if a class is empty, or with "none" if a rate is 0 or 1
 * @throws InputError "count", "level"
 *
 * @example
 * dPrime({ hits: 45, steered: 50, falseAlarms: 2, clean: 50 }); // log-linear: 2.89
 */
export function dPrime(
  counts: DetectionCounts,
  options: { correction?: RateCorrection; level?: number } = {},
): Estimate {
  const { correction = "log-linear", level = DEFAULT_LEVEL } = options;
  checkCounts(counts.hits, counts.steered, "hits");
  checkCounts(counts.falseAlarms, counts.clean, "false alarms");
  const n = counts.steered + counts.clean;
  const method = `${correction === "clip" ? "clipped to [0.01, 0.99]" : correction}, Gourevitch-Galanter ${percent(checkLevel(level))}`;
  const hit = corrected(counts.hits, counts.steered, correction);
  const alarm = corrected(counts.falseAlarms, counts.clean, correction);
  if (hit === null || alarm === null) return { value: null, n, low: null, high: null, method };
  const value = normalQuantile(hit) - normalQuantile(alarm);
  const half =
    normalQuantile((1 + level) / 2) * Math.sqrt(zVariance(hit, counts.steered) + zVariance(alarm, counts.clean));
  return { value, n, low: value - half, high: value + half, method };
}

/** Criterion c: 0 neutral, positive leans to "no"; null where d' is. @throws InputError "count" */
export function criterion(counts: DetectionCounts, correction: RateCorrection = "log-linear"): number | null {
  checkCounts(counts.hits, counts.steered, "hits");
  checkCounts(counts.falseAlarms, counts.clean, "false alarms");
  const hit = corrected(counts.hits, counts.steered, correction);
  const alarm = corrected(counts.falseAlarms, counts.clean, correction);
  return hit === null || alarm === null ? null : -(normalQuantile(hit) + normalQuantile(alarm)) / 2;
}

/**
 * d' of trials that share clusters.
 *
 * Rates are corrected as named; each rate's interval (`clusteredRate`) goes to the z scale and the two are combined with the
 * correlation that shared clusters give them. Where a rate's interval reaches 0 or 1, z is infinite and that end of d' is open:
 * null with `openLow` or `openHigh`. "clip" holds rates and ends within [0.01, 0.99], as the model card does, so it is never
 * open and never above 4.65: quote it beside "log-linear", not instead.
 *
 * @param steered outcomes 1 = says steered (a hit)
 * @param clean outcomes 1 = says steered (a false alarm)
 * @returns value null if a class is empty, or with "none" at a rate of 0 or 1
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * clusteredDPrime(
 *   { outcomes: hits, clusters: { vector: vectors, topic: topics } },
 *   { outcomes: falseAlarms, clusters: { topic: cleanTopics } },
 * );
 */
export function clusteredDPrime(
  steered: ClusterSample,
  clean: ClusterSample,
  options: ClusterOptions & { correction?: RateCorrection } = {},
): Estimate & { openLow: boolean; openHigh: boolean } {
  const { correction = "log-linear" } = options;
  const samples = [steered, clean].map(({ outcomes, clusters }) => ({ values: yesNo(outcomes), clusters }));
  const rates = samples.map(({ values, clusters }) => clusteredRate(values, clusters, options));
  const n = rates[0].n + rates[1].n;
  const name = correction === "clip" ? "clipped to [0.01, 0.99]" : correction;
  const z = rates.map(({ value, n: size, low, high }): Estimate => {
    const rate = value === null ? null : corrected(Math.round(value * size), size, correction);
    const ends = [low, high].map((end) => {
      if (end === null) return null;
      return normalQuantile(correction === "clip" ? Math.min(Math.max(end, CARD_CLIP), 1 - CARD_CLIP) : end);
    });
    return { value: rate === null ? null : normalQuantile(rate), n: size, low: ends[0], high: ends[1], method: name };
  });
  const open = { openLow: false, openHigh: false };
  if (z.some(({ value }) => value === null)) return { value: null, n, low: null, high: null, method: name, ...open };
  const joined = joinArms(samples);
  const correlation = armCorrelation(multiway(joined.values, joined.arms, 2, joined.axes));
  const { value, low, high } = combineArms([z[0], z[1]], [1, -1], 0, correlation);
  const finite = (end: number | null): number | null => (end !== null && Number.isFinite(end) ? end : null);
  return {
    value,
    n,
    low: finite(low),
    high: finite(high),
    method: `${name}, z of (${rates[0].method}; ${rates[1].method}), correlation ${correlation.toFixed(2)}`,
    openLow: low === Number.NEGATIVE_INFINITY,
    openHigh: high === Number.POSITIVE_INFINITY,
  };
}
