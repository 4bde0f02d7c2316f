// The kinds for independent trials, on independent trials.
import type { Random } from "../../../../kernel-lib/src/base";
import {
  auroc,
  balancedAccuracy,
  clopperPearson,
  dPrime,
  type Estimate,
  mean,
  normalCdf,
  normalQuantile,
  rateDifference,
  wilson,
} from "../../../../kernel-lib/src/stats";
import { binomial, countOf, covers, normals, type Scenario } from "../simulation";

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

export const independent: Scenario[] = [
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
];
