/**
 * d' and criterion of yes/no detection, with the correction for rates of 0 and 1 named, never silent.
 *
 * d' = z(hit rate) - z(false-alarm rate), c = -(z(H) + z(F)) / 2. "log-linear" adds 0.5 to counts and 1 to trials (Hautus
 * 1995); "clip" holds rates within [0.01, 0.99], as the model card does (d' then cannot exceed 4.65); "none" gives null at
 * 0 or 1. The interval is the normal one of Gourevitch and Galanter (1967) at the corrected rates.
 */
import { checkCounts, checkLevel, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
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
