/**
 * Numbers as every table, caption, sentence and index writes them: three decimals, tiny ones in powers of ten, unknown a dash.
 */

/** What stands for an unknown number. */
export const UNKNOWN = "\u2013";

/** A value with its interval, as far as they are known. */
export interface Quoted {
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
  /** how to quote it where a number can't, such as "below 0.025" */
  text?: string;
}

/** Sums of doubles near 1 that should cancel leave less than this: a difference of equal rates is 0, not -1.1e-16. */
const ROUNDING = 1e-15;

/**
 * A number with at most `digits` decimals.
 * @example
 * formatNumber(0.91666); // "0.917"
 */
export function formatNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return UNKNOWN;
  if (Math.abs(value) < ROUNDING) return (0).toFixed(digits);
  if (Math.abs(value) < 0.5 * 10 ** -digits) return value.toExponential(1);
  return value.toFixed(digits);
}

/** "[0.908, 0.927]", "" without an interval; an end that nothing bounds is open. */
export function formatInterval({ low, high }: Pick<Quoted, "low" | "high">): string {
  const end = (at: number | null): string => (at === null ? "open" : formatNumber(at));
  return low === null && high === null ? "" : `[${end(low)}, ${end(high)}]`;
}

/**
 * "0.917 [0.908, 0.927], n 2400"; a dash if nothing was measured.
 * @example
 * formatEstimate({ value: 0.917, low: 0.908, high: 0.927, n: 2400 });
 */
export function formatEstimate(estimate: Quoted | null | undefined): string {
  if (estimate === null || estimate === undefined) return UNKNOWN;
  if (estimate.text !== undefined) return `${estimate.text}, n ${estimate.n}`;
  const interval = formatInterval(estimate);
  return `${formatNumber(estimate.value)}${interval === "" ? "" : ` ${interval}`}, n ${estimate.n}`;
}
