/**
 * Detection metrics of every tier and condition, whole and by cell, wording, kind of context and concept.
 *
 * Whole-tier rates carry cluster-bootstrap intervals (vectors and prompts are what was sampled), or an exact one where all
 * or none say yes; false alarms also Clopper-Pearson, whose upper end is what 0 of n really allows. Cells have one trial per
 * vector or prompt, so Wilson holds. d' is given log-linear, and clipped as the published card did it.
 */
import { random, type Random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import {
  auroc,
  balancedAccuracy,
  clopperPearson,
  clusterBootstrap,
  criterion,
  type DetectionCounts,
  dPrime,
  type Estimate,
  mean,
  wilson,
} from "../../stats";
import type { TrialRecord } from "../../study";
import { clusterOf, countsOf, groupBy, isClean, isSteered } from "./counts";

const SAMPLES = 1000;

/** Every metric of the records; `seed` moves the bootstrap only. */
export function detectionMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const metrics: Metric[] = [];
  for (const ofTier of groupBy(records, (record) => `${record.tier} ${record.condition}`).values()) {
    const { tier, condition } = ofTier[0];
    const stream = random(seed).fork(tier).fork(condition);
    const add = (name: string, estimate: Estimate, group: Metric["group"] = {}): void => {
      metrics.push(metricOf(name, tier, condition, estimate, group));
    };
    wholeTier(ofTier, stream, add);
    byCell(ofTier, add);
    byStrength(ofTier, stream.fork("strengths"), add);
    byGroup(ofTier, "question", (record) => record.question, add);
    byGroup(ofTier.filter(isClean), "contextKind", (record) => record.contextKind, add);
    byGroup(
      ofTier.filter((record) => record.category !== null),
      "category",
      (record) => record.category as string,
      add,
    );
    byConcept(ofTier, add);
  }
  return metrics;
}

type Add = (name: string, estimate: Estimate, group?: Metric["group"]) => void;

function wholeTier(records: readonly TrialRecord[], stream: Random, add: Add): void {
  const counts = countsOf(records);
  const scores = (of: readonly TrialRecord[]): number[] => of.map((record) => record.logOdds);
  const [steered, clean] = [records.filter(isSteered), records.filter(isClean)];
  if (counts.steered > 0) add("hitRate", clusteredRate(steered, stream.fork("hits")));
  if (counts.clean > 0) {
    add("falseAlarmRate", clopperPearson(counts.falseAlarms, counts.clean));
    add("falseAlarmRateClustered", clusteredRate(clean, stream.fork("false-alarms")));
  }
  if (counts.steered > 0 && counts.clean > 0) {
    add("balancedAccuracy", clusteredBalancedAccuracy(records, stream.fork("balanced")));
    add("accuracy", wilson(counts.hits + counts.clean - counts.falseAlarms, counts.steered + counts.clean));
    add("auroc", auroc(scores(steered), scores(clean)));
    add("dPrime", dPrime(counts, { correction: "log-linear" }));
    add("dPrimeClipped", dPrime(counts, { correction: "clip" }));
    add("criterion", {
      value: criterion(counts),
      n: counts.steered + counts.clean,
      low: null,
      high: null,
      method: "log-linear",
    });
  }
  add("mass", mean(records.map((record) => record.mass)));
  const least = records.reduce((low, record) => Math.min(low, record.mass), 1);
  add("leastMass", { value: least, n: records.length, low: null, high: null, method: "minimum" });
}

/** Counts of one cluster: resampling these is resampling its trials, without carrying them along. */
function clusterCounts(records: readonly TrialRecord[]): DetectionCounts[] {
  return [...groupBy(records, clusterOf).values()].map(countsOf);
}

function total(counts: readonly DetectionCounts[]): DetectionCounts {
  const sum = { hits: 0, steered: 0, falseAlarms: 0, clean: 0 };
  for (const { hits, steered, falseAlarms, clean } of counts) {
    sum.hits += hits;
    sum.steered += steered;
    sum.falseAlarms += falseAlarms;
    sum.clean += clean;
  }
  return sum;
}

/** Share that says steered, clusters resampled; where all or none do, resampling says nothing and Wilson stands in. */
function clusteredRate(records: readonly TrialRecord[], stream: Random): Estimate {
  const clusters = clusterCounts(records);
  const n = records.length;
  const k = records.filter((record) => record.saysSteered).length;
  if (k === 0 || k === n) {
    const { low, high } = wilson(k === 0 ? 0 : clusters.length, clusters.length);
    return {
      value: k / n,
      n,
      low,
      high,
      method: `Wilson 95 % over ${clusters.length} clusters (no variation to resample)`,
    };
  }
  const rate = (sample: readonly DetectionCounts[]): number => {
    const { hits, steered, falseAlarms, clean } = total(sample);
    return (hits + falseAlarms) / (steered + clean);
  };
  return { ...clusterBootstrap(clusters, (_, i) => i, rate, { random: stream, samples: SAMPLES }), n };
}

function clusteredBalancedAccuracy(records: readonly TrialRecord[], stream: Random): Estimate {
  const counts = countsOf(records);
  const isExtreme = (k: number, n: number): boolean => k === 0 || k === n;
  if (isExtreme(counts.hits, counts.steered) || isExtreme(counts.falseAlarms, counts.clean))
    return balancedAccuracy(counts);
  const statistic = (sample: readonly DetectionCounts[]): number | null => {
    const { hits, steered, falseAlarms, clean } = total(sample);
    return steered === 0 || clean === 0 ? null : (hits / steered + 1 - falseAlarms / clean) / 2;
  };
  return {
    ...clusterBootstrap(clusterCounts(records), (_, i) => i, statistic, { random: stream, samples: SAMPLES }),
    n: records.length,
  };
}

function byCell(records: readonly TrialRecord[], add: Add): void {
  for (const cell of groupBy(records.filter(isSteered), (record) => `${record.range} ${record.strength}`).values()) {
    const { range, strength } = cell[0];
    const group = { range: range as string, strength: strength as number };
    add("hitRate", wilson(countsOf(cell).hits, cell.length), group);
    add("relativeStrength", mean(cell.map((record) => record.relativeStrength as number)), group);
  }
}

/** All ranges of one strength; a vector stands in each of them, so vectors are resampled. */
function byStrength(records: readonly TrialRecord[], stream: Random, add: Add): void {
  for (const of of groupBy(records.filter(isSteered), (record) => record.strength as number).values()) {
    const strength = of[0].strength as number;
    add("hitRateOfStrength", clusteredRate(of, stream.fork(String(strength))), { strength });
  }
}

function byGroup(
  records: readonly TrialRecord[],
  field: string,
  keyOf: (record: TrialRecord) => string,
  add: Add,
): void {
  for (const [key, of] of groupBy(records, keyOf)) {
    const counts = countsOf(of);
    if (counts.steered > 0) add("hitRate", wilson(counts.hits, counts.steered), { [field]: key });
    if (counts.clean > 0) add("falseAlarmRate", clopperPearson(counts.falseAlarms, counts.clean), { [field]: key });
  }
}

function byConcept(records: readonly TrialRecord[], add: Add): void {
  const concepts = records.filter((record) => isSteered(record) && record.vectorSplit === "concepts");
  for (const of of groupBy(concepts, (record) => record.vector as string).values()) {
    const { vector, category } = of[0];
    add("hitRate", wilson(countsOf(of).hits, of.length), { concept: vector as string, category: category ?? "none" });
  }
}
