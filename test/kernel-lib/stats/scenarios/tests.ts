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
  crossing,
  drawEffects,
  fewAxes,
  latent,
  normals,
  rejects,
  type Scenario,
} from "../simulation";

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

export const tests: Scenario[] = [
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
