// Rates and their contrasts over crossed clusters.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  clopperPearson,
  clusteredBalancedAccuracy,
  clusteredGap,
  type DetectionSample,
  clusteredDifference,
  clusteredRate,
  predictiveValues,
  wilson,
} from "../../../../kernel-lib/src/stats";
import {
  allOrNothing,
  answers,
  big,
  both,
  countOf,
  covers,
  type Crossing,
  crossing,
  drawEffects,
  type Effects,
  fewAxes,
  latent,
  type Scenario,
  square,
  three,
  trueRate,
} from "../simulation";

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

export const rates: Scenario[] = [
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

export const contrasts: Scenario[] = [
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
      name: `clusteredDifference${unseen ? "" : " unseen: false"}, two questions on the same caches (shared clusters, half as many of one), 100 x 14`,
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
    name: "clusteredGap, trained and new vectors (50 each) in the same 14 topics, 40 clean topics",
    kind: "interval",
    sets: 200,
    bound: 0.92,
    run: (rng) => {
      const [clean, cleanEffects] = [crossing(40, 40, 1, 10), { vector: 1 }];
      const half = crossing(50, 14, 14, 1);
      const topics = drawEffects(rng, half, both);
      const tier = (at: number, name: string): DetectionSample => {
        // New vectors, the same topics: what both tiers share.
        const effects = { ...drawEffects(rng, half, both), topic: topics.topic };
        const alarms = answers(rng, latent(rng, clean, drawEffects(rng, clean, cleanEffects), -3));
        const clusters = { vector: half.vector.map((vector) => `${name} ${vector}`), topic: half.topic };
        const cleanTopics = clean.vector.map((topic) => `clean ${topic}`);
        return {
          steered: { outcomes: answers(rng, latent(rng, half, effects, at)), clusters },
          clean: { outcomes: alarms, clusters: { topic: cleanTopics } },
        };
      };
      const estimate = clusteredGap(tier(2.5, "trained"), tier(1.5, "new"));
      return covers(estimate, (trueRate(2.5, both) - trueRate(1.5, both)) / 2);
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
