/**
 * Detection records -> every metric of the study, with intervals, thresholds, paired tests and aims. Needs no model.
 */
import { adjusted, type AimResult, type Metric } from "../../runs";
import type { Protocol, TrialRecord } from "../../study";
import { aimResults, aimsOf } from "../aims";
import { asksDetection, controlMetrics } from "./controls";
import { distinctMetrics } from "./distinct";
import { doseMetrics } from "./doses";
import { gapMetrics } from "./gaps";
import { detectionMetrics } from "./metrics";
import { pairedMetrics } from "./paired";
import { thresholdMetrics } from "./thresholds";

/**
 * Metrics and aims of detection records. A pure function of records and protocol; p-values adjusted over all tests of the run.
 *
 * @param seed moves bootstrap and Monte Carlo draws only
 * @example
 * const { metrics } = summariseDetection(readRecords("runs/x", "detection"), loadProtocol("runs/x/protocol.yaml"));
 */
export function summariseDetection(
  recorded: readonly TrialRecord[],
  protocol: Protocol,
  seed = 0,
): { metrics: Metric[]; aims: AimResult[] } {
  const all = inPlanOrder(recorded, protocol);
  const records = all.filter(asksDetection);
  const metrics = adjusted([
    ...detectionMetrics(records),
    ...distinctMetrics(records),
    ...gapMetrics(records, protocol),
    ...doseMetrics(records, seed),
    ...thresholdMetrics(records, seed),
    ...pairedMetrics(records, seed),
    ...controlMetrics(all, protocol),
  ]);
  return { metrics, aims: aimResults(aimsOf(protocol.aims, "detection"), metrics) };
}

/** By tier as in the protocol, tuned first, then layers and strength: the order of recording is one of batches. */
function inPlanOrder(records: readonly TrialRecord[], protocol: Protocol): TrialRecord[] {
  const places = new Map(protocol.evaluation.tiers.map((tier, i) => [tier.name, i]));
  const key = (record: TrialRecord): number[] => [
    places.get(record.tier) ?? places.size,
    record.condition === "tuned" ? 0 : 1,
    record.layerStart ?? -1,
    record.strength ?? -1,
  ];
  const keyed = records.map((record) => ({ record, key: key(record) }));
  keyed.sort(
    (a, b) => a.key.reduce((order, value, i) => order || value - b.key[i], 0) || (a.record.id < b.record.id ? -1 : 1),
  );
  return keyed.map(({ record }) => record);
}
