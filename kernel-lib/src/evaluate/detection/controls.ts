/**
 * Control questions on the same caches: does the adapter answer the question, or only the cache?
 *
 * A leak is a "yes" to a control that the base model answers with no on the same cache; controls that the base answers with yes cannot leak
 * and are not counted. Selectivity = (hits - false alarms) - (leaks on steered - leaks on clean caches), on the caches that both tiers ask:
 * what steering does to the detection answer beyond what it does to any other. An adapter that answers by the cache alone has none, nor
 * has one that says yes to everything. Reversed detection questions are reported apart: their truthful answer turns round with the cache.
 */
import { type Metric, metricOf } from "../../runs";
import { clusteredInteraction, clusteredRate, type DetectionSample } from "../../stats";
import { axesOf, type Protocol, type QuestionKind, type TrialRecord } from "../../study";
import { groupBy, isClean, isSteered, sampleOf } from "./counts";
import { promptKey } from "./distinct";

/** Below this the base gives neither answer, as with other labels than yes and no, and which it leans to says nothing. */
const ANSWERED = 0.1;

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

/** Leaks and selectivity, whole, by strength and by kind of control. */
function selectivity(
  tier: string,
  controls: readonly TrialRecord[],
  records: readonly TrialRecord[],
  { evaluation }: Protocol,
): Metric[] {
  const cachesOf = evaluation.tiers.find(({ name }) => name === tier)?.cachesOf ?? null;
  const base = controls.filter(({ condition }) => condition === "base");
  if (cachesOf === null || base.length === 0) return [];
  const baseSaysYes = new Set(base.filter((record) => saysYes(record) && record.mass >= ANSWERED).map(promptKey));
  const canLeak = controls.filter((record) => record.condition === "tuned" && !baseSaysYes.has(promptKey(record)));
  const detection = records.filter(
    (record) => record.tier === cachesOf && record.condition === "tuned" && asksDetection(record),
  );
  const plain = canLeak.filter(({ questionKind }) => questionKind !== "reversed");
  const strengths = [...new Set(plain.filter(isSteered).map(({ strength }) => strength as number))].sort(
    (a, b) => a - b,
  );
  const at = (list: readonly TrialRecord[], strength: number): TrialRecord[] =>
    list.filter((record) => isClean(record) || record.strength === strength);
  return [
    ...effects(tier, detection, plain, {}),
    ...strengths.flatMap((strength) => effects(tier, at(detection, strength), at(plain, strength), { strength })),
    ...[...groupBy(canLeak, ({ questionKind }) => questionKind as QuestionKind)].flatMap(([kind, of]) =>
      effects(tier, detection, of, { kind }),
    ),
  ];
}

/** What steering does to the answers of `controls`, and how much more to those of `detection`. */
function effects(
  tier: string,
  detection: readonly TrialRecord[],
  controls: readonly TrialRecord[],
  group: Metric["group"],
): Metric[] {
  const [asked, leaked] = [halves(detection), halves(controls)];
  if ([asked, leaked].some(({ steered, clean }) => steered.outcomes.length === 0 || clean.outcomes.length === 0))
    return [];
  const rate = (name: string, { outcomes, clusters }: DetectionSample["clean"]): Metric =>
    metricOf(name, tier, "tuned", clusteredRate(outcomes, clusters), group);
  return [
    rate("controlLeak", leaked.steered),
    rate("controlLeakClean", leaked.clean),
    metricOf("selectivity", tier, "tuned", clusteredInteraction(asked, leaked), group),
  ];
}

/** The steered label is the protocol's "yes". */
const saysYes = (record: TrialRecord): boolean => record.saysSteered;

function halves(records: readonly TrialRecord[]): DetectionSample {
  return { steered: sampleOf(records.filter(isSteered), false), clean: sampleOf(records.filter(isClean), false) };
}
