/**
 * The two shapes every statistic here comes in: a value with its interval, and a test with its p-value.
 *
 * Undefined is null, never 0 or NaN; a method's name is part of the result, so that no figure is quoted without it.
 */
import { expected, InputError } from "../base";

/** A value, how many observations it rests on, its interval, and how the interval was made. */
export interface Estimate {
  value: number | null;
  n: number;
  low: number | null;
  high: number | null;
  /** such as "Wilson 95 %" */
  method: string;
}

/** A test of a null hypothesis, two-sided. */
export interface TestResult {
  /** what was tested, in its own unit */
  statistic: number | null;
  n: number;
  /** two-sided p-value */
  p: number | null;
  method: string;
}

/** Coverage of intervals unless asked otherwise. */
export const DEFAULT_LEVEL = 0.95;

/** "95 %" from 0.95, for method names. */
export function percent(level: number): string {
  return `${Number((level * 100).toFixed(3))} %`;
}

/** @throws InputError "level" unless 0 < level < 1 */
export function checkLevel(level: number): number {
  if (!(level > 0 && level < 1)) throw new InputError("level", expected("0 < level < 1", "level", level));
  return level;
}

/** @throws InputError "count" unless 0 <= k <= n, both whole */
export function checkCounts(k: number, n: number, name: string): void {
  if (!Number.isInteger(k) || !Number.isInteger(n) || k < 0 || k > n) {
    throw new InputError("count", expected("whole numbers 0 <= k <= n", name, `k = ${k}, n = ${n}`));
  }
}

/** @throws InputError "not-finite" for NaN or infinities; "unpaired" if two series differ in length */
export function checkSeries(name: string, values: ArrayLike<number>, pairedWith?: ArrayLike<unknown>): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i]))
      throw new InputError("not-finite", expected("finite numbers", `${name}[${i}]`, values[i]));
  }
  if (pairedWith !== undefined && pairedWith.length !== values.length) {
    throw new InputError("unpaired", expected(`${values.length} entries, one per value,`, name, pairedWith.length));
  }
}
