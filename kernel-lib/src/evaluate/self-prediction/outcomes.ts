/** Self-prediction records -> right or wrong with clusters: what rates, changes and power are made from. */
import type { ClusterAxes, ClusterSample, DetectionSample } from "../../stats";
import { groupBy } from "../detection/counts";
import type { SelfPredictionRecord } from "./record";

export const byStimulus = (records: readonly SelfPredictionRecord[]): ClusterAxes => ({
  stimulus: records.map((record) => record.stimulus),
});

/** Letters: one outcome a stimulus. */
export function lettersRight(records: readonly SelfPredictionRecord[]): ClusterSample {
  return { outcomes: records.map(({ prediction, truth }) => prediction === truth), clusters: byStimulus(records) };
}

/** Items asked in both orders. */
export function pairsOf(records: readonly SelfPredictionRecord[]): SelfPredictionRecord[][] {
  return [...groupBy(records, ({ item }) => item).values()].filter((of) => of.length === 2);
}

/** Two options: one outcome an item. The average over orders is free of a letter preference, since log-odds are of the first option. */
export function pairsRight(pairs: readonly SelfPredictionRecord[][]): ClusterSample {
  const outcomes = pairs.map(([one, other]) => {
    const says = (one.logOdds as number) + (other.logOdds as number) > 0 ? "first" : "second";
    return says === one.truth;
  });
  return { outcomes, clusters: { item: pairs.map(([one]) => one.item) } };
}

/** Properties: says true where it holds ("steered" arm) and where it does not ("clean" arm). */
export function propertyArms(records: readonly SelfPredictionRecord[]): DetectionSample {
  const arm = (truth: string): ClusterSample => {
    const of = records.filter((record) => record.truth === truth);
    return { outcomes: of.map(({ prediction }) => prediction === "true"), clusters: byStimulus(of) };
  };
  return { steered: arm("true"), clean: arm("false") };
}
