/**
 * Logprobs of the answer labels -> probability of an answer and its mass, never one without the other.
 *
 * Stands between the engine's logprobs and the trial records. With labels A and B and natural logprobs a, b over the whole
 * vocabulary: mass = e^a + e^b, P(A) = e^a / mass, logOdds = a - b. Computed from differences, so tiny masses stay exact.
 */
import { expected, InputError } from "../base";

/** How a model answered a two-label question. */
export interface Answer {
  /** P(first label), renormalised over the two labels; 0..1 */
  probability: number;
  /** total probability of the two labels over the whole vocabulary; 0..1 */
  mass: number;
  /** log P(first) - log P(second), nats */
  logOdds: number;
}

/**
 * Probability, mass and log-odds of the first of two labels.
 * @param first log p(first label), natural, over the whole vocabulary   @param second the same of the second label
 * @throws InputError "bad-logprob" if either is NaN or above 0 by more than 1e-6; "no-mass" if both are -Infinity
 * @example
 * answer(Math.log(0.6), Math.log(0.2)); // { probability: 0.75, mass: 0.8, logOdds: 1.0986 }
 */
export function answer(first: number, second: number): Answer {
  for (const value of [first, second]) {
    if (!(value <= 1e-6)) throw new InputError("bad-logprob", expected("a natural logprob <= 0", "answer", value));
  }
  if (first === -Infinity && second === -Infinity) {
    throw new InputError(
      "no-mass",
      "Expected at least one label with probability above 0 but both logprobs are -Infinity. Check the answer prefix and the labels.",
    );
  }
  const logOdds = first - second;
  return { probability: 1 / (1 + Math.exp(-logOdds)), mass: Math.min(1, Math.exp(first) + Math.exp(second)), logOdds };
}

/**
 * Total probability of a set of tokens, e.g. every spelling of "yes". Computed as exp(logSumExp(logprobs)).
 * @param logprobs natural logprobs of distinct tokens; an empty list has probability 0
 * @example
 * totalProbability([Math.log(0.25), Math.log(0.5)]); // 0.75
 */
export function totalProbability(logprobs: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < logprobs.length; i++) sum += Math.exp(logprobs[i]);
  return Math.min(1, sum);
}
