/**
 * Self-prediction records -> accuracy that guessing habits cannot earn.
 *
 * First character: accuracy against always saying the commonest letter. Two options: log-odds averaged over both orders, so
 * a preference for "A" cancels; the preference itself is reported. Properties: balanced accuracy and AUROC, which saying true
 * to everything leaves at one half. Each also on stimuli where base and tuned behave alike (same-behaviour subset). Intervals
 * speak of new stimuli (of new pairs of options), however many questions each was asked.
 */
import { type Evidence, type Metric, metricOf } from "../../runs";
import { type ClusterAxes, clusteredAuroc, clusteredBalancedAccuracy, clusteredRate, type Estimate } from "../../stats";
import type { SelfPredictionRecord } from "./record";

const TIER = "self_prediction";

/** Metrics by condition and task, whole and on the same-behaviour subset. */
export function selfPredictionMetrics(records: readonly SelfPredictionRecord[]): Metric[] {
  const same = sameBehaviour(records);
  const metrics: Metric[] = [];
  for (const condition of [...new Set(records.map((record) => record.condition))]) {
    const mine = records.filter((record) => record.condition === condition);
    for (const [subset, of] of [
      ["all", mine],
      ["same-behaviour", mine.filter((record) => same.has(record.stimulus))],
    ] as const) {
      const add: Add = (name, task, estimate) => {
        metrics.push(metricOf(name, TIER, condition, estimate, { task, subset }));
      };
      const task = (name: SelfPredictionRecord["task"]): SelfPredictionRecord[] =>
        of.filter((record) => record.task === name && record.truth !== null);
      firstCharacter(task("firstCharacter"), add);
      twoOptions(task("twoOptions"), add);
      property(task("property"), add);
    }
  }
  return metrics;
}

type Add = (name: string, task: string, estimate: Estimate & Evidence) => void;

/** Stimuli that base and tuned answer with the same text. */
function sameBehaviour(records: readonly SelfPredictionRecord[]): Set<string> {
  const texts = new Map<string, Set<string>>();
  for (const { stimulus, behaviour } of records) texts.set(stimulus, (texts.get(stimulus) ?? new Set()).add(behaviour));
  return new Set([...texts].filter(([, of]) => of.size === 1).map(([stimulus]) => stimulus));
}

const byStimulus = (records: readonly SelfPredictionRecord[]): ClusterAxes => ({
  stimulus: records.map((record) => record.stimulus),
});

function firstCharacter(records: readonly SelfPredictionRecord[], add: Add): void {
  if (records.length === 0) return;
  const right = records.map((record) => record.prediction === record.truth);
  add("accuracy", "firstCharacter", clusteredRate(right, byStimulus(records)));
  const counts = new Map<string | null, number>();
  for (const { truth } of records) counts.set(truth, (counts.get(truth) ?? 0) + 1);
  const [commonest] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best));
  const habit = records.map((record) => record.truth === commonest);
  add("commonestLetterAccuracy", "firstCharacter", clusteredRate(habit, byStimulus(records)));
}

function twoOptions(records: readonly SelfPredictionRecord[], add: Add): void {
  const items = new Map<string, SelfPredictionRecord[]>();
  for (const record of records) items.set(record.item, [...(items.get(record.item) ?? []), record]);
  const both = [...items.values()].filter((of) => of.length === 2);
  if (both.length === 0) return;
  // logOdds is of the first option, whichever letter it had: the average over orders is free of a letter preference.
  const right = both.map(
    ([one, other]) =>
      (((one.logOdds as number) + (other.logOdds as number)) / 2 > 0 ? "first" : "second") === one.truth,
  );
  add("biasCorrectedAccuracy", "twoOptions", clusteredRate(right, { item: both.map(([one]) => one.item) }));
  const saysA = records.map((record) => (record.order === "first-is-A") === (record.prediction === "first"));
  add("saysA", "twoOptions", clusteredRate(saysA, { item: records.map((record) => record.item) }));
}

/** A stimulus is asked about several properties, so stimuli are the clusters. */
function property(records: readonly SelfPredictionRecord[], add: Add): void {
  if (records.length === 0) return;
  const [held, not] = [true, false].map((holds) => records.filter((record) => (record.truth === "true") === holds));
  const says = (of: readonly SelfPredictionRecord[]) => ({
    outcomes: of.map((record) => record.prediction === "true"),
    clusters: byStimulus(of),
  });
  const scored = (of: readonly SelfPredictionRecord[]) => ({
    scores: of.map((record) => record.logOdds as number),
    clusters: byStimulus(of),
  });
  add("balancedAccuracy", "property", clusteredBalancedAccuracy(says(held), says(not)));
  add("auroc", "property", clusteredAuroc(scored(held), scored(not)));
  add("saysTrue", "property", clusteredRate(says(records).outcomes, byStimulus(records)));
}
