// Data sets with known truth: yes/no answers and scores with crossed random effects of vector, topic and wording.
import type { Random } from "../../../kernel-lib/src/base";

/** Which clusters each trial belongs to; `trials` per vector, topics and wordings dealt round with an offset per vector. */
export interface Crossing {
  vector: number[];
  topic: number[];
  wording: number[];
}

export function crossing(vectors: number, topics: number, wordings: number, perVector: number): Crossing {
  const [vector, topic, wording]: number[][] = [[], [], []];
  for (let v = 0; v < vectors; v++) {
    for (let j = 0; j < perVector; j++) {
      vector.push(v);
      topic.push((v * 5 + j) % topics);
      wording.push((v * 7 + j * 3 + Math.floor(j / topics)) % wordings);
    }
  }
  return { vector, topic, wording };
}

/** Standard deviations of the effects, in logits (or in the score's unit). */
export interface Effects {
  vector?: number;
  topic?: number;
  wording?: number;
  trial?: number;
}

export const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

/** E logistic(centre + s z), z standard normal: the true rate. */
export function trueRate(centre: number, effects: Effects): number {
  const s = Math.hypot(...Object.values(effects));
  const step = 0.01;
  let sum = 0;
  for (let z = -8; z <= 8; z += step) sum += logistic(centre + s * z) * Math.exp((-z * z) / 2);
  return (sum * step) / Math.sqrt(2 * Math.PI);
}

export type Drawn = Record<keyof Crossing, Float64Array>;

/** Effects of all clusters, each axis drawn anew. */
export function drawEffects(rng: Random, { vector, topic, wording }: Crossing, effects: Effects): Drawn {
  const draw = (labels: number[], sd = 0): Float64Array =>
    Float64Array.from({ length: Math.max(...labels) + 1 }, () => (sd === 0 ? 0 : sd * rng.normal()));
  return {
    vector: draw(vector, effects.vector),
    topic: draw(topic, effects.topic),
    wording: draw(wording, effects.wording),
  };
}

/** Latent value of each trial: centre + its clusters' effects + its own. */
export function latent(rng: Random, of: Crossing, drawn: Drawn, centre: number, trialSd = 0): Float64Array {
  return Float64Array.from(of.vector, (v, i) => {
    const own = trialSd === 0 ? 0 : trialSd * rng.normal();
    return centre + drawn.vector[v] + drawn.topic[of.topic[i]] + drawn.wording[of.wording[i]] + own;
  });
}

/** Yes or no with P(yes) = logistic(latent). */
export function answers(rng: Random, values: Float64Array): Float64Array {
  return values.map((value) => (rng.uniform() < logistic(value) ? 1 : 0));
}

/** Clusters of which a share is all or nothing (yes with `rate`), the others answer yes with `rate` trial by trial. */
export function allOrNothing(rng: Random, clusters: number, perCluster: number, rate: number, share: number) {
  const [outcomes, labels]: number[][] = [[], []];
  for (let c = 0; c < clusters; c++) {
    const p = rng.uniform() < share ? (rng.uniform() < rate ? 1 : 0) : rate;
    for (let i = 0; i < perCluster; i++) {
      labels.push(c);
      outcomes.push(p === 1 || (p > 0 && rng.uniform() < p) ? 1 : 0);
    }
  }
  return { outcomes, labels };
}
