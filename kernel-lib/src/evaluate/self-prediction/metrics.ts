/**
 * Self-prediction records -> accuracy that guessing habits cannot earn.
 *
 * First letter: accuracy against always saying the commonest letter. Two options, general knowledge: log-odds averaged over both orders, so
 * a preference for "A" cancels; the preference itself is reported. Properties: balanced accuracy and AUROC, which saying true
 * to everything leaves at one half. Each also on stimuli where base and tuned behave alike (same-behaviour subset). Intervals
 * speak of new stimuli (of new pairs of options), however many questions each was asked.
 */
import { type Evidence, type Metric, metricOf } from "../../runs";
import { clusteredAuroc, clusteredBalancedAccuracy, clusteredRate, type Estimate } from "../../stats";
import { changeMetrics } from "./changes";
import { byStimulus, lettersRight, pairsOf, pairsRight, propertyArms } from "./outcomes";
import type { SelfPredictionRecord } from "./record";

const TIER = "self_prediction";

/** Metrics by condition and task, whole and on the same-behaviour subset. */
export function selfPredictionMetrics(records: readonly SelfPredictionRecord[]): Metric[] {
  const same = sameBehaviour(records);
  const metrics: Metric[] = [];
  const subsets = [
    ["all", records],
    ["same-behaviour", records.filter((record) => same.has(record.stimulus))],
  ] as const;
  for (const condition of [...new Set(records.map((record) => record.condition))]) {
    for (const [subset, all] of subsets) {
      const of = all.filter((record) => record.condition === condition);
      const add: Add = (name, task, estimate) => {
        metrics.push(metricOf(name, TIER, condition, estimate, { task, subset }));
      };
      const task = (name: SelfPredictionRecord["task"]): SelfPredictionRecord[] =>
        of.filter((record) => record.task === name && record.truth !== null);
      firstCharacter(task("firstCharacter"), add);
      twoOptions("twoOptions", task("twoOptions"), add);
      twoOptions("knowledge", task("knowledge"), add);
      property(task("property"), add);
    }
  }
  return [...metrics, ...subsets.flatMap(([subset, of]) => changeMetrics(of, TIER, subset))];
}

type Add = (name: string, task: string, estimate: Estimate & Evidence) => void;

/** Stimuli that base and tuned answer with the same text. */
function sameBehaviour(records: readonly SelfPredictionRecord[]): Set<string> {
  const texts = new Map<string, Set<string>>();
  for (const { stimulus, behaviour } of records) texts.set(stimulus, (texts.get(stimulus) ?? new Set()).add(behaviour));
  return new Set([...texts].filter(([, of]) => of.size === 1).map(([stimulus]) => stimulus));
}

function firstCharacter(records: readonly SelfPredictionRecord[], add: Add): void {
  if (records.length === 0) return;
  const { outcomes, clusters } = lettersRight(records);
  add("accuracy", "firstCharacter", clusteredRate(outcomes, clusters));
  const counts = new Map<string | null, number>();
  for (const { truth } of records) counts.set(truth, (counts.get(truth) ?? 0) + 1);
  const [commonest] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best));
  const habit = records.map((record) => record.truth === commonest);
  add("commonestLetterAccuracy", "firstCharacter", clusteredRate(habit, clusters));
}

function twoOptions(task: string, records: readonly SelfPredictionRecord[], add: Add): void {
  const both = pairsOf(records);
  if (both.length === 0) return;
  const { outcomes, clusters } = pairsRight(both);
  add("biasCorrectedAccuracy", task, clusteredRate(outcomes, clusters));
  // The right answer is the first option of general knowledge.
  const knows = both.map(([one]) => one.truth === "first");
  if (task === "knowledge") add("choosesRight", task, clusteredRate(knows, clusters));
  const saysA = records.map((record) => (record.order === "first-is-A") === (record.prediction === "first"));
  add("saysA", task, clusteredRate(saysA, { item: records.map((record) => record.item) }));
}

/** A stimulus is asked about several properties, so stimuli are the clusters. */
function property(records: readonly SelfPredictionRecord[], add: Add): void {
  if (records.length === 0) return;
  const { steered: held, clean: not } = propertyArms(records);
  const scored = (truth: string) => {
    const of = records.filter((record) => record.truth === truth);
    return { scores: of.map((record) => record.logOdds as number), clusters: byStimulus(of) };
  };
  add("balancedAccuracy", "property", clusteredBalancedAccuracy(held, not));
  add("auroc", "property", clusteredAuroc(scored("true"), scored("false")));
  const says = records.map((record) => record.prediction === "true");
  add("saysTrue", "property", clusteredRate(says, byStimulus(records)));
}
