/**
 * Logits -> log-probabilities, the best tokens, a sampled token: the same rules as the native engine (gpu-native/src/backend.h).
 *
 * Order of tokens: by falling logit, equal logits by rising id. Sampling draws one 24-bit uniform from Philox keyed by the
 * row's seed, counter (position, 0, 0, "SAMP"), so a text depends on its seed and positions only.
 */
import { philox4x32 } from "../../base";

/** Third counter word; keeps sampling apart from other Philox streams. */
const SAMPLE_TAG = 0x53414d50;

/** log(sum(exp(logits))) in f64. */
export function logSumExp(logits: Float32Array): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i] > top) top = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - top);
  return top + Math.log(sum);
}

/** Ids of the `count` largest logits, in order. */
export function largestTokens(logits: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let id = 0; id < logits.length && count > 0; id++) {
    if (best.length === count && !(logits[id] > logits[best[count - 1]])) continue;
    let at = best.length;
    while (at > 0 && logits[id] > logits[best[at - 1]]) at--;
    best.splice(at, 0, id);
    if (best.length > count) best.pop();
  }
  return best;
}

/**
 * The next token.
 * @param temperature 0: the largest logit
 * @param topP keeps the smallest head of the order whose probability reaches it
 * @param draw which random number: the row's seed (an integer below 2^53) and the position being sampled
 */
export function sampleToken(
  logits: Float32Array,
  temperature: number,
  topP: number,
  draw: { seed: number; position: number },
): number {
  if (temperature === 0) return largestTokens(logits, 1)[0];
  const heat = Math.fround(temperature);
  const order = fallingOrder(logits);
  const mass = new Float64Array(order.length);
  let total = 0;
  for (let j = 0; j < order.length; j++) total += mass[j] = Math.exp((logits[order[j]] - logits[order[0]]) / heat);
  let nucleus = 0;
  let kept = 0;
  do kept += mass[nucleus++];
  while (nucleus < order.length && kept < Math.fround(topP) * total);
  const target = uniform(draw.seed, draw.position) * kept;
  let reached = 0;
  for (let pick = 0; pick < nucleus - 1; pick++) {
    reached += mass[pick];
    if (reached > target) return order[pick];
  }
  return order[nucleus - 1];
}

/** All ids by falling logit, equal ones by rising id: one plain sort of (descending bits of the float, id) as 52-bit integers. */
function fallingOrder(logits: Float32Array): Float64Array {
  const bits = new Uint32Array(Float32Array.from(logits, (x) => x + 0).buffer); // + 0: -0 equals 0
  const keys = Float64Array.from(bits, (b, id) => (b >>> 31 === 1 ? b : 0x7fffffff - b) * 2 ** 20 + id);
  return keys.sort().map((key) => key % 2 ** 20);
}

/** In [0, 1), 24 bits. */
function uniform(seed: number, position: number): number {
  const words = new Uint32Array(4);
  philox4x32([position, 0, 0, SAMPLE_TAG], [seed >>> 0, Math.floor(seed / 2 ** 32)], words);
  return (words[0] >>> 8) / 2 ** 24;
}
