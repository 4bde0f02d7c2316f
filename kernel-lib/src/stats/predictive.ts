/**
 * What a "yes" is worth where steering is rare: hit and false-alarm rates carried to a stated prior by Bayes' rule.
 */
import { expected, InputError } from "../base";
import type { Estimate } from "./estimate";

/** One predictive value. */
export interface PredictiveValues {
  /** P(steered | says steered) */
  positive: Estimate;
  /** P(clean | says clean) */
  negative: Estimate;
}

/**
 * prior x right against (1 - prior) x wrong, as a probability. Deviations of the two rates on the ln scale are squared and
 * added (MOVER of independent arms); where a rate is 0 and has no logarithm, the two ends are taken together instead.
 */
function posterior(right: Estimate, wrong: Estimate, prior: number, method: string): Estimate {
  const n = right.n + wrong.n;
  const none = { value: null, n, low: null, high: null, method };
  if (right.value === null || wrong.value === null || right.value + wrong.value === 0) return none;
  const probability = (logRatio: number): number => 1 / (1 + Math.exp(-logRatio - Math.log(prior / (1 - prior))));
  const centre = Math.log(right.value) - Math.log(wrong.value);
  const value = probability(centre);
  const end = (sign: 1 | -1): number | null => {
    const [rightEnd, wrongEnd] = sign === 1 ? [right.high, wrong.low] : [right.low, wrong.high];
    if (rightEnd === null || wrongEnd === null) return null;
    if (sign === 1 && wrongEnd === 0) return 1;
    if (sign === -1 && rightEnd === 0) return 0;
    if (!Number.isFinite(centre)) return probability(Math.log(rightEnd) - Math.log(wrongEnd));
    const reach = Math.hypot(
      Math.log(rightEnd / (right.value as number)),
      Math.log(wrongEnd / (wrong.value as number)),
    );
    return probability(centre + sign * reach);
  };
  return { ...none, value, low: end(-1), high: end(1) };
}

const complement = ({ value, n, low, high, method }: Estimate): Estimate => ({
  value: value === null ? null : 1 - value,
  n,
  low: high === null ? null : 1 - high,
  high: low === null ? null : 1 - low,
  method,
});

/**
 * Positive and negative predictive value at a prior: the calibration that accuracy on balanced trials hides.
 *
 * P(steered | yes) = prior H / (prior H + (1 - prior) F). Intervals from those of H and F, taken as independent.
 *
 * @param hitRate H with its interval (`clusteredRate`)
 * @param falseAlarmRate F with its interval
 * @param prior share of steered among all that will be asked, 0 < prior < 1
 * @returns values null where nobody says yes (no)
 * @throws InputError "prior"
 *
 * @example
 * predictiveValues(hitRate, falseAlarmRate, 0.01).positive; // H .92, F .028: one yes in four is true, .25
 */
export function predictiveValues(hitRate: Estimate, falseAlarmRate: Estimate, prior: number): PredictiveValues {
  if (!(prior > 0 && prior < 1)) throw new InputError("prior", expected("0 < prior < 1", "prior", prior));
  const method = (what: string): string =>
    `Bayes at prior ${prior} of ${what}: ${hitRate.method}; ${falseAlarmRate.method}`;
  return {
    positive: posterior(hitRate, falseAlarmRate, prior, method("yes")),
    negative: posterior(complement(falseAlarmRate), complement(hitRate), 1 - prior, method("no")),
  };
}
