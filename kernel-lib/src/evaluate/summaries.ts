/**
 * What the records of each kind come to: the one way from records to numbers, with or without a model at hand.
 */
import type { AimResult, Metric } from "../runs";
import type { Protocol } from "../study";
import { summariseDetection } from "./detection/summary";
import { identityMetrics } from "./identity/metrics";
import { probeMetrics } from "./probe/metrics";
import { EVALUATION_KINDS, type EvaluationKind, type RecordOf } from "./records";
import { selfPredictionMetrics } from "./self-prediction/metrics";
import { selfReportMetrics } from "./self-report/metrics";
import { sideEffectMetrics } from "./side-effects/metrics";

/** Metrics, and aims where the protocol states some. */
export interface Summary {
  metrics: readonly Metric[];
  aims: readonly AimResult[];
}

const SUMMARISE: { [K in EvaluationKind]: (records: readonly RecordOf[K][], protocol: Protocol) => Summary } = {
  detection: (records, protocol) => summariseDetection(records, protocol),
  "side-effects": (records, protocol) => ({ metrics: sideEffectMetrics(records, protocol.evaluation.seed), aims: [] }),
  identity: (records) => ({ metrics: identityMetrics(records), aims: [] }),
  "self-prediction": (records) => ({ metrics: selfPredictionMetrics(records), aims: [] }),
  "self-report": (records, protocol) => ({ metrics: selfReportMetrics(records, protocol.evaluation.seed), aims: [] }),
  probe: (records) => ({ metrics: probeMetrics(records), aims: [] }),
};

/**
 * Every metric of records of one kind. A pure function: the same records and protocol give the same numbers.
 * @example
 * summarise("detection", readRecords("runs/x", "detection"), loadProtocol("runs/x/protocol.yaml")).metrics;
 */
export function summarise<K extends EvaluationKind>(
  kind: K,
  records: readonly RecordOf[K][],
  protocol: Protocol,
): Summary {
  return records.length === 0 ? { metrics: [], aims: [] } : SUMMARISE[kind](records, protocol);
}

/** All kinds of records that one folder holds, summarised together. */
export function summariseAll(records: { [K in EvaluationKind]: readonly RecordOf[K][] }, protocol: Protocol): Summary {
  const parts = EVALUATION_KINDS.map((kind) => summarise(kind, records[kind] as never, protocol));
  return { metrics: parts.flatMap(({ metrics }) => metrics), aims: parts.flatMap(({ aims }) => aims) };
}
