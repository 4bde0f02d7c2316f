/** AUROC of the model's own answer, of the norm and of the linear probe on the same caches, whole and by strength. */
import { type Metric, metricOf } from "../../runs";
import { clusteredAuroc, type ScoreSample } from "../../stats";
import { isSteered } from "../detection/counts";
import type { ProbeRecord } from "./record";

/** Who scores beside the model itself, by the condition of the metric. */
const YARDSTICKS: Readonly<Record<string, (record: ProbeRecord) => number>> = {
  norm: ({ normScore }) => normScore,
  probe: ({ probeScore }) => probeScore,
};

const TIER = "yardsticks";

/**
 * One AUROC of the answer (condition "tuned", or "base" without an adapter) and of each yardstick, whole and per strength against all
 * clean trials; intervals for new vectors and topics.
 */
export function probeMetrics(records: readonly ProbeRecord[]): Metric[] {
  const [steered, clean] = [records.filter(isSteered), records.filter((record) => !isSteered(record))];
  const strengths = [...new Set(steered.map(({ strength }) => strength as number))].sort((a, b) => a - b);
  const scorers = { [records[0]?.condition ?? "base"]: ({ logOdds }: ProbeRecord) => logOdds, ...YARDSTICKS };
  return Object.entries(scorers).flatMap(([name, score]) =>
    [null, ...strengths].map((strength) => {
      const at = strength === null ? steered : steered.filter((record) => record.strength === strength);
      const estimate = clusteredAuroc(sampleOf(at, score), sampleOf(clean, score));
      return metricOf("auroc", TIER, name, estimate, strength === null ? {} : { strength });
    }),
  );
}

function sampleOf(records: readonly ProbeRecord[], score: (record: ProbeRecord) => number): ScoreSample {
  return {
    scores: records.map(score),
    clusters: { vector: records.map(({ vector }) => vector), topic: records.map(({ context }) => context) },
  };
}
