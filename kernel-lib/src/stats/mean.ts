/**
 * Means of independent numbers with Student's t interval, and differences of pairs.
 */
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { studentQuantile } from "./special";

/**
 * Arithmetic mean.
 *
 * @returns value null for no values; interval null for fewer than two
 * @throws InputError "not-finite", "level"
 *
 * @example
 * mean([1, 2, 3]); // 2, interval [-0.48, 4.48]
 */
export function mean(values: ArrayLike<number>, level: number = DEFAULT_LEVEL): Estimate {
  checkSeries("values", values);
  const method = `Student t ${percent(checkLevel(level))}`;
  const n = values.length;
  if (n === 0) return { value: null, n, low: null, high: null, method };
  let sum = 0;
  for (let i = 0; i < n; i++) sum += values[i];
  const value = sum / n;
  if (n === 1) return { value, n, low: null, high: null, method };
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (values[i] - value) ** 2;
  const half = studentQuantile((1 + level) / 2, n - 1) * Math.sqrt(squares / (n - 1) / n);
  return { value, n, low: value - half, high: value + half, method };
}

/** after[i] - before[i]. @throws InputError "not-finite", "unpaired" */
export function differences(after: ArrayLike<number>, before: ArrayLike<number>): number[] {
  checkSeries("after", after, before);
  checkSeries("before", before);
  return Array.from({ length: after.length }, (_, i) => after[i] - before[i]);
}
