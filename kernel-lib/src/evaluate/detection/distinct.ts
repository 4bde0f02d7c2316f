/**
 * Trials that several tiers ask, counted once: the same clean prompt in four tiers is one piece of evidence, not four.
 *
 * The engine is deterministic, so copies answer alike. Figures over all tiers stand under the tier name `all_tiers`.
 */
import { type Metric, metricOf } from "../../runs";
import { type ClusteredEstimate, clusteredRate, noiseFloor } from "../../stats";
import type { TrialRecord } from "../../study";
import { groupBy, isClean, sampleOf } from "./counts";

/** Tier name of figures over distinct trials of all tiers. */
export const ALL_TIERS = "all_tiers";

/** What decides an answer besides the adapter; the tier is not part of it. */
export function promptKey(record: TrialRecord): string {
  const { context, reply, question, infoPrompt, vector, range, strength } = record;
  return [context, reply, question, infoPrompt, vector, range, strength].join("|");
}

/** The same with the adapter: trials that agree here are copies. */
export function trialKey(record: TrialRecord): string {
  return `${record.condition}|${promptKey(record)}`;
}

/** One trial of each condition and prompt. */
export function distinctTrials(records: readonly TrialRecord[]): TrialRecord[] {
  return [...new Map(records.map((record) => [trialKey(record), record] as const)).values()];
}

/** Distinct clean trials of all tiers. Those with the info prompt are another question and have their own tier. */
export function distinctClean(records: readonly TrialRecord[]): TrialRecord[] {
  return distinctTrials(records.filter((record) => isClean(record) && !record.infoPrompt));
}

/** Keys of clean trials that more than one tier asks. */
export function sharedTrials(records: readonly TrialRecord[]): ReadonlySet<string> {
  const first = new Map<string, string>();
  const shared = new Set<string>();
  for (const record of records) {
    if (!isClean(record)) continue;
    const key = trialKey(record);
    const tier = first.get(key);
    if (tier === undefined) first.set(key, record.tier);
    else if (tier !== record.tier) shared.add(key);
  }
  return shared;
}

/** False-alarm rate of some clean trials; the method says how many of them other tiers count too. */
export function falseAlarmRate(clean: readonly TrialRecord[], shared: ReadonlySet<string>): ClusteredEstimate {
  const { outcomes, clusters } = sampleOf(clean);
  const rate = clusteredRate(outcomes, clusters);
  const copies = clean.filter((record) => shared.has(trialKey(record))).length;
  return copies === 0
    ? rate
    : { ...rate, method: `${rate.method}; ${copies} of these ${clean.length} prompts count in other tiers too` };
}

/**
 * False alarms over distinct clean prompts of all tiers, whole and by split of contexts; the same for wordings never asked;
 * and how far the wording alone moves P(steered) on one clean cache.
 */
export function distinctMetrics(records: readonly TrialRecord[]): Metric[] {
  const metrics: Metric[] = [];
  for (const [condition, clean] of groupBy(distinctClean(records), (record) => record.condition)) {
    const add = (name: string, of: readonly TrialRecord[], ofWordings: boolean, group: Metric["group"] = {}): void => {
      const { outcomes, clusters } = sampleOf(of, ofWordings);
      metrics.push(metricOf(name, ALL_TIERS, condition, clusteredRate(outcomes, clusters), group));
    };
    add("falseAlarmRate", clean, false);
    add("falseAlarmRateNewWordings", clean, true);
    for (const [contextSplit, of] of groupBy(clean, (record) => record.contextSplit)) {
      add("falseAlarmRate", of, false, { contextSplit });
      add("falseAlarmRateNewWordings", of, true, { contextSplit });
    }
    metrics.push(wordingNoise(clean, condition));
  }
  return metrics;
}

/** Standard deviation of P(steered) among wordings asked of one cache; no interval, since caches share topics. */
function wordingNoise(clean: readonly TrialRecord[], condition: string): Metric {
  const caches = groupBy(clean, ({ context, reply }) => `${context}|${reply}`);
  const repeats = [...caches.values()].map((of) => of.map((record) => record.probability));
  const { value, n, items } = noiseFloor(repeats);
  const method = `standard deviation among wordings, pooled within ${items} caches`;
  return metricOf("wordingNoise", ALL_TIERS, condition, { value, n, low: null, high: null, method });
}
