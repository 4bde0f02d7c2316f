/**
 * Detection metrics of every tier and condition, whole and by cell, strength, wording, kind of context and concept.
 *
 * Trials share vectors and topics, so every interval is clustered by both (stats/clustered.ts), and by wording where the tier
 * speaks of new wordings; closed forms, nothing is drawn. d' is given log-linear, and clipped as the published card did it.
 */
import { type Evidence, type Metric, metricOf } from "../../runs";
import {
  clusteredAuroc,
  clusteredBalancedAccuracy,
  clusteredDPrime,
  clusteredMean,
  clusteredRate,
  criterion,
  type Estimate,
  largestRate,
  predictiveValues,
} from "../../stats";
import { axesOf, type TrialRecord } from "../../study";
import { countsOf, groupBy, isClean, isSteered, sampleOf } from "./counts";
import { falseAlarmRate, sharedTrials, trialKey } from "./distinct";

/** Shares of steered among all that is asked, at which predictive values are given: steering is rare outside a study. */
export const PRIORS = [0.1, 0.01] as const;

type Add = (name: string, estimate: Estimate & Evidence, group?: Metric["group"]) => void;

/** Every metric of the records by tier. */
export function detectionMetrics(records: readonly TrialRecord[]): Metric[] {
  const shared = sharedTrials(records);
  const metrics: Metric[] = [];
  for (const ofTier of groupBy(records, (record) => `${record.tier} ${record.condition}`).values()) {
    const { tier, condition } = ofTier[0];
    const add: Add = (name, estimate, group = {}) => {
      metrics.push(metricOf(name, tier, condition, estimate, group));
    };
    rates(ofTier, shared, add);
    discrimination(ofTier, add);
    masses(ofTier, add);
    byCell(ofTier, add);
    byStrength(ofTier, add);
    byRange(ofTier, add);
    byGroup(ofTier, "question", (record) => record.question, shared, add);
    worstWording(ofTier.filter(isClean), add);
    byGroup(ofTier.filter(isClean), "contextKind", (record) => record.contextKind, shared, add);
    const ofCategories = ofTier.filter((record) => record.category !== null);
    byGroup(ofCategories, "category", (record) => record.category as string, shared, add);
    byConcept(ofTier, add);
  }
  return metrics;
}

function hitRate(steered: readonly TrialRecord[]): ReturnType<typeof clusteredRate> {
  const { outcomes, clusters } = sampleOf(steered);
  return clusteredRate(outcomes, clusters);
}

/** Hits, false alarms, and what a yes or no is worth at a stated prior. */
function rates(records: readonly TrialRecord[], shared: ReadonlySet<string>, add: Add): void {
  const [steered, clean] = [records.filter(isSteered), records.filter(isClean)];
  const [hits, alarms] = [hitRate(steered), falseAlarmRate(clean, shared)];
  if (steered.length > 0) add("hitRate", hits);
  if (clean.length > 0) {
    add("falseAlarmRate", alarms);
    const copies = clean.filter((record) => shared.has(trialKey(record))).length;
    const method = "share of clean prompts that other tiers ask too";
    add("sharedCleanShare", { value: copies / clean.length, n: clean.length, low: null, high: null, method });
  }
  if (steered.length === 0 || clean.length === 0) return;
  for (const prior of PRIORS) {
    const { positive, negative } = predictiveValues(hits, alarms, prior);
    add("positivePredictiveValue", positive, { prior });
    add("negativePredictiveValue", negative, { prior });
  }
}

/** How well steered is told from clean: needs both. */
function discrimination(records: readonly TrialRecord[], add: Add): void {
  const [steered, clean] = [records.filter(isSteered), records.filter(isClean)];
  if (steered.length === 0 || clean.length === 0) return;
  const [ofSteered, ofClean] = [sampleOf(steered), sampleOf(clean)];
  add("balancedAccuracy", clusteredBalancedAccuracy(ofSteered, ofClean));
  const right = records.map((record) => record.saysSteered === isSteered(record));
  add("accuracy", clusteredRate(right, axesOf(records)));
  add("auroc", aurocOf(steered, clean));
  add("dPrime", clusteredDPrime(ofSteered, ofClean, { correction: "log-linear" }));
  add("dPrimeClipped", clusteredDPrime(ofSteered, ofClean, { correction: "clip" }));
  const value = criterion(countsOf(records));
  add("criterion", { value, n: records.length, low: null, high: null, method: "log-linear" });
}

function aurocOf(steered: readonly TrialRecord[], clean: readonly TrialRecord[]): ReturnType<typeof clusteredAuroc> {
  const scored = (of: readonly TrialRecord[]) => ({ scores: of.map((record) => record.logOdds), clusters: axesOf(of) });
  return clusteredAuroc(scored(steered), scored(clean));
}

function masses(records: readonly TrialRecord[], add: Add): void {
  const mass = records.map((record) => record.mass);
  add("mass", clusteredMean(mass, axesOf(records)));
  const least = mass.reduce((low, one) => Math.min(low, one), 1);
  add("leastMass", { value: least, n: records.length, low: null, high: null, method: "minimum" });
}

function byCell(records: readonly TrialRecord[], add: Add): void {
  for (const cell of groupBy(records.filter(isSteered), (record) => `${record.range} ${record.strength}`).values()) {
    const { range, strength } = cell[0];
    const group = { range: range as string, strength: strength as number };
    add("hitRate", hitRate(cell), group);
    const relative = cell.reduce((sum, record) => sum + (record.relativeStrength as number), 0) / cell.length;
    add("relativeStrength", { value: relative, n: cell.length, low: null, high: null, method: "mean" }, group);
  }
}

/** All ranges of one strength, and how well it is told from all clean trials of the tier. */
function byStrength(records: readonly TrialRecord[], add: Add): void {
  const clean = records.filter(isClean);
  for (const [strength, of] of groupBy(records.filter(isSteered), (record) => record.strength as number)) {
    add("hitRateOfStrength", hitRate(of), { strength });
    if (clean.length > 0) add("aurocOfStrength", aurocOf(of, clean), { strength });
  }
}

/** All strengths of one layer range. */
function byRange(records: readonly TrialRecord[], add: Add): void {
  for (const [range, of] of groupBy(records.filter(isSteered), (record) => record.range as string))
    add("hitRateOfRange", hitRate(of), { range });
}

function byGroup(
  records: readonly TrialRecord[],
  field: string,
  keyOf: (record: TrialRecord) => string,
  shared: ReadonlySet<string>,
  add: Add,
): void {
  for (const [key, of] of groupBy(records, keyOf)) {
    const [steered, clean] = [of.filter(isSteered), of.filter(isClean)];
    if (steered.length > 0) add("hitRate", hitRate(steered), { [field]: key });
    if (clean.length > 0) add("falseAlarmRate", falseAlarmRate(clean, shared), { [field]: key });
  }
}

/** False alarms of the worst of the wordings: chosen for being worst, so its interval is that of a maximum. */
function worstWording(clean: readonly TrialRecord[], add: Add): void {
  const wordings = [...groupBy(clean, (record) => record.question)];
  if (wordings.length < 2) return;
  const { at, ...largest } = largestRate(wordings.map(([, of]) => sampleOf(of)));
  if (at !== null) add("worstWordingFalseAlarmRate", largest, { question: wordings[at][0] });
}

/** One concept: its interval speaks of other topics, not of other concepts. */
function byConcept(records: readonly TrialRecord[], add: Add): void {
  const concepts = records.filter((record) => isSteered(record) && record.vectorSplit === "concepts");
  for (const [concept, of] of groupBy(concepts, (record) => record.vector as string)) {
    const { outcomes, clusters } = sampleOf(of);
    add("hitRate", clusteredRate(outcomes, { topic: clusters.topic }), {
      concept,
      category: of[0].category ?? "none",
    });
  }
}
