/**
 * What training changed in self-prediction, and the smallest change that so many stimuli can show.
 *
 * Tuned minus base of each task's corrected figure. `detectableChange`: 80 % power at 5 %, two-sided, two separate arms around the
 * base's rate (pairs can show less); a change below it that is not seen is no evidence of none.
 */
import { type Evidence, type Metric, metricOf } from "../../runs";
import {
  clusteredDifference,
  clusteredGap,
  clusteredRate,
  type ClusterSample,
  detectableDifference,
  type Estimate,
} from "../../stats";
import { lettersRight, pairsOf, pairsRight, propertyArms } from "./outcomes";
import type { SelfPredictionRecord } from "./record";

type Task = SelfPredictionRecord["task"];
type Records = readonly SelfPredictionRecord[];

/** Figure of each task that is compared. */
const FIGURES: readonly { task: Task; name: string; right(records: Records): ClusterSample | null }[] = [
  { task: "firstCharacter", name: "accuracy", right: lettersRight },
  { task: "twoOptions", name: "biasCorrectedAccuracy", right: (records) => pairsRight(pairsOf(records)) },
  { task: "knowledge", name: "biasCorrectedAccuracy", right: (records) => pairsRight(pairsOf(records)) },
  { task: "property", name: "balancedAccuracy", right: () => null },
];

/** Rates near 0 or 1 vary too little to size a design by. */
const RATE_RANGE = [0.1, 0.9] as const;

/** `<figure>` of condition "tuned-base" and `detectableChange`, by task, on the stimuli of a subset. */
export function changeMetrics(records: Records, tier: string, subset: string): Metric[] {
  return FIGURES.flatMap(({ task, name, right }) => {
    const of = (condition: string): Records =>
      records.filter((record) => record.task === task && record.condition === condition && record.truth !== null);
    const [base, tuned] = [of("base"), of("tuned")];
    if (base.length === 0 || tuned.length === 0) return [];
    const group = { task, subset };
    const [before, after] = [right(base), right(tuned)];
    const change =
      before === null || after === null
        ? clusteredGap(propertyArms(tuned), propertyArms(base))
        : clusteredDifference(after, before);
    const power = detectable(before ?? propertyRight(base));
    return [
      metricOf(name, tier, "tuned-base", change, group),
      metricOf("detectableChange", tier, "tuned-base", power, group),
    ];
  });
}

function propertyRight(records: Records): ClusterSample {
  return {
    outcomes: records.map(({ prediction, truth }) => prediction === truth),
    clusters: { stimulus: records.map(({ stimulus }) => stimulus) },
  };
}

/** The design's clusters with the intraclass correlation that the base's own answers show. */
function detectable(sample: ClusterSample): Estimate & Evidence {
  const rate = clusteredRate(sample.outcomes, sample.clusters);
  const [labels] = Object.values(sample.clusters);
  const clusters = new Set(Array.from(labels)).size;
  const perCluster = rate.n / Math.max(1, clusters);
  const icc = perCluster <= 1 ? 1 : Math.min(1, Math.max(0, ((rate.designEffect ?? 1) - 1) / (perCluster - 1)));
  const around = Math.min(RATE_RANGE[1], Math.max(RATE_RANGE[0], rate.value ?? 0.5));
  const axes = { sampled: { clusters, icc } };
  const found = rate.n === 0 ? null : detectableDifference({ axes, trials: rate.n }, { rate: around });
  const method = `80 % power at 5 %, ${clusters} clusters, intraclass correlation ${icc.toFixed(2)}, around ${around.toFixed(2)}`;
  return { value: found?.difference ?? null, n: rate.n, low: null, high: null, method };
}
