/**
 * What an interval says of an aim: the point value decides the word, the interval decides how firmly.
 */
import { expected, InputError } from "../base";
import type { Estimate } from "./estimate";

/** A figure's aim: at least, at most, or both. */
export interface AimBounds {
  least: number | null;
  most: number | null;
}

/**
 * - "reached": the whole interval keeps the aim
 * - "reached, but its interval goes past the aim": the point keeps it, a part of the interval does not
 * - "missed": no part of the interval keeps the aim
 * - "missed, but its interval reaches the aim": the point does not keep it, a part of the interval does
 * - "... without an interval": too few clusters to say how firmly
 * - "not measured": no value
 */
export type Verdict =
  | "reached"
  | "reached, but its interval goes past the aim"
  | "missed"
  | "missed, but its interval reaches the aim"
  | "reached, without an interval"
  | "missed, without an interval"
  | "not measured";

/**
 * Verdict of an aim. An end of the interval that is null while the other is known is open: nothing is excluded on that side.
 *
 * @param aim bounds, each inclusive; null = no bound on that side
 * @param estimate with its interval
 * @throws InputError "aim" if both bounds are null or least > most
 *
 * @example
 * verdict({ least: null, most: 0.02 }, clusteredRate(falseAlarms, { topic: topics }));
 * // "reached, but its interval goes past the aim": 0 of 2,240, but 14 topics allow 0.23
 */
export function verdict(
  { least, most }: AimBounds,
  { value, low, high }: Pick<Estimate, "value" | "low" | "high">,
): Verdict {
  if ((least === null && most === null) || (least !== null && most !== null && least > most))
    throw new InputError("aim", expected("least <= most, at least one of them given", "aim", `${least}, ${most}`));
  if (value === null) return "not measured";
  const [from, to] = [least ?? Number.NEGATIVE_INFINITY, most ?? Number.POSITIVE_INFINITY];
  const isReached = value >= from && value <= to;
  if (low === null && high === null) return isReached ? "reached, without an interval" : "missed, without an interval";
  const [bottom, top] = [low ?? Number.NEGATIVE_INFINITY, high ?? Number.POSITIVE_INFINITY];
  if (isReached) return bottom >= from && top <= to ? "reached" : "reached, but its interval goes past the aim";
  return top < from || bottom > to ? "missed" : "missed, but its interval reaches the aim";
}
