/**
 * Control questions on the same caches: does the adapter answer the question, or only the cache?
 *
 * A leak is a "yes" to a control on a steered cache that the base model does not give there. Selectivity = hit rate of the detection
 * question minus leaks, on the caches that both tiers ask: an adapter that says yes to everything on a steered cache has none.
 * Reversed detection questions are reported apart: their truthful answer turns round with the cache.
 */
import { type Metric, metricOf } from "../../runs";
import { clusteredDifference, clusteredRate, type ClusterSample } from "../../stats";
import { axesOf, type Protocol, type QuestionKind, type TrialRecord } from "../../study";
import { groupBy, isSteered, sampleOf } from "./counts";
import { promptKey } from "./distinct";

/** True for a trial that asks for detection, false for a control on its cache. */
export const asksDetection = (record: TrialRecord): boolean => (record.questionKind ?? "detection") === "detection";

/** Metrics of every tier that asks control questions. */
export function controlMetrics(records: readonly TrialRecord[], protocol: Protocol): Metric[] {
  const controls = records.filter((record) => !asksDetection(record));
  return [...groupBy(controls, ({ tier }) => tier)].flatMap(([tier, of]) => [
    ...answerRates(tier, of),
    ...selectivity(tier, of, records, protocol),
  ]);
}

/** Yes and truthful answers, by condition, kind of question and cache; truthful answers of reversed questions by strength. */
function answerRates(tier: string, records: readonly TrialRecord[]): Metric[] {
  const key = ({ condition, questionKind, target }: TrialRecord): string =>
    JSON.stringify([condition, questionKind, target]);
  return [...groupBy(records, key)].flatMap(([name, of]) => {
    const [condition, kind, cache] = JSON.parse(name) as [string, QuestionKind, string];
    const group = { kind, cache };
    const { outcomes, clusters } = sampleOf(of, true);
    const says = metricOf("controlYes", tier, condition, clusteredRate(outcomes, clusters), group);
    const settled = of.filter(({ truth }) => truth !== null && truth !== undefined);
    if (settled.length === 0) return [says];
    const right = settled.map((record) => saysYes(record) === (record.truth === "yes"));
    return [says, metricOf("controlTruthful", tier, condition, clusteredRate(right, axesOf(settled, true)), group)];
  });
}

/** Hit rate minus leaks on the same caches, whole and by strength. */
function selectivity(
  tier: string,
  controls: readonly TrialRecord[],
  records: readonly TrialRecord[],
  { evaluation }: Protocol,
): Metric[] {
  const cachesOf = evaluation.tiers.find(({ name }) => name === tier)?.cachesOf ?? null;
  if (cachesOf === null) return [];
  const base = new Map(
    controls.filter(({ condition }) => condition === "base").map((record) => [promptKey(record), record]),
  );
  const tuned = controls.filter(
    (record) => record.condition === "tuned" && isSteered(record) && record.questionKind !== "reversed",
  );
  const detection = records.filter(
    (record) => record.tier === cachesOf && record.condition === "tuned" && isSteered(record) && asksDetection(record),
  );
  if (tuned.length === 0 || detection.length === 0) return [];
  const leaks = (record: TrialRecord): boolean => {
    const before = base.get(promptKey(record));
    return saysYes(record) && !(before !== undefined && saysYes(before));
  };
  const strengths = [...new Set(tuned.map(({ strength }) => strength as number))].sort((a, b) => a - b);
  const at = (list: readonly TrialRecord[], strength: number | null): TrialRecord[] =>
    strength === null ? [...list] : list.filter((record) => record.strength === strength);
  return [null, ...strengths].flatMap((strength) => {
    const [asked, hits] = [at(tuned, strength), at(detection, strength)];
    if (asked.length === 0 || hits.length === 0) return [];
    const group: Record<string, number> = strength === null ? {} : { strength };
    const leak = leakSample(asked, leaks);
    return [
      metricOf("controlLeak", tier, "tuned", clusteredRate(leak.outcomes, leak.clusters), group),
      metricOf("selectivity", tier, "tuned", clusteredDifference(sampleOf(hits, false), leak), group),
    ];
  });
}

/** The steered label is the protocol's "yes". */
const saysYes = (record: TrialRecord): boolean => record.saysSteered;

function leakSample(records: readonly TrialRecord[], leaks: (record: TrialRecord) => boolean): ClusterSample {
  return { outcomes: records.map(leaks), clusters: axesOf(records, false) };
}
