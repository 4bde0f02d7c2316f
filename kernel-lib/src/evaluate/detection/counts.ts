/**
 * Records -> counts, outcomes and clusters of one group of trials; the only place that says what a hit and a false alarm are.
 *
 * Hit: steered trial whose steered label is the likelier. False alarm: the same on a clean trial.
 */
import type { ClusterSample, DetectionCounts } from "../../stats";
import { axesOf, type TrialRecord } from "../../study";

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

/** Says-steered of each trial with its clusters. */
export function sampleOf(records: readonly TrialRecord[], ofWordings?: boolean): ClusterSample {
  return { outcomes: records.map((record) => record.saysSteered), clusters: axesOf(records, ofWordings) };
}

export const isSteered = (record: TrialRecord): boolean => record.target === "steered";
export const isClean = (record: TrialRecord): boolean => record.target === "clean";
