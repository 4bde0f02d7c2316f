// Every interval kind and test of the stats room against data of known truth. Each scenario gives one data set's verdict.
import type { Random } from "../../../kernel-lib/src/base";
import {
  auroc,
  balancedAccuracy,
  benjaminiHochberg,
  clopperPearson,
  clusterBootstrap,
  clusteredAuroc,
  clusteredBalancedAccuracy,
  clusteredDifference,
  clusteredDPrime,
  clusteredMean,
  clusteredMeanTest,
  clusteredRate,
  crossedBootstrap,
  dPrime,
  type Estimate,
  mean,
  mcnemar,
  noiseFloor,
  normalCdf,
  normalQuantile,
  pairedBootstrap,
  permutationTest,
  predictiveValues,
  rateDifference,
  signFlipTest,
  thresholdInterval,
  wilson,
} from "../../../kernel-lib/src/stats";
import {
  allOrNothing,
  answers,
  type Crossing,
  crossing,
  drawEffects,
  type Effects,
  latent,
  logistic,
  trueRate,
} from "./simulation";

export interface Scenario {
  /** row of the table */
  name: string;
  /** "interval": share of data sets whose interval holds the truth; "test": share rejected at .05 though nothing is there */
  kind: "interval" | "test";
  /** data sets of the default suite; the slow one draws ten times as many */
  sets: number;
  /** least coverage, or most rejections, that passes; seeded, so it passes always or never */
  bound: number;
  /** shown as what not to do: then it must fail its bound */
  naive?: boolean;
  run(rng: Random): { good: boolean; width: number | null };
}

function covers({ low, high }: Pick<Estimate, "low" | "high">, truth: number): { good: boolean; width: number | null } {
  const good = (low === null || low <= truth) && (high === null || truth <= high);
  return { good, width: low === null || high === null ? null : high - low };
}

const rejects = (p: number | null): { good: boolean; width: null } => ({ good: p !== null && p <= 0.05, width: null });
const fewAxes = ({ vector, topic }: Crossing) => ({ vector, topic });
const countOf = (values: ArrayLike<number>): number =>
  Array.prototype.reduce.call(values, (s: any, v: any) => s + v, 0) as number;

function rate(
  name: string,
  of: Crossing,
  centre: number,
  effects: Effects,
  axes: (of: Crossing) => Record<string, number[]>,
  bound: number,
  unseen = true,
): Scenario {
  const truth = trueRate(centre, effects);
  return {
    name: `clusteredRate${unseen ? "" : " unseen: false"}, ${name}, rate ${truth.toFixed(3)}`,
    kind: "interval",
    sets: 200,
    bound,
    run: (rng) =>
      covers(
        clusteredRate(answers(rng, latent(rng, of, drawEffects(rng, of, effects), centre)), axes(of), { unseen }),
        truth,
      ),
  };
}

function rare(
  name: string,
  topics: number,
  perTopic: number,
  truth: number,
  share: number,
  bound: number,
  unseen = true,
): Scenario {
  return {
    name: `clusteredRate${unseen ? "" : " unseen: false"}, ${name}, rate ${truth}`,
    kind: "interval",
    sets: 400,
    bound,
    run: (rng) => {
      const { outcomes, labels } = allOrNothing(rng, topics, perTopic, truth, share);
      return covers(clusteredRate(outcomes, { topic: labels }, { unseen }), truth);
    },
  };
}

const [big, square, three] = [crossing(100, 14, 1, 12), crossing(30, 30, 1, 10), crossing(60, 20, 12, 12)];
const both: Effects = { vector: 1, topic: 1 };

const rates: Scenario[] = [
  rate("100 vectors x 14 topics", big, 0.5, both, fewAxes, 0.93),
  rate("100 vectors x 14 topics, no effects", big, 0.5, {}, fewAxes, 0.93),
  rate("30 vectors x 30 topics", square, 1.5, both, fewAxes, 0.93),
  rate("60 x 20 x 12 wordings", three, 0, { vector: 1, topic: 0.7, wording: 0.7 }, (of) => ({ ...of }), 0.93),
  rate("8 vectors x 8 topics", crossing(8, 8, 1, 8), 0, both, fewAxes, 0.92),
  rate("100 vectors x 14 topics, strong effects", big, 3, { vector: 2, topic: 2 }, fewAxes, 0.93),
  rare("14 topics of 40, few all-or-nothing", 14, 40, 0.05, 0.3, 0.93),
  rare("14 topics of 40, independent trials", 14, 40, 0.01, 0, 0.93),
  rare("100 topics of 10, few all-or-nothing", 100, 10, 0.01, 0.3, 0.93),
  rare("100 topics of 10, few all-or-nothing", 100, 10, 0.05, 0.3, 0.93),
  rate("100 vectors x 14 topics", big, 0.5, both, fewAxes, 0.9, false),
  rate("100 vectors x 14 topics, no effects", big, 0.5, {}, fewAxes, 0.93, false),
  rate("30 vectors x 30 topics", square, 1.5, both, fewAxes, 0.9, false),
  rate("100 vectors x 14 topics, strong effects", big, 3, { vector: 2, topic: 2 }, fewAxes, 0.85, false),
  { ...rare("14 topics of 40, few all-or-nothing", 14, 40, 0.05, 0.3, 0.92, false), naive: true },
  { ...rare("100 topics of 10, few all-or-nothing", 100, 10, 0.05, 0.3, 0.92, false), naive: true },
  {
    name: "NOT: Wilson by trials, 100 vectors x 14 topics",
    kind: "interval",
    sets: 200,
    bound: 0.8,
    naive: true,
    run: (rng) => {
      const outcomes = answers(rng, latent(rng, big, drawEffects(rng, big, both), 0.5));
      return covers(wilson(countOf(outcomes), outcomes.length), trueRate(0.5, both));
    },
  },
  {
    name: "NOT: Clopper-Pearson by trials, 14 topics of 40, few all-or-nothing, rate 0.05",
    kind: "interval",
    sets: 200,
    bound: 0.8,
    naive: true,
    run: (rng) => {
      const { outcomes } = allOrNothing(rng, 14, 40, 0.05, 0.3);
      return covers(clopperPearson(countOf(outcomes), outcomes.length), 0.05);
    },
  },
];

/** Base and tuned on the same trials: effects shared in part. */
function pairedArms(rng: Random, of: Crossing, shift: number) {
  const shared = latent(rng, of, drawEffects(rng, of, both), 0);
  const own = drawEffects(rng, of, { vector: 0.5, topic: 0.5 });
  return {
    base: answers(rng, shared),
    tuned: answers(
      rng,
      latent(rng, of, own, shift).map((value, i) => value + shared[i]),
    ),
  };
}

const differencesOfRates: Scenario[] = [
  ...[true, false].map(
    (unseen): Scenario => ({
      name: `clusteredDifference${unseen ? "" : " unseen: false"}, tuned - base on the same trials, 100 x 14`,
      kind: "interval",
      sets: 200,
      bound: 0.91,
      run: (rng) => {
        const { base, tuned } = pairedArms(rng, big, 1);
        const truth = trueRate(1, { ...both, trial: Math.hypot(0.5, 0.5) }) - 0.5;
        const clusters = fewAxes(big);
        return covers(
          clusteredDifference({ outcomes: tuned, clusters }, { outcomes: base, clusters }, { unseen }),
          truth,
        );
      },
    }),
  ),
  ...[true, false].map(
    (unseen): Scenario => ({
      name: `clusteredDifference${unseen ? "" : " unseen: false"}, pairs of 14 topics, 5 % changed, few topics all or nothing`,
      kind: "interval",
      sets: 400,
      bound: 0.92,
      naive: !unseen,
      run: (rng) => {
        const { outcomes, labels } = allOrNothing(rng, 14, 40, 0.05, 0.3);
        const clusters = { topic: labels };
        const base = { outcomes: outcomes.map(() => 0), clusters };
        return covers(clusteredDifference({ outcomes, clusters }, base, { unseen }), 0.05);
      },
    }),
  ),
  ...[true, false].map(
    (unseen): Scenario => ({
      name: `clusteredDifference${unseen ? "" : " unseen: false"}, selectivity (shared clusters, half as many controls), 100 x 14`,
      kind: "interval",
      sets: 200,
      bound: 0.91,
      run: (rng) => {
        const drawn = drawEffects(rng, big, both);
        const control = crossing(100, 14, 1, 6);
        const detection = answers(rng, latent(rng, big, drawn, 1.5));
        const controls = answers(rng, latent(rng, control, drawn, -1.5));
        const estimate = clusteredDifference(
          { outcomes: detection, clusters: fewAxes(big) },
          { outcomes: controls, clusters: fewAxes(control) },
          { unseen },
        );
        return covers(estimate, trueRate(1.5, both) - trueRate(-1.5, both));
      },
    }),
  ),
  {
    name: "clusteredBalancedAccuracy, 100 vectors x 14 topics, 40 clean topics",
    kind: "interval",
    sets: 200,
    bound: 0.92,
    run: (rng) => {
      const [clean, cleanEffects] = [crossing(40, 40, 1, 10), { vector: 1 }];
      const hits = answers(rng, latent(rng, big, drawEffects(rng, big, both), 2));
      const alarms = answers(rng, latent(rng, clean, drawEffects(rng, clean, cleanEffects), -3));
      const estimate = clusteredBalancedAccuracy(
        { outcomes: hits, clusters: fewAxes(big) },
        { outcomes: alarms, clusters: { topic: clean.vector.map((topic) => `clean ${topic}`) } },
      );
      return covers(estimate, (trueRate(2, both) + 1 - trueRate(-3, cleanEffects)) / 2);
    },
  },
  {
    name: "predictiveValues at prior 0.05, 100 vectors x 14 topics, 40 clean topics",
    kind: "interval",
    sets: 200,
    bound: 0.93,
    run: (rng) => {
      const [clean, cleanEffects] = [crossing(40, 40, 1, 10), { vector: 1 }];
      const hits = answers(rng, latent(rng, big, drawEffects(rng, big, both), 2));
      const alarms = answers(rng, latent(rng, clean, drawEffects(rng, clean, cleanEffects), -2.5));
      const [h, f] = [trueRate(2, both), trueRate(-2.5, cleanEffects)];
      const { positive } = predictiveValues(
        clusteredRate(hits, fewAxes(big)),
        clusteredRate(alarms, { topic: clean.vector }),
        0.05,
      );
      return covers(positive, (0.05 * h) / (0.05 * h + 0.95 * f));
    },
  },
];

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

const detectability: Scenario[] = [
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

const others: Scenario[] = [
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

/** The kinds for independent trials, on independent trials. */
const binomial = (rng: Random, n: number, p: number): Float64Array =>
  Float64Array.from({ length: n }, () => (rng.uniform() < p ? 1 : 0));
const normals = (rng: Random, n: number, shift: number): Float64Array =>
  Float64Array.from({ length: n }, () => shift + rng.normal());

function plain(name: string, truth: number, estimate: (rng: Random) => Estimate, bound = 0.91): Scenario {
  return {
    name: `${name}, independent trials`,
    kind: "interval",
    sets: 200,
    bound,
    run: (rng) => covers(estimate(rng), truth),
  };
}

const detectionCounts = (rng: Random) => ({
  hits: countOf(binomial(rng, 150, 0.8)),
  steered: 150,
  falseAlarms: countOf(binomial(rng, 80, 0.1)),
  clean: 80,
});

const independent: Scenario[] = [
  plain("wilson, 40 of rate 0.2", 0.2, (rng) => wilson(countOf(binomial(rng, 40, 0.2)), 40)),
  plain("clopperPearson, 40 of rate 0.02", 0.02, (rng) => clopperPearson(countOf(binomial(rng, 40, 0.02)), 40), 0.94),
  plain("rateDifference, 150 of 0.8 and 80 of 0.1", 0.7, (rng) => {
    const { hits, steered, falseAlarms, clean } = detectionCounts(rng);
    return rateDifference(hits, steered, falseAlarms, clean);
  }),
  plain("balancedAccuracy, 150 and 80", 0.85, (rng) => balancedAccuracy(detectionCounts(rng))),
  plain("dPrime, 150 and 80", normalQuantile(0.8) - normalQuantile(0.1), (rng) => dPrime(detectionCounts(rng))),
  plain(
    "auroc, 60 and 40",
    normalCdf(1.2 / Math.SQRT2),
    (rng) => auroc(normals(rng, 60, 1.2), normals(rng, 40, 0)),
    0.9,
  ),
  plain("mean, 12 normal values", 1, (rng) => mean(normals(rng, 12, 1))),
  {
    ...plain("pairedBootstrap BCa, 12 normal differences", 1, (rng) => {
      const before = normals(rng, 12, 0);
      const after = before.map((value) => value + 1 + rng.normal());
      return pairedBootstrap(after, before, { random: rng.fork("bootstrap"), samples: 500 });
    }),
    sets: 100,
  },
];

const crossedMedian: Scenario = {
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

const noEffectArms = (rng: Random): { base: Float64Array; tuned: Float64Array } => {
  const of = big;
  const shared = latent(rng, of, drawEffects(rng, of, both), 0);
  const change = (): Float64Array => latent(rng, of, drawEffects(rng, of, { vector: 0.7, topic: 0.7 }), 0);
  const [one, other] = [change(), change()];
  return {
    base: answers(
      rng,
      shared.map((v, i) => v + one[i]),
    ),
    tuned: answers(
      rng,
      shared.map((v, i) => v + other[i]),
    ),
  };
};

const tests: Scenario[] = [
  {
    name: "clusteredMeanTest, tuned - base log-odds, 100 vectors x 14 topics",
    kind: "test",
    sets: 200,
    bound: 0.1,
    run: (rng) => rejects(clusteredMeanTest(latent(rng, big, drawEffects(rng, big, both), 0, 1), fewAxes(big)).p),
  },
  {
    name: "clusteredMeanTest, tuned - base answers, 100 vectors x 14 topics",
    kind: "test",
    sets: 200,
    bound: 0.1,
    run: (rng) => {
      const { base, tuned } = noEffectArms(rng);
      return rejects(
        clusteredMeanTest(
          tuned.map((v, i) => v - base[i]),
          fewAxes(big),
        ).p,
      );
    },
  },
  {
    name: "signFlipTest by topic (14), effects of topics only",
    kind: "test",
    sets: 200,
    bound: 0.1,
    run: (rng) => {
      const change = latent(rng, big, drawEffects(rng, big, { topic: 1 }), 0, 1);
      const zero = change.map(() => 0);
      return rejects(signFlipTest(change, zero, { random: rng.fork("flips"), clusters: big.topic, samples: 199 }).p);
    },
  },
  {
    name: "permutationTest of 20 + 30 clusters",
    kind: "test",
    sets: 200,
    bound: 0.1,
    run: (rng) => {
      const group = (clusters: number, tag: string) => {
        const { vector } = crossing(clusters, 1, 1, 6);
        const effects = Float64Array.from({ length: clusters }, () => rng.normal());
        return { values: vector.map((v) => effects[v] + rng.normal()), labels: vector.map((v) => `${tag}${v}`) };
      };
      const [one, other] = [group(20, "a"), group(30, "b")];
      const options = {
        random: rng.fork("shuffle"),
        samples: 199,
        clusters: [one.labels, other.labels] as [string[], string[]],
      };
      return rejects(permutationTest(one.values, other.values, options).p);
    },
  },
  {
    name: "benjaminiHochberg of 20 true nulls by clusteredMeanTest: any rejection",
    kind: "test",
    sets: 60,
    bound: 0.15,
    run: (rng) => {
      const of = crossing(30, 15, 1, 5);
      const ps = Array.from(
        { length: 20 },
        () => clusteredMeanTest(latent(rng, of, drawEffects(rng, of, both), 0, 1), fewAxes(of)).p,
      );
      return rejects(Math.min(...benjaminiHochberg(ps).map((p) => p as number)));
    },
  },
  {
    name: "mcnemar, 100 independent pairs of which 30 change",
    kind: "test",
    sets: 200,
    bound: 0.08,
    run: (rng) => {
      const toYes = countOf(binomial(rng, 30, 0.5));
      return rejects(mcnemar(30 - toYes, toYes).p);
    },
  },
  {
    name: "permutationTest of 12 + 20 independent values",
    kind: "test",
    sets: 200,
    bound: 0.1,
    run: (rng) => {
      const options = { random: rng.fork("shuffle"), samples: 199 };
      return rejects(permutationTest(normals(rng, 12, 0), normals(rng, 20, 0), options).p);
    },
  },
  {
    name: "NOT: McNemar by trials, tuned - base answers, 100 vectors x 14 topics",
    kind: "test",
    sets: 200,
    bound: 0.2,
    naive: true,
    run: (rng) => {
      const { base, tuned } = noEffectArms(rng);
      let [onlyBefore, onlyAfter] = [0, 0];
      for (const [i, before] of base.entries()) {
        if (before > tuned[i]) onlyBefore += 1;
        if (tuned[i] > before) onlyAfter += 1;
      }
      return rejects(mcnemar(onlyBefore, onlyAfter).p);
    },
  },
  {
    name: "NOT: sign flips by vector alone, effects of topics too",
    kind: "test",
    sets: 200,
    bound: 0.2,
    naive: true,
    run: (rng) => {
      const change = latent(rng, big, drawEffects(rng, big, both), 0, 1);
      const zero = change.map(() => 0);
      return rejects(signFlipTest(change, zero, { random: rng.fork("flips"), clusters: big.vector, samples: 199 }).p);
    },
  },
];

export const scenarios: readonly Scenario[] = [
  ...rates,
  ...differencesOfRates,
  ...detectability,
  ...others,
  crossedMedian,
  ...independent,
  ...tests,
];

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
