// Tests where nothing is there to find.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  benjaminiHochberg,
  clusteredMeanTest,
  mcnemar,
  permutationTest,
  signFlipTest,
} from "../../../../kernel-lib/src/stats";
import {
  answers,
  big,
  binomial,
  both,
  countOf,
  type Crossing,
  crossing,
  drawEffects,
  type Effects,
  fewAxes,
  latent,
  normals,
  rejects,
  type Scenario,
} from "../simulation";
import { SPARSE_MEAN, sparse } from "./effects";

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

/** Changes of some questions, tested by flipping signs. */
function signFlips(name: string, questions: number, draw: (rng: Random) => number): Scenario {
  return {
    name: `signFlipTest, change of P(yes), ${questions} questions, ${name}`,
    kind: "test",
    sets: 60,
    bound: 0.12,
    run: (rng) => {
      const change = Float64Array.from({ length: questions }, () => draw(rng));
      const zero = new Float64Array(questions);
      return rejects(signFlipTest(change, zero, { random: rng.fork("flips"), samples: 199 }).p);
    },
  };
}
/** Mean 0: most a little down, one in five far up. */
const lopsided = (rng: Random): number => sparse(rng) - SPARSE_MEAN;
const heavyTailed = (rng: Random): number => rng.normal() ** 3;

/** Trials of a design whose mean is 0, tested by every axis of it. */
function meanTest(name: string, of: Crossing, axes: Record<string, number[]>, effects: Effects): Scenario {
  return {
    name: `clusteredMeanTest, ${name}`,
    kind: "test",
    sets: 60,
    bound: 0.12,
    run: (rng) => rejects(clusteredMeanTest(latent(rng, of, drawEffects(rng, of, effects), 0, 1), axes).p),
  };
}

const onCaches = crossing(75, 12, 1, 2);
const wordings = crossing(12, 108, 12, 12);

/** The tables' own sizes. */
const sized: Scenario[] = [
  signFlips("heavy-tailed either way", 75, heavyTailed),
  signFlips("heavy-tailed either way", 8, heavyTailed),
  signFlips("mean 0, one in five far up", 75, lopsided),
  {
    ...signFlips("mean 0, one in five far up", 8, lopsided),
    name: "NOT: signFlipTest, change of P(yes), 8 questions, mean 0, one in five far up",
    naive: true,
  },
  meanTest(
    "change of P(yes) after a context, 75 questions x 12 topics",
    onCaches,
    { question: onCaches.vector, topic: onCaches.topic },
    both,
  ),
  meanTest(
    "held-out wordings, 12 vectors x 108 topics x 12 wordings",
    wordings,
    { ...wordings },
    { ...both, wording: 1 },
  ),
  {
    name: "permutationTest, concepts - random at one dose, 102 + 20 vectors in 83 shared topics",
    kind: "test",
    sets: 60,
    bound: 0.12,
    run: (rng) => {
      const topic = normals(rng, 83, 0);
      const group = (vectors: number, tag: string) => {
        const of = crossing(vectors, 83, 1, 1);
        const values = answers(rng, latent(rng, of, { ...drawEffects(rng, of, { vector: 1 }), topic }, 0));
        return { values, labels: of.vector.map((v) => `${tag}${v}`) };
      };
      const [one, other] = [group(102, "concept"), group(20, "random")];
      const clusters = [one.labels, other.labels] as [string[], string[]];
      return rejects(
        permutationTest(one.values, other.values, { random: rng.fork("shuffle"), samples: 199, clusters }).p,
      );
    },
  },
  {
    name: "benjaminiHochberg, 10 categories x 4 quantities that move together: any rejection",
    kind: "test",
    sets: 30,
    bound: 0.15,
    run: (rng) => {
      const ps = Array.from({ length: 10 }, () => normals(rng, 8, 0)).flatMap((shared) =>
        Array.from({ length: 4 }, () => {
          const change = shared.map((value) => value + 0.5 * rng.normal());
          return signFlipTest(change, new Float64Array(8), { random: rng.fork("flips") }).p;
        }),
      );
      return rejects(Math.min(...benjaminiHochberg(ps).map((p) => p as number)));
    },
  },
];

export const tests: Scenario[] = [
  ...sized,
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
