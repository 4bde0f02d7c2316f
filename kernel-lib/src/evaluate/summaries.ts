/**
 * What the records of each kind come to: the one way from records to numbers, with or without a model at hand.
 */
import type { AimResult, Metric } from "../runs";
import type { Protocol } from "../study";
import { aimResults, aimsOf } from "./aims";
import { chatMetrics } from "./chats/metrics";
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

const SUMMARISE: { [K in EvaluationKind]: (records: readonly RecordOf[K][], protocol: Protocol) => readonly Metric[] } =
  {
    detection: (records, protocol) => summariseDetection(records, protocol).metrics,
    "side-effects": (records, protocol) => sideEffectMetrics(records, protocol.evaluation.seed),
    chats: chatMetrics,
    identity: identityMetrics,
    "self-prediction": selfPredictionMetrics,
    "self-report": (records, protocol) => selfReportMetrics(records, protocol.evaluation.seed),
    probe: probeMetrics,
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
  if (records.length === 0) return { metrics: [], aims: [] };
  const metrics = SUMMARISE[kind](records, protocol);
  return { metrics, aims: aimResults(aimsOf(protocol.aims, kind), metrics) };
}

/** All kinds of records that one folder holds, summarised together. */
export function summariseAll(records: { [K in EvaluationKind]: readonly RecordOf[K][] }, protocol: Protocol): Summary {
  const parts = EVALUATION_KINDS.map((kind) => summarise(kind, records[kind] as never, protocol));
  return { metrics: parts.flatMap(({ metrics }) => metrics), aims: parts.flatMap(({ aims }) => aims) };
}
