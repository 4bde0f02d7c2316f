/**
 * Self-prediction records -> accuracy that guessing habits cannot earn.
 *
 * First character: accuracy against always saying the commonest letter. Two options: log-odds averaged over both orders, so
 * a preference for "A" cancels; the preference itself is reported. Properties: balanced accuracy and AUROC, which saying true
 * to everything leaves at one half. Each also on stimuli where base and tuned behave alike (same-behaviour subset).
 */
import { random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import { auroc, balancedAccuracy, clusterBootstrap, clusterMean, type Estimate, wilson } from "../../stats";
import type { SelfPredictionRecord } from "./record";

const TIER = "self_prediction";

/** Metrics by condition and task, whole and on the same-behaviour subset. */
export function selfPredictionMetrics(records: readonly SelfPredictionRecord[], seed = 0): Metric[] {
  const same = sameBehaviour(records);
  const metrics: Metric[] = [];
  for (const condition of [...new Set(records.map((record) => record.condition))]) {
    const mine = records.filter((record) => record.condition === condition);
    for (const [subset, of] of [
      ["all", mine],
      ["same-behaviour", mine.filter((record) => same.has(record.stimulus))],
    ] as const) {
      const stream = random(seed).fork(`${condition} ${subset}`);
      const add = (name: string, task: string, estimate: Estimate): void => {
        metrics.push(metricOf(name, TIER, condition, estimate, { task, subset }));
      };
      const task = (name: SelfPredictionRecord["task"]): SelfPredictionRecord[] =>
        of.filter((record) => record.task === name && record.truth !== null);
      firstCharacter(task("firstCharacter"), add);
      twoOptions(task("twoOptions"), add);
      const properties = task("property");
      if (properties.length > 0) {
        const judged = properties.map((record) => ({
          record,
          hit: record.truth === "true",
          says: record.prediction === "true",
        }));
        const counts = (list: readonly (typeof judged)[number][]) => ({
          hits: list.filter(({ hit, says }) => hit && says).length,
          steered: list.filter(({ hit }) => hit).length,
          falseAlarms: list.filter(({ hit, says }) => !hit && says).length,
          clean: list.filter(({ hit }) => !hit).length,
        });
        const saying = judged.filter(({ says }) => says).length;
        // One answer to everything is the same in every resample, which would feign certainty.
        const isConstant = saying === 0 || saying === judged.length;
        const clusters = new Set(properties.map((record) => record.stimulus)).size;
        add(
          "balancedAccuracy",
          "property",
          isConstant
            ? balancedAccuracy(counts(judged))
            : clusterBootstrap(
                judged,
                ({ record }) => record.stimulus,
                (sample) => balancedAccuracy(counts(sample)).value,
                { random: stream, samples: 1000 },
              ),
        );
        const odds = (hit: boolean): number[] =>
          judged.filter((item) => item.hit === hit).map(({ record }) => record.logOdds as number);
        add("auroc", "property", auroc(odds(true), odds(false)));
        add(
          "saysTrue",
          "property",
          isConstant
            ? {
                ...wilson(saying === 0 ? 0 : clusters, clusters),
                n: judged.length,
                method: `Wilson 95 % over ${clusters} stimuli`,
              }
            : clusterMean(
                judged.map(({ says }) => (says ? 1 : 0)),
                judged.map(({ record }) => record.stimulus),
                { random: stream, samples: 1000 },
              ),
        );
      }
    }
  }
  return metrics;
}

type Add = (name: string, task: string, estimate: Estimate) => void;

/** Stimuli that base and tuned answer with the same text. */
function sameBehaviour(records: readonly SelfPredictionRecord[]): Set<string> {
  const texts = new Map<string, Set<string>>();
  for (const { stimulus, behaviour } of records) texts.set(stimulus, (texts.get(stimulus) ?? new Set()).add(behaviour));
  return new Set([...texts].filter(([, of]) => of.size === 1).map(([stimulus]) => stimulus));
}

function firstCharacter(records: readonly SelfPredictionRecord[], add: Add): void {
  if (records.length === 0) return;
  const right = records.filter((record) => record.prediction === record.truth).length;
  add("accuracy", "firstCharacter", wilson(right, records.length));
  const counts = new Map<string, number>();
  for (const truth of records.map((record) => record.truth as string)) counts.set(truth, (counts.get(truth) ?? 0) + 1);
  add("commonestLetterAccuracy", "firstCharacter", wilson(Math.max(...counts.values()), records.length));
}

function twoOptions(records: readonly SelfPredictionRecord[], add: Add): void {
  const items = new Map<string, SelfPredictionRecord[]>();
  for (const record of records) items.set(record.item, [...(items.get(record.item) ?? []), record]);
  const both = [...items.values()].filter((of) => of.length === 2);
  if (both.length === 0) return;
  // logOdds is of the first option, whichever letter it had: the average over orders is free of a letter preference.
  const right = both.filter(
    ([one, other]) =>
      (((one.logOdds as number) + (other.logOdds as number)) / 2 > 0 ? "first" : "second") === one.truth,
  ).length;
  add("biasCorrectedAccuracy", "twoOptions", wilson(right, both.length));
  const saysA = records.filter((record) => (record.order === "first-is-A") === (record.prediction === "first")).length;
  add("saysA", "twoOptions", wilson(saysA, records.length));
}
