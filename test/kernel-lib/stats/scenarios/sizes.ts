// Rates, contrasts and AUROC at the sizes and in the shapes of the study's own tables.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  clusteredAuroc,
  clusteredDifference,
  clusteredGap,
  clusteredInteraction,
  clusteredRate,
  type ClusterSample,
  type DetectionSample,
  normalCdf,
  predictiveValues,
  thresholdInterval,
} from "../../../../kernel-lib/src/stats";
import {
  allOrNothing,
  answers,
  covers,
  type Crossing,
  crossing,
  type Drawn,
  drawEffects,
  type Effects,
  latent,
  logistic,
  type Scenario,
  trueRate,
} from "../simulation";

type Axes = Record<string, (number | string | null)[]>;

/** A rate of trials with normal effects, under the axes that the table names. */
function rate(name: string, of: Crossing, axes: Axes, centre: number, effects: Effects, bound = 0.93): Scenario {
  const truth = trueRate(centre, effects);
  return {
    name: `clusteredRate, ${name}, rate ${truth.toFixed(3)}`,
    kind: "interval",
    sets: 60,
    bound,
    run: (rng) =>
      covers(clusteredRate(answers(rng, latent(rng, of, drawEffects(rng, of, effects), centre)), axes), truth),
  };
}

/** A rate of topics (or questions) of which some are all or nothing. */
function rare(name: string, clusters: number, each: number, truth: number, share: number, bound = 0.93): Scenario {
  return {
    name: `clusteredRate, ${name}, rate ${truth}`,
    kind: "interval",
    sets: 60,
    bound,
    run: (rng) => {
      const { outcomes, labels } = allOrNothing(rng, clusters, each, truth, share);
      return covers(clusteredRate(outcomes, { topic: labels }), truth);
    },
  };
}

const asked = crossing(100, 216, 18, 12);
const onCaches = crossing(75, 12, 1, 2);
const wordings = crossing(12, 113, 12, 12);
const concepts = crossing(102, 215, 1, 12);

export const sizes: Scenario[] = [
  rare("false alarms of 216 topics of 12, few all-or-nothing", 216, 12, 0.01, 0.3),
  rare("hard negatives, 57 topics of 33, few all-or-nothing", 57, 33, 0.06, 0.3),
  rare("one kind of hard negatives, 10 topics of 6, few all-or-nothing", 10, 6, 0.2, 0.3, 0.92),
  rare("answers turned, 75 questions once", 75, 1, 0.03, 0),
  rare("one category of side effects, 8 questions once", 8, 1, 0.1, 0),
  rare("one concept, 12 topics once", 12, 1, 0.9, 0),
  rare("one wording, 15 topics once", 15, 1, 0.05, 0),
  rare("free answers, 24 questions of 100, few all-or-nothing", 24, 100, 0.05, 0.3),
  rare("changed tokens, 30 chats of 25, few all-or-nothing", 30, 25, 0.35, 0.1),
  rate("answers turned after a context, 75 questions x 12 topics", onCaches, axesOf(onCaches, "question"), -3, {
    vector: 1,
    topic: 1,
  }),
  rate("controls, 100 vectors x 216 topics x 18 questions", asked, { ...axesOf(asked), wording: asked.wording }, -2, {
    vector: 0.5,
    topic: 0.5,
    wording: 2,
  }),
  rate(
    "held-out wordings, 12 vectors x 113 topics x 12 wordings",
    wordings,
    { ...axesOf(wordings), wording: wordings.wording },
    -2,
    {
      vector: 1,
      topic: 0.7,
      wording: 1.5,
    },
  ),
  rate("concepts, 102 x 215 topics", concepts, axesOf(concepts, "concept"), 2.5, { vector: 1, topic: 0.7 }),
  rate("one cell, 20 vectors x 19 topics", crossing(20, 19, 1, 1), axesOf(crossing(20, 19, 1, 1)), 0, {
    vector: 1,
    topic: 1,
  }),
  {
    name: "clusteredRate, accuracy of 100 vectors and as many clean trials x 216 topics",
    kind: "interval",
    sets: 60,
    bound: 0.93,
    run: (rng) => {
      const of = crossing(100, 216, 1, 12);
      const drawn = drawEffects(rng, of, { vector: 1, topic: 0.7 });
      const hits = answers(rng, latent(rng, of, drawn, 2.5));
      const alarms = answers(rng, latent(rng, of, { ...drawn, vector: new Float64Array(100) }, -3));
      const right = [...hits, ...alarms.map((says) => 1 - says)];
      const clusters = { vector: [...of.vector, ...of.vector.map(() => null)], topic: [...of.topic, ...of.topic] };
      const truth = (trueRate(2.5, { vector: 1, topic: 0.7 }) + 1 - trueRate(-3, { topic: 0.7 })) / 2;
      return covers(clusteredRate(right, clusters), truth);
    },
  },
  {
    name: "clusteredRate, a bin of the calibration plot, 60 of 2,400 trials, half of them clean",
    kind: "interval",
    sets: 60,
    bound: 0.93,
    run: (rng) => {
      const topics = Float64Array.from({ length: 216 }, () => rng.normal());
      const trials = Array.from({ length: 60 }, () => {
        const topic = rng.integer(216);
        const steered = rng.uniform() < logistic(topics[topic]);
        return { topic, steered, vector: steered ? rng.integer(100) : null };
      });
      const clusters = { vector: trials.map(({ vector }) => vector), topic: trials.map(({ topic }) => topic) };
      return covers(
        clusteredRate(
          trials.map(({ steered }) => steered),
          clusters,
        ),
        0.5,
      );
    },
  },
];

function axesOf({ vector, topic }: Crossing, first = "vector"): Axes {
  return { [first]: vector, topic };
}

/** A self-prediction task: stimuli asked about several properties, half of them true; says yes by stimulus effect and truth. */
function properties(rng: Random, stimuli: number, each: number, effects: Float64Array, right: number): DetectionSample {
  const [held, not]: { outcomes: number[]; clusters: { stimulus: number[] } }[] = [0, 1].map(() => ({
    outcomes: [],
    clusters: { stimulus: [] },
  }));
  for (let s = 0; s < stimuli; s++) {
    for (let j = 0; j < each; j++) {
      const isTrue = rng.uniform() < 0.5;
      const arm = isTrue ? held : not;
      arm.outcomes.push(rng.uniform() < logistic((isTrue ? right : -right) + effects[s]) ? 1 : 0);
      arm.clusters.stimulus.push(s);
    }
  }
  return { steered: held, clean: not };
}

const stimulusEffects = (rng: Random, count: number): Float64Array =>
  Float64Array.from({ length: count }, () => rng.normal());

/** Two tiers of the study: the same clean prompts in part, since tiers ask them alike. */
function tier(
  rng: Random,
  of: Crossing,
  name: string,
  drawn: ReturnType<typeof drawEffects>,
  at: number,
  clean: ClusterSample,
): DetectionSample {
  const effects = { ...drawn, vector: drawEffects(rng, of, { vector: 1 }).vector };
  const clusters = { vector: of.vector.map((vector) => `${name} ${vector}`), topic: of.topic };
  return { steered: { outcomes: answers(rng, latent(rng, of, effects, at)), clusters }, clean };
}

export const sizedContrasts: Scenario[] = [
  {
    name: "clusteredGap, tiers of 12 and 20 vectors x 120 topics with the same clean prompts",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const [known, held] = [crossing(12, 120, 1, 12), crossing(20, 120, 1, 12)];
      const drawn = drawEffects(rng, held, { topic: 0.7 });
      const { outcomes, labels } = allOrNothing(rng, 120, 1, 0.02, 0);
      const clean = { outcomes, clusters: { topic: labels } };
      const estimate = clusteredGap(
        tier(rng, known, "trained", drawn, 3, clean),
        tier(rng, held, "new", drawn, 2.5, clean),
      );
      const effects = { vector: 1, topic: 0.7 };
      return covers(estimate, (trueRate(3, effects) - trueRate(2.5, effects)) / 2);
    },
  },
  {
    name: "clusteredGap, tuned - base balanced accuracy of self-prediction, 48 stimuli x 4 properties",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const effects = stimulusEffects(rng, 48);
      const estimate = clusteredGap(properties(rng, 48, 4, effects, 1), properties(rng, 48, 4, effects, 0.5));
      const accuracy = (right: number): number =>
        (trueRate(right, { topic: 1 }) + 1 - trueRate(-right, { topic: 1 })) / 2;
      return covers(estimate, accuracy(1) - accuracy(0.5));
    },
  },
  {
    name: "clusteredDifference, letters of self-prediction, tuned - base on 10 stimuli",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const stimulus = Array.from({ length: 10 }, (_, i) => i);
      const effects = stimulusEffects(rng, 10);
      const arm = (at: number): ClusterSample => ({
        outcomes: Array.from(effects, (effect) => rng.uniform() < logistic(at + effect)),
        clusters: { stimulus },
      });
      return covers(clusteredDifference(arm(1), arm(0)), trueRate(1, { topic: 1 }) - 0.5);
    },
  },
  {
    name: "clusteredDifference, kinds of identity, tuned - base, 8 questions of 100 samples",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const question = Array.from({ length: 800 }, (_, i) => Math.floor(i / 100));
      const effects = stimulusEffects(rng, 8);
      const own = stimulusEffects(rng, 8);
      const arm = (at: number, size: number): ClusterSample => ({
        outcomes: question.map((q) => rng.uniform() < logistic(at + effects[q] + size * own[q])),
        clusters: { question },
      });
      return covers(
        clusteredDifference(arm(0, 0.7), arm(-1, 0)),
        trueRate(0, { topic: 1, trial: 0.7 }) - trueRate(-1, { topic: 1 }),
      );
    },
  },
  {
    name: "clusteredDifference, concepts - random at one dose, 102 and 20 vectors, topics shared",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const [one, other] = [crossing(102, 83, 1, 1), crossing(20, 83, 1, 1)];
      const { topic } = drawEffects(rng, one, { topic: 0.7 });
      const all = Float64Array.from({ length: 83 }, (_, i) => topic[i] ?? 0.7 * rng.normal());
      const arm = (of: Crossing, axis: string, at: number): ClusterSample => ({
        outcomes: answers(rng, latent(rng, of, { ...drawEffects(rng, of, { vector: 1 }), topic: all }, at)),
        clusters: { [axis]: of.vector, topic: of.topic },
      });
      const effects = { vector: 1, topic: 0.7 };
      return covers(
        clusteredDifference(arm(one, "concept", 1), arm(other, "vector", 0)),
        trueRate(1, effects) - trueRate(0, effects),
      );
    },
  },
  ...[
    { vectors: 20, hits: 12, controls: 4, topics: 145 },
    { vectors: 100, hits: 12, controls: 7, topics: 215 },
  ].map(
    ({ vectors, hits, controls, topics }): Scenario => ({
      name: `clusteredInteraction, selectivity of ${vectors} vectors x ${topics} topics, ${vectors * hits} detection and ${vectors * controls} control trials of 18 questions, as many clean`,
      kind: "interval",
      sets: 60,
      bound: 0.92,
      run: (rng) => {
        const [asked, other] = [crossing(vectors, topics, 18, hits), crossing(vectors, topics, 18, controls)];
        const effects = { vector: 1, topic: 0.7 };
        const drawn = drawEffects(rng, asked, effects);
        const { wording } = drawEffects(rng, other, { wording: 1 });
        const arm = (of: Crossing, own: Drawn, at: number, cleanAt: number): DetectionSample => ({
          steered: { outcomes: answers(rng, latent(rng, of, own, at)), clusters: axesOf(of) },
          clean: {
            outcomes: answers(rng, latent(rng, of, { ...own, vector: new Float64Array(vectors) }, cleanAt)),
            clusters: { topic: of.topic },
          },
        });
        const estimate = clusteredInteraction(arm(asked, drawn, 2.5, -4), arm(other, { ...drawn, wording }, -1.5, -3));
        // Questions are held fixed: the truth is that of the questions drawn.
        const ofQuestions = (at: number, of: Effects): number =>
          wording.reduce((sum, own) => sum + trueRate(at + own, of), 0) / wording.length;
        const topicOnly = { topic: effects.topic };
        const effect = trueRate(2.5, effects) - trueRate(-4, topicOnly);
        return covers(estimate, effect - (ofQuestions(-1.5, effects) - ofQuestions(-3, topicOnly)));
      },
    }),
  ),
  ...[0.1, 0.01].flatMap((prior) =>
    (["positive", "negative"] as const).map(
      (which): Scenario => ({
        name: `predictiveValues, ${which} at prior ${prior}, 20 vectors x 145 topics, 216 clean topics, rare false alarms`,
        kind: "interval",
        sets: 60,
        bound: 0.92,
        run: (rng) => {
          const of = crossing(20, 145, 1, 12);
          const effects = { vector: 1, topic: 0.7 };
          const { outcomes, labels } = allOrNothing(rng, 216, 3, 0.01, 0.1);
          const hits = answers(rng, latent(rng, of, drawEffects(rng, of, effects), 2.5));
          const found = predictiveValues(
            clusteredRate(hits, axesOf(of)),
            clusteredRate(outcomes, { topic: labels }),
            prior,
          );
          const [h, f] = [trueRate(2.5, effects), 0.01];
          const truth = {
            positive: (prior * h) / (prior * h + (1 - prior) * f),
            negative: ((1 - prior) * (1 - f)) / ((1 - prior) * (1 - f) + prior * (1 - h)),
          };
          return covers(found[which], truth[which]);
        },
      }),
    ),
  ),
];

/** Scores of one dose against all clean trials. */
function dose(name: string, steered: Crossing, clean: Crossing, shift: number): Scenario {
  const [vector, topic, trial] = [0.7, 0.5, 0.7];
  const truth = normalCdf(shift / Math.sqrt(vector ** 2 + 2 * topic ** 2 + 2 * trial ** 2));
  return {
    name: `clusteredAuroc, ${name}, AUROC ${truth.toFixed(3)}`,
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const drawn = drawEffects(rng, clean, { topic });
      const own = { ...drawEffects(rng, steered, { vector }), topic: drawn.topic };
      return covers(
        clusteredAuroc(
          { scores: latent(rng, steered, own, shift, trial), clusters: axesOf(steered) },
          { scores: latent(rng, clean, drawn, 0, trial), clusters: { topic: clean.topic } },
        ),
        truth,
      );
    },
  };
}

/** Threshold of trials at strengths .04 to .32, under the axes of the table; effects in logits. */
function threshold(
  name: string,
  of: Crossing,
  axes: (of: Crossing) => Axes,
  effects: Effects,
  guess: number,
  bound: number,
): Scenario {
  const at = 0.12;
  return {
    name: `thresholdInterval, ${name}, threshold ${at} of strengths 0.04 .. 0.32`,
    kind: "interval",
    sets: 25,
    bound,
    run: (rng) => {
      const values = latent(rng, of, drawEffects(rng, of, effects), 0);
      const trials = [0.04, 0.08, 0.16, 0.32].flatMap((strength) =>
        Array.from(values, (value) => {
          // Guess rate on top of a curve whose half lies at the threshold.
          const p = guess + (1 - guess) * logistic(3 * Math.log(strength / at) + Math.log((0.5 - guess) / 0.5) + value);
          return { strength, hit: rng.uniform() < p };
        }),
      );
      const clusters = Object.fromEntries(
        Object.entries(axes(of)).map(([axis, labels]) => [axis, [...labels, ...labels, ...labels, ...labels]]),
      );
      const clean = Array.from({ length: 200 }, () => rng.uniform() < guess).filter(Boolean).length / 200;
      const options = { clusters, guess: clean, random: rng.fork("bootstrap"), samples: 150 };
      return covers(thresholdInterval(trials, options), at);
    },
  };
}

export const sizedScores: Scenario[] = [
  dose(
    "one dose, 20 vectors x 53 topics against 147 clean topics",
    crossing(20, 147, 1, 3),
    crossing(147, 147, 1, 1),
    1.5,
  ),
  dose(
    "a strong dose, 20 vectors x 53 topics against 147 clean topics",
    crossing(20, 147, 1, 3),
    crossing(147, 147, 1, 1),
    4,
  ),
  {
    name: "clusteredAuroc, self-prediction, 48 stimuli x 4 properties in both classes, AUROC 0.714",
    kind: "interval",
    sets: 60,
    bound: 0.92,
    run: (rng) => {
      const effects = stimulusEffects(rng, 48);
      const [held, not] = [0.8, -0.4].map((shift) => {
        const stimulus = Array.from({ length: 96 }, (_, i) => i >> 1);
        return { scores: stimulus.map((s) => shift + effects[s] + 1 * rng.normal()), clusters: { stimulus } };
      });
      return covers(clusteredAuroc(held, not), 0.714);
    },
  },
  threshold(
    "20 vectors x 61 topics, guess 0.02",
    crossing(20, 61, 1, 1),
    axesOf,
    { vector: 1, topic: 0.7 },
    0.02,
    0.88,
  ),
  threshold(
    "12 vectors x 47 topics x 12 wordings",
    crossing(12, 47, 12, 1),
    (of) => ({ ...of }),
    { vector: 1, topic: 0.7, wording: 1 },
    0,
    0.85,
  ),
  {
    name: "thresholdInterval, one concept asked 12 times in 12 topics, threshold 0.12 of strengths 0.04 .. 0.32",
    kind: "interval",
    sets: 40,
    bound: 0.9,
    run: (rng) => {
      const trials = Array.from({ length: 12 }, (_, i) => {
        const strength = [0.04, 0.08, 0.16, 0.32][i % 4];
        const p = logistic(3 * Math.log(strength / 0.12) + 0.7 * rng.normal());
        return { strength, hit: rng.uniform() < p, cluster: i };
      });
      return covers(thresholdInterval(trials, { random: rng.fork("bootstrap"), samples: 150 }), 0.12);
    },
  },
];
