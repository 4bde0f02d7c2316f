// Data sets with known truth: yes/no answers and scores with crossed random effects of vector, topic and wording.
import type { Random } from "../../../kernel-lib/src/base";
import type { Estimate } from "../../../kernel-lib/src/stats";

/** Which clusters each trial belongs to; `perVector` trials each, topics and wordings dealt round with an offset per vector. */
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

export interface Scenario {
  /** row of the table */
  name: string;
  /**
   * "interval": share of data sets whose interval holds the truth; "test": share rejected at .05 though nothing is there;
   * "claim": share of runs in which a claim holds that is made before the run, or of what an interval allows
   */
  kind: "interval" | "test" | "claim";
  /** data sets of the default suite; the slow one draws ten times as many */
  sets: number;
  /** least coverage, most rejections, or least share of the claim that passes; seeded, so it passes always or never */
  bound: number;
  /** shown as what not to do: then it must fail its bound */
  naive?: boolean;
  run(rng: Random): { good: boolean; width: number | null };
}

/** An end that is null covers nothing, unless the estimate says that it is open there. */
export function covers(
  estimate: Pick<Estimate, "low" | "high"> & { openLow?: boolean; openHigh?: boolean },
  truth: number,
): { good: boolean; width: number | null } {
  const { low, high, openLow = false, openHigh = false } = estimate;
  const below = low === null ? openLow : low <= truth;
  const above = high === null ? openHigh : truth <= high;
  return { good: below && above, width: low === null || high === null ? null : high - low };
}

export const rejects = (p: number | null): { good: boolean; width: null } => ({
  good: p !== null && p <= 0.05,
  width: null,
});

/** One run of a claim. */
export const claimHolds = (holds: boolean): { good: boolean; width: null } => ({ good: holds, width: null });

/** Log-normal of mean 1: skewed, as divergences and sizes of changes are. */
export const skewed = (rng: Random, sd: number): number => Math.exp(sd * rng.normal() - sd ** 2 / 2);

/** The axes of steered trials where wordings are held fixed. */
export const fewAxes = ({ vector, topic }: Crossing) => ({ vector, topic });

export const countOf = (values: ArrayLike<number>): number =>
  Array.prototype.reduce.call(values, (s: any, v: any) => s + v, 0) as number;

/** Designs: the study's own size, a square one, and one with wordings. */
export const [big, square, three] = [crossing(100, 14, 1, 12), crossing(30, 30, 1, 10), crossing(60, 20, 12, 12)];
/** Effects of one logit for vectors and topics. */
export const both: Effects = { vector: 1, topic: 1 };

export const binomial = (rng: Random, n: number, p: number): Float64Array =>
  Float64Array.from({ length: n }, () => (rng.uniform() < p ? 1 : 0));
export const normals = (rng: Random, n: number, shift: number): Float64Array =>
  Float64Array.from({ length: n }, () => shift + rng.normal());

/** Share of good sets (coverage, or rejections) and mean width, over `sets` seeded data sets. */
export function simulate(scenario: Scenario, sets: number, rng: Random): { share: number; width: number | null } {
  let [good, width, closed] = [0, 0, 0];
  for (let s = 0; s < sets; s++) {
    const one = scenario.run(rng.fork(scenario.name).fork(s));
    good += one.good ? 1 : 0;
    if (one.width === null) continue;
    width += one.width;
    closed += 1;
  }
  return { share: good / sets, width: closed === 0 ? null : width / closed };
}
