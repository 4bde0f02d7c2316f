/**
 * Records -> counts, outcomes and clusters of one group of trials; the only place that says what a hit and a false alarm are.
 *
 * Hit: steered trial whose steered label is the likelier. False alarm: the same on a clean trial.
 */
import type { ClusterAxes, ClusterSample, DetectionCounts } from "../../stats";
import type { TrialRecord } from "../../study";

/** Records grouped by a key, in order of first appearance. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

/** Counts of a group. */
export function countsOf(records: readonly TrialRecord[]): DetectionCounts {
  const counts = { hits: 0, steered: 0, falseAlarms: 0, clean: 0 };
  for (const { target, saysSteered } of records) {
    if (target === "steered") {
      counts.steered += 1;
      counts.hits += saysSteered ? 1 : 0;
    } else {
      counts.clean += 1;
      counts.falseAlarms += saysSteered ? 1 : 0;
    }
  }
  return counts;
}

/**
 * What was sampled once and asked many times: the vector (or concept) of a steered trial, and the topic of every trial.
 *
 * @param ofWordings the figure speaks of new wordings too (tiers of held-out wordings); else it holds for those asked
 */
export function axesOf(records: readonly TrialRecord[], ofWordings = asksNewWordings(records)): ClusterAxes {
  const vector = records.some((record) => record.vectorSplit === "concepts") ? "concept" : "vector";
  return {
    [vector]: records.map((record) => record.vector),
    topic: records.map((record) => record.context),
    ...(ofWordings ? { wording: records.map((record) => record.question) } : {}),
  };
}

/** Were these trials asked to learn about wordings? One wording alone says nothing of others. */
function asksNewWordings(records: readonly TrialRecord[]): boolean {
  return (
    records.every((record) => record.questionSplit === "heldOut") &&
    records.some((record) => record.question !== records[0].question)
  );
}

/** Says-steered of each trial with its clusters. */
export function sampleOf(records: readonly TrialRecord[], ofWordings?: boolean): ClusterSample {
  return { outcomes: records.map((record) => record.saysSteered), clusters: axesOf(records, ofWordings) };
}

export const isSteered = (record: TrialRecord): boolean => record.target === "steered";
export const isClean = (record: TrialRecord): boolean => record.target === "clean";
