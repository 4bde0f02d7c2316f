/**
 * Rates of counted events with honest intervals: Wilson, Clopper-Pearson, and what is built of two rates.
 *
 * Differences and balanced accuracy combine two Wilson intervals by the square-and-add rule (MOVER), which never leaves the
 * possible range by much and does not collapse at 0 or 1. Trials must be independent: for repeated vectors or contexts use
 * the cluster bootstrap. Sources: Wilson 1927; Clopper and Pearson 1934; Newcombe 1998 (method 10).
 */
import { checkCounts, checkLevel, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { betaQuantile, normalQuantile } from "./special";

/**
 * k / n with Wilson's score interval.
 *
 * @param k events, 0 <= k <= n
 * @param n trials; 0 gives nulls
 * @param level coverage in (0, 1), default 0.95
 * @returns the rate and its interval, all in 0..1
 * @throws InputError "count", "level"
 *
 * @example
 * wilson(0, 50); // value 0, high 0.071
 */
export function wilson(k: number, n: number, level: number = DEFAULT_LEVEL): Estimate {
  checkCounts(k, n, "wilson");
  const method = `Wilson ${percent(checkLevel(level))}`;
  if (n === 0) return { value: null, n, low: null, high: null, method };
  const z = normalQuantile((1 + level) / 2);
  const p = k / n;
  const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { value: p, n, low: k === 0 ? 0 : centre - half, high: k === n ? 1 : centre + half, method };
}

/**
 * k / n with the exact Clopper-Pearson interval: covers at least `level`, usually more.
 *
 * @param k events, 0 <= k <= n
 * @param n trials; 0 gives nulls
 * @param level coverage in (0, 1), default 0.95
 * @returns the rate and its interval, all in 0..1
 * @throws InputError "count", "level"
 *
 * @example
 * clopperPearson(0, 3000).high; // 0.00123
 */
export function clopperPearson(k: number, n: number, level: number = DEFAULT_LEVEL): Estimate {
  checkCounts(k, n, "clopperPearson");
  const method = `Clopper-Pearson ${percent(checkLevel(level))}`;
  if (n === 0) return { value: null, n, low: null, high: null, method };
  const tail = (1 - level) / 2;
  return {
    value: k / n,
    n,
    low: k === 0 ? 0 : betaQuantile(tail, k, n - k + 1),
    high: k === n ? 1 : betaQuantile(1 - tail, k + 1, n - k),
    method,
  };
}

/** `weight` * (one + sign * other) with the two intervals squared and added. */
function combine(one: Estimate, other: Estimate, sign: 1 | -1, weight: number, method: string): Estimate {
  const n = one.n + other.n;
  if (
    one.value === null ||
    other.value === null ||
    one.low === null ||
    one.high === null ||
    other.low === null ||
    other.high === null
  ) {
    return { value: null, n, low: null, high: null, method };
  }
  const value = one.value + sign * other.value;
  const [otherDown, otherUp] =
    sign === 1
      ? [other.value - other.low, other.high - other.value]
      : [other.high - other.value, other.value - other.low];
  return {
    value: weight * value,
    n,
    low: weight * (value - Math.hypot(one.value - one.low, otherDown)),
    high: weight * (value + Math.hypot(one.high - one.value, otherUp)),
    method,
  };
}

/**
 * k1 / n1 - k2 / n2 of two independent groups, Newcombe's interval.
 *
 * @throws InputError "count", "level"
 */
export function rateDifference(
  k1: number,
  n1: number,
  k2: number,
  n2: number,
  level: number = DEFAULT_LEVEL,
): Estimate {
  return combine(wilson(k1, n1, level), wilson(k2, n2, level), -1, 1, `Newcombe ${percent(level)}`);
}

/** Counts of a detection task; positive = steered. */
export interface DetectionCounts {
  hits: number;
  steered: number;
  falseAlarms: number;
  clean: number;
}

/**
 * (hit rate + correct-rejection rate) / 2: 0.5 for any answer that ignores the steering, whatever the mix of trials.
 *
 * @throws InputError "count", "level"
 *
 * @example
 * balancedAccuracy({ hits: 600, steered: 600, falseAlarms: 50, clean: 50 }).value; // always yes: 0.5
 */
export function balancedAccuracy(counts: DetectionCounts, level: number = DEFAULT_LEVEL): Estimate {
  const hitRate = wilson(counts.hits, counts.steered, level);
  checkCounts(counts.falseAlarms, counts.clean, "false alarms");
  const rejections = wilson(counts.clean - counts.falseAlarms, counts.clean, level);
  return combine(hitRate, rejections, 1, 0.5, `square-and-add of Wilson ${percent(level)}`);
}
