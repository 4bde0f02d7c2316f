/** Aims and verdicts in the words that notebooks, reports, cards and indexes share. */
import { type AimResult, quote } from "./metrics";

/** How a verdict is coloured. */
export type VerdictTone = "good" | "warn" | "bad";

/**
 * "reached", "missed", or with how firmly its interval says so; "not measured".
 * Results of older versions have no verdict of their own: the point value decides.
 */
export function aimVerdict(aim: Pick<AimResult, "reached"> & { verdict?: string }): string {
  if (aim.verdict !== undefined) return aim.verdict;
  return aim.reached === null ? "not measured" : aim.reached ? "reached" : "missed";
}

/** good: reached, and the interval agrees. bad: missed. warn: not measured, or the interval leaves it open. */
export function verdictTone(verdict: string): VerdictTone {
  if (verdict === "reached") return "good";
  return verdict.startsWith("missed") ? "bad" : "warn";
}

/** "0.917 [0.908, 0.927], n 2400": what was measured for an aim; "not measured". */
export function aimMeasured({ value, low, high, n }: AimResult): string {
  return quote({ value, low, high, n });
}

/** "\u2265 0.9", "\u2264 0.02", or both. */
export function aimBounds({ least, most }: Pick<AimResult, "least" | "most">): string {
  const bounds = [least === null ? "" : `\u2265 ${least}`, most === null ? "" : `\u2264 ${most}`];
  return bounds.filter((text) => text !== "").join(", ");
}
