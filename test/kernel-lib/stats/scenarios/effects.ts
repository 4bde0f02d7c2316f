// Means, noise and small counts of the evaluations beside detection: side effects, chats, reports about itself, identity.
import type { Random } from "../../../../kernel-lib/src/base";
import { clusteredMean, noiseFloor, rateDifference, wilson } from "../../../../kernel-lib/src/stats";
import {
  binomial,
  countOf,
  covers,
  crossing,
  drawEffects,
  latent,
  logistic,
  type Scenario,
  skewed,
} from "../simulation";

const numbered = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A mean of values of one axis, each drawn by `draw`; `each` values of a cluster, alike by `together` (share of the spread). */
function meanOf(
  name: string,
  clusters: number,
  truth: number,
  draw: (rng: Random) => number,
  bound = 0.91,
  each = 1,
  jitter = 0,
): Scenario {
  return {
    name: `clusteredMean, ${name}`,
    kind: "interval",
    sets: 100,
    bound,
    run: (rng) => {
      const labels = numbered(clusters * each).map((i) => Math.floor(i / each));
      const own = Float64Array.from({ length: clusters }, () => draw(rng));
      return covers(
        clusteredMean(
          labels.map((c) => own[c] * skewed(rng, jitter)),
          { cluster: labels },
        ),
        truth,
      );
    },
  };
}

/** Most questions hardly move, one in five moves a lot, upwards. */
export const sparse = (rng: Random): number =>
  rng.uniform() < 0.2 ? -0.2 * Math.log(1 - rng.uniform()) : 0.02 * rng.normal();
export const SPARSE_MEAN = 0.2 * 0.2;
const SPARSE_SIZE = 0.2 * 0.2 + 0.8 * 0.02 * Math.sqrt(2 / Math.PI);

/** P(yes) of questions of one category: most low, some high. */
const low = (rng: Random): number => logistic(-1.5 + rng.normal());
const LOW_MEAN = 0.2147; // E logistic(-1.5 + z)

export const effects: Scenario[] = [
  meanOf("change of P(yes), 75 questions, one in five moves", 75, SPARSE_MEAN, sparse),
  meanOf("size of change of P(yes), 75 questions, one in five moves", 75, SPARSE_SIZE, (rng) => Math.abs(sparse(rng))),
  {
    ...meanOf("change of P(yes), 8 questions of a category, one in five moves", 8, SPARSE_MEAN, sparse, 0.9),
    name: "NOT: clusteredMean, change of P(yes), 8 questions of a category, one in five moves",
    naive: true,
  },
  meanOf("P(yes) of 8 questions of a category", 8, LOW_MEAN, low, 0.9),
  meanOf("normal changes of 8 questions of a category", 8, 0, (rng) => rng.normal(), 0.9),
  meanOf("divergence of 30 chats twice, skewed as measured", 30, 1, (rng) => skewed(rng, 0.4), 0.9, 2, 0.2),
  meanOf("divergence of 60 chats, heavy-tailed", 60, 1, (rng) => skewed(rng, 0.9), 0.85),
  meanOf("divergence of 60 chats, a few far out", 60, 1, (rng) => skewed(rng, 1.3), 0.8),
  ...[0.05, 0.3].map(
    (topic): Scenario => ({
      name: `clusteredMean, change of P(yes) after a context, 75 questions x 12 topics, topic effect ${topic}`,
      kind: "interval",
      sets: 100,
      bound: 0.9,
      run: (rng) => {
        const of = crossing(75, 12, 1, 2);
        const values = latent(rng, of, drawEffects(rng, of, { vector: 0.1, topic }), 0.05, 0.1);
        return covers(clusteredMean(values, { question: of.vector, topic: of.topic }), 0.05);
      },
    }),
  ),
  {
    name: "clusteredMean, mass of 20 vectors x 192 topics, near 1 with a tail",
    kind: "interval",
    sets: 60,
    bound: 0.9,
    run: (rng) => {
      const of = crossing(20, 192, 1, 24);
      const drawn = drawEffects(rng, of, { vector: 0.5, topic: 0.5 });
      const missing = latent(rng, of, drawn, 0, 0.5).map((value) => 0.02 * Math.exp(value - 0.375));
      return covers(
        clusteredMean(
          missing.map((gone) => 1 - gone),
          { vector: of.vector, topic: of.topic },
        ),
        0.98,
      );
    },
  },
  {
    name: "noiseFloor, 75 questions x 3 wordings, questions unlike in noise",
    kind: "interval",
    sets: 200,
    bound: 0.87,
    run: (rng) =>
      covers(
        noiseFloor(
          numbered(75).map(() => {
            const sd = 0.067 * skewed(rng, 0.6);
            return numbered(3).map(() => sd * rng.normal());
          }),
        ),
        0.067 * Math.exp(0.18),
      ),
  },
  {
    name: "NOT: noiseFloor over questions, 75 questions x 3 seeds, a seed moves all questions alike",
    kind: "interval",
    sets: 60,
    bound: 0.9,
    naive: true,
    run: (rng) => {
      const seeds = numbered(3).map(() => 0.05 * rng.normal());
      const repeats = numbered(75).map(() => seeds.map((seed) => seed + 0.05 * rng.normal()));
      return covers(noiseFloor(repeats), Math.hypot(0.05, 0.05));
    },
  },
  ...(
    [
      [10, 0.1],
      [10, 0.5],
      [100, 0.02],
      [100, 0.3],
    ] as const
  ).map(
    ([n, p]): Scenario => ({
      name: `wilson, one question of ${n} samples, rate ${p}`,
      kind: "interval",
      sets: 200,
      bound: 0.88,
      run: (rng) => covers(wilson(countOf(binomial(rng, n, p)), n), p),
    }),
  ),
  ...(
    [
      [10, 0.1, 0.3],
      [100, 0.02, 0.05],
    ] as const
  ).map(
    ([n, before, after]): Scenario => ({
      name: `rateDifference, one question of ${n} samples, tuned - base, ${after} - ${before}`,
      kind: "interval",
      sets: 200,
      bound: 0.92,
      run: (rng) =>
        covers(
          rateDifference(countOf(binomial(rng, n, after)), n, countOf(binomial(rng, n, before)), n),
          after - before,
        ),
    }),
  ),
];
