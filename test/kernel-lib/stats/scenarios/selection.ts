// Figures that were chosen by their value, verdicts, and what a planner claims before a run.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  clusteredRate,
  detectableDifference,
  detectableRate,
  largestRate,
  permutationTest,
  rateDifference,
  verdict,
} from "../../../../kernel-lib/src/stats";
import { claimHolds, countOf, covers, rejects, logistic, normals, type Scenario, trueRate } from "../simulation";

const numbered = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Twelve wordings asked of the same topics; each its own rate. */
function wordingRates(rng: Random, rates: readonly number[], topics: number) {
  const effects = normals(rng, topics, 0);
  return rates.map((rate) => {
    const centre = Math.log(rate / (1 - rate));
    const outcomes = numbered(topics).map((t) => rng.uniform() < logistic(centre + effects[t]));
    return { outcomes, clusters: { topic: numbered(topics) } };
  });
}
const trueOf = (rate: number): number => trueRate(Math.log(rate / (1 - rate)), { topic: 1 });
const ALIKE = numbered(12).map(() => 0.05);
const ONE_BAD = numbered(12).map((i) => (i === 0 ? 0.2 : 0.01));

export const selection: Scenario[] = [
  ...(
    [
      ["alike", ALIKE],
      ["one of them bad", ONE_BAD],
    ] as const
  ).map(
    ([how, rates]): Scenario => ({
      name: `largestRate, worst of 12 wordings, 95 topics, wordings ${how}`,
      kind: "interval",
      sets: 60,
      bound: 0.93,
      run: (rng) => covers(largestRate(wordingRates(rng, rates, 95)), Math.max(...rates.map(trueOf))),
    }),
  ),
  {
    name: "NOT: clusteredRate, worst of 12 wordings by its own interval, 95 topics, wordings alike",
    kind: "interval",
    sets: 60,
    bound: 0.93,
    naive: true,
    run: (rng) => {
      const found = wordingRates(rng, ALIKE, 95).map(({ outcomes, clusters }) => clusteredRate(outcomes, clusters));
      const worst = found.reduce((one, other) => ((other.value as number) > (one.value as number) ? other : one));
      return covers(worst, trueOf(0.05));
    },
  },
  {
    name: "rateDifference, tuned - base of the name that the base gives most often of 6, 10 samples",
    kind: "interval",
    sets: 200,
    bound: 0.88,
    run: (rng) => {
      const draw = (): number[] => {
        const counts = numbered(6).map(() => 0);
        for (let i = 0; i < 10; i++) counts[rng.integer(6)] += 1;
        return counts;
      };
      const [base, tuned] = [draw(), draw()];
      const name = base.indexOf(Math.max(...base));
      return covers(rateDifference(tuned[name], 10, base[name], 10), 0);
    },
  },
  ...(
    [
      ["reached", "just misses", -1e-9],
      ["missed", "just reaches", 1e-9],
    ] as const
  ).map(
    ([word, truth, room]): Scenario => ({
      name: `verdict, "${word}" of an aim that the truth ${truth}, 57 topics`,
      kind: "test",
      sets: 200,
      bound: 0.05,
      run: (rng) => {
        const topics = normals(rng, 57, 0);
        const labels = numbered(570).map((i) => i % 57);
        const outcomes = labels.map((t) => rng.uniform() < logistic(-4 + topics[t]));
        const aim = { least: null, most: trueRate(-4, { topic: 1 }) + room };
        return { good: verdict(aim, clusteredRate(outcomes, { topic: labels })) === word, width: null };
      },
    }),
  ),
];

/** Yes or no of one axis with intraclass correlation icc: beta-distributed rates of clusters. */
function betaBinomial(rng: Random, clusters: number, each: number, rate: number, icc: number) {
  const [outcomes, labels]: number[][] = [[], []];
  for (let c = 0; c < clusters; c++) {
    const size = (1 - icc) / icc;
    const [a, b] = [gamma(rng, rate * size), gamma(rng, (1 - rate) * size)];
    const p = a / (a + b);
    for (let i = 0; i < each; i++) {
      labels.push(c);
      outcomes.push(rng.uniform() < p ? 1 : 0);
    }
  }
  return { outcomes, labels };
}

/** Gamma deviate of unit scale (Marsaglia and Tsang 2000). */
function gamma(rng: Random, shape: number): number {
  if (shape < 1) return Math.max(1e-300, gamma(rng, shape + 1) * rng.uniform() ** (1 / shape));
  const [d, c] = [shape - 1 / 3, 1 / Math.sqrt(9 * (shape - 1 / 3))];
  for (;;) {
    const z = rng.normal();
    const v = (1 + c * z) ** 3;
    if (v > 0 && Math.log(rng.uniform()) < (z * z) / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

export const planning: Scenario[] = [
  ...(
    [
      [14, 160],
      [216, 12],
    ] as const
  ).flatMap(([clusters, perCluster]): Scenario[] => [
    {
      name: `detectableRate, smallestSeen shows an event in 4 of 5 runs, ${clusters} clusters of ${perCluster}, ICC .1`,
      kind: "claim",
      sets: 60,
      bound: 0.7,
      run: (rng) => {
        const { smallestSeen } = detectableRate({ clusters, perCluster, icc: 0.1 });
        return claimHolds(countOf(betaBinomial(rng, clusters, perCluster, smallestSeen, 0.1).outcomes) > 0);
      },
    },
    {
      name: `detectableRate, guaranteedBound is what clusteredRate says of no event, ${clusters} clusters of ${perCluster}`,
      kind: "claim",
      sets: 1,
      bound: 1,
      run: () => {
        const labels = numbered(clusters * perCluster).map((i) => i % clusters);
        const { high } = clusteredRate(
          labels.map(() => 0),
          { topic: labels },
        );
        return claimHolds(
          Math.abs((high as number) - detectableRate({ clusters, perCluster, icc: 0.1 }).guaranteedBound) < 1e-9,
        );
      },
    },
    {
      name: `detectableDifference, found in 4 of 5 runs, ${clusters} clusters of ${perCluster} in each arm, ICC .1`,
      kind: "claim",
      sets: 60,
      bound: 0.7,
      run: (rng) => {
        const design = { clusters, perCluster, icc: 0.1 };
        const { difference } = detectableDifference(design) as { difference: number };
        const [one, other] = [1, -1].map((sign) =>
          betaBinomial(rng, clusters, perCluster, 0.5 + (sign * difference) / 2, 0.1),
        );
        const options = {
          random: rng.fork("shuffle"),
          samples: 199,
          clusters: [one.labels.map((l) => `a${l}`), other.labels.map((l) => `b${l}`)] as [string[], string[]],
        };
        return rejects(permutationTest(one.outcomes, other.outcomes, options).p);
      },
    },
  ]),
];
