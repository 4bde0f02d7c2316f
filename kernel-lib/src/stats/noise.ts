/**
 * Noise floor: how far a figure moves when nothing that matters changes (a paraphrase, another training seed).
 *
 * The engine is deterministic, so asking twice shows 0 and says nothing; paraphrases and no-steer seeds are the repeats that do.
 */
import { checkLevel, checkSeries, DEFAULT_LEVEL, type Estimate, percent } from "./estimate";
import { MIN_CLUSTERS } from "./clusters";
import { correctedSkewness, untransformedT } from "./skewness";
import { normalQuantile, studentQuantile } from "./special";

/** Standard deviation among repeats, and what a change must exceed to be more than that. */
export interface NoiseFloor extends Estimate {
  /** items with two repeats or more */
  items: number;
  /** a difference of two single figures beyond this is more than noise: z sqrt(2) sd (Bland and Altman 1986) */
  repeatability: number | null;
}

/**
 * Within-item standard deviation of repeated figures, pooled over items: sqrt(sum of squares within / sum (k - 1)).
 *
 * Interval by the jackknife over items on ln(variance), Student's t corrected for skewness. Items with one repeat do not count. Items
 * must move by themselves: a seed that moves all of them alike is one observation, and then only `value` holds.
 *
 * @param repeats per item (question, tier) its figures under each paraphrase or seed, in the figure's own unit
 * @returns value 0 where repeats are identical: a floor not measured, not an absence of noise; null without repeats;
 *   interval null below 6 items
 * @throws InputError "not-finite", "level"
 *
 * @example
 * noiseFloor(questions.map((question) => paraphrases.map((paraphrase) => probabilityOfYes(question, paraphrase))));
 */
export function noiseFloor(repeats: readonly ArrayLike<number>[], level: number = DEFAULT_LEVEL): NoiseFloor {
  checkLevel(level);
  const parts = repeats.flatMap((values, i) => {
    checkSeries(`repeats[${i}]`, values);
    return values.length < 2 ? [] : [{ squares: squaresWithin(values), freedom: values.length - 1 }];
  });
  const items = parts.length;
  const n = parts.reduce((sum, { freedom }) => sum + freedom + 1, 0);
  const method = `pooled within ${items} items, jackknife t ${percent(level)} of ln variance, skewness corrected`;
  if (items === 0) return { value: null, n, low: null, high: null, items, repeatability: null, method: "no repeats" };
  const squares = parts.reduce((sum, part) => sum + part.squares, 0);
  const freedom = parts.reduce((sum, part) => sum + part.freedom, 0);
  const value = Math.sqrt(squares / freedom);
  const repeatability = normalQuantile((1 + level) / 2) * Math.SQRT2 * value;
  const base = { value, n, items, repeatability };
  const left = parts.map((part) => Math.log((squares - part.squares) / (freedom - part.freedom)));
  if (items < MIN_CLUSTERS || !left.every(Number.isFinite))
    return { ...base, low: null, high: null, method: `pooled within ${items} items, no interval` };
  const centre = left.reduce((sum, one) => sum + one, 0) / items;
  const variance = ((items - 1) / items) * left.reduce((sum, one) => sum + (one - centre) ** 2, 0);
  if (variance === 0) return { ...base, low: value, high: value, method };
  const quantile = studentQuantile((1 + level) / 2, items - 1);
  const skewness = left.reduce((sum, one) => sum + (centre - one) ** 3, 0) / variance ** 1.5;
  const k = correctedSkewness(skewness, quantile);
  const [down, up] = [quantile, -quantile].map((t) => untransformedT(t, k) * Math.sqrt(variance));
  return { ...base, low: value * Math.exp(-down / 2), high: value * Math.exp(-up / 2), method };
}

function squaresWithin(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  const centre = sum / values.length;
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i] - centre) ** 2;
  return squares;
}
