// AUROC, d', thresholds, means and bootstraps over crossed clusters.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  clusterBootstrap,
  clusteredAuroc,
  clusteredDPrime,
  clusteredMean,
  crossedBootstrap,
  mean,
  noiseFloor,
  normalCdf,
  thresholdInterval,
} from "../../../../kernel-lib/src/stats";
import {
  big,
  both,
  covers,
  type Crossing,
  crossing,
  drawEffects,
  type Effects,
  fewAxes,
  latent,
  logistic,
  type Scenario,
  square,
  three,
} from "../simulation";

/** Steered and clean scores, topics shared; normal, so that AUROC and d' are known. */
function scores(rng: Random, of: Crossing, shift: number, effects: Effects) {
  const drawn = drawEffects(rng, of, { topic: effects.topic });
  const vectors = drawEffects(rng, of, { vector: effects.vector });
  const topicOnly = { ...drawn, vector: drawn.vector.map(() => 0) };
  const steered = latent(rng, of, { ...drawn, vector: vectors.vector }, shift, effects.trial);
  const clean = latent(rng, of, topicOnly, 0, effects.trial);
  return {
    steered: { values: steered, clusters: fewAxes(of) },
    clean: { values: clean, clusters: { topic: of.topic } },
  };
}

function clusteredArea(
  name: string,
  of: Crossing,
  shift: number,
  effects: Effects,
  bound: number,
  unseen = true,
): Scenario {
  const { vector = 0, topic = 0, trial = 0 } = effects;
  // Two different topics: the difference of scores has variance vector^2 + 2 topic^2 + 2 trial^2.
  const truth = normalCdf(shift / Math.sqrt(vector ** 2 + 2 * topic ** 2 + 2 * trial ** 2));
  return {
    name: `clusteredAuroc${unseen ? "" : " unseen: false"}, ${name}, AUROC ${truth.toFixed(3)}`,
    kind: "interval",
    sets: 100,
    bound,
    run: (rng) => {
      const { steered, clean } = scores(rng, of, shift, effects);
      const estimate = clusteredAuroc(
        { scores: steered.values, clusters: steered.clusters },
        { scores: clean.values, clusters: clean.clusters },
        { unseen },
      );
      return covers(estimate, truth);
    },
  };
}

export const detectability: Scenario[] = [
  clusteredArea("100 vectors x 14 topics", big, 1.5, { vector: 0.7, topic: 0.5, trial: 0.7 }, 0.91),
  clusteredArea("30 vectors x 30 topics", square, 2.5, { vector: 0.7, topic: 0.5, trial: 0.7 }, 0.91),
  clusteredArea("100 vectors x 14 topics", big, 1.5, { vector: 0.7, topic: 0.5, trial: 0.7 }, 0.88, false),
  {
    name: "clusteredDPrime, 100 vectors x 14 topics, criterion at 0.8",
    kind: "interval",
    sets: 200,
    bound: 0.92,
    run: (rng) => {
      const effects = { vector: 0.7, topic: 0.5, trial: 0.7 };
      const { steered, clean } = scores(rng, big, 2, effects);
      const says = (values: Float64Array): Float64Array => values.map((value) => (value > 0.8 ? 1 : 0));
      const truth = (2 - 0.8) / Math.hypot(0.7, 0.5, 0.7) + 0.8 / Math.hypot(0.5, 0.7);
      const estimate = clusteredDPrime(
        { outcomes: says(steered.values), clusters: steered.clusters },
        { outcomes: says(clean.values), clusters: clean.clusters },
      );
      return covers(estimate, truth);
    },
  },
];

/** Trials at each strength; the threshold of the average curve is where the mean over effects is one half. */
function threshold(name: string, vectors: number, topics: number, at: number, bound: number): Scenario {
  return {
    name: `thresholdInterval, ${name}, threshold ${at} of strengths 0.04 .. 0.32`,
    kind: "interval",
    sets: 50,
    bound,
    run: (rng) => {
      const of = crossing(vectors, topics, 1, 4);
      const drawn = drawEffects(rng, of, { vector: 1, topic: 0.7 });
      const base = latent(rng, of, drawn, 0);
      const trials = [0.04, 0.08, 0.16, 0.32].flatMap((strength) =>
        Array.from(base, (value) => ({ strength, hit: rng.uniform() < logistic(3 * Math.log(strength / at) + value) })),
      );
      const times = (labels: number[]): number[] => [...labels, ...labels, ...labels, ...labels];
      const estimate = thresholdInterval(trials, {
        clusters: { vector: times(of.vector), topic: times(of.topic) },
        random: rng.fork("bootstrap"),
        samples: 200,
      });
      return covers(estimate, at);
    },
  };
}

function bootstrapped(name: string, clusters: number, statistic: "mean" | "median", bound: number): Scenario {
  // Log-normal cluster effects: skewed, mean exp(1/2), median 1.
  const truth = statistic === "mean" ? Math.exp(0.125) : 1;
  return {
    name: `clusterBootstrap BCa, ${statistic} of ${name}`,
    kind: "interval",
    sets: 100,
    bound,
    run: (rng) => {
      const items = Array.from({ length: clusters }, () => Math.exp(0.5 * rng.normal()));
      const middle = (sample: readonly number[]): number => {
        const sorted = [...sample].sort((a, b) => a - b);
        return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
      };
      const average = (sample: readonly number[]): number => sample.reduce((sum, x) => sum + x, 0) / sample.length;
      const of = statistic === "mean" ? average : middle;
      return covers(
        clusterBootstrap(items, (_, i) => i, of, { random: rng.fork("bootstrap"), samples: 500 }),
        truth,
      );
    },
  };
}

export const others: Scenario[] = [
  threshold("100 vectors x 14 topics", 100, 14, 0.12, 0.9),
  threshold("30 vectors x 30 topics", 30, 30, 0.12, 0.9),
  threshold("100 vectors x 14 topics, below the grid", 100, 14, 0.03, 0.9),
  bootstrapped("8 clusters, skewed", 8, "mean", 0.86),
  bootstrapped("20 clusters, skewed", 20, "mean", 0.88),
  bootstrapped("20 clusters, skewed", 20, "median", 0.88),
  {
    name: "clusteredMean, log-odds, 100 vectors x 14 topics",
    kind: "interval",
    sets: 200,
    bound: 0.91,
    run: (rng) => covers(clusteredMean(latent(rng, big, drawEffects(rng, big, both), 2, 1), fewAxes(big)), 2),
  },
  {
    name: "clusteredMean, log-odds, 60 x 20 x 12 wordings",
    kind: "interval",
    sets: 200,
    bound: 0.9,
    run: (rng) => {
      const drawn = drawEffects(rng, three, { vector: 1, topic: 1, wording: 1 });
      return covers(clusteredMean(latent(rng, three, drawn, 2, 1), { ...three }), 2);
    },
  },
  {
    name: "NOT: Student t by trials, log-odds, 100 vectors x 14 topics",
    kind: "interval",
    sets: 200,
    bound: 0.8,
    naive: true,
    run: (rng) => covers(mean(latent(rng, big, drawEffects(rng, big, both), 2, 1)), 2),
  },
  {
    name: "noiseFloor, 75 questions x 4 paraphrases",
    kind: "interval",
    sets: 200,
    bound: 0.91,
    run: (rng) =>
      covers(noiseFloor(Array.from({ length: 75 }, () => Array.from({ length: 4 }, () => 0.1 * rng.normal()))), 0.1),
  },
];

export const crossedMedian: Scenario = {
  name: "crossedBootstrap, median log-odds, 60 x 20",
  kind: "interval",
  sets: 40,
  bound: 0.9,
  run: (rng) => {
    const of = crossing(60, 20, 1, 6);
    const values = latent(rng, of, drawEffects(rng, of, both), 2, 1);
    const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
    const median = (weights: Float64Array): number => {
      const half = weights.reduce((sum, weight) => sum + weight, 0) / 2;
      let sum = 0;
      for (const i of order) {
        sum += weights[i];
        if (sum >= half) return values[i];
      }
      return values[order[order.length - 1]];
    };
    const options = { random: rng.fork("bootstrap"), samples: 300 };
    return covers(crossedBootstrap(values.length, fewAxes(of), median, options), 2);
  },
};
