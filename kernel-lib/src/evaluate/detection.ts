/**
 * Detection: does the model say that it was steered when it was, and only then? All tiers of a protocol, base and tuned.
 *
 * `evaluateDetection` plans, checks, runs and summarises into a run folder; `summarizeDetection` does the last part from
 * records alone, without a model. Metrics: detection/metrics.ts; curves: detection/thresholds.ts; tests: detection/paired.ts.
 */
import { inspect } from "node:util";
import { AbortedError } from "../base";
import type { Adapter, StudyModel } from "../engine";
import { writeParquet } from "../files";
import {
  type AimResult,
  createRunFolder,
  findMetrics,
  type Metric,
  openRunFolder,
  type RunFolder,
  runMeta,
  slugify,
  writeSummary,
} from "../runs";
import { type DirectionSet, type NamedDirection, readConcepts } from "../steering";
import {
  bindStudy,
  loadProtocol,
  planTrials,
  preflight,
  type Protocol,
  saveProtocol,
  type TrialRecord,
} from "../study";
import { aimResults } from "./detection/aims";
import { detectionMetrics } from "./detection/metrics";
import { pairedMetrics } from "./detection/paired";
import { thresholdMetrics } from "./detection/thresholds";
import { readTrials, runTrials } from "./trials";

/** Metrics and aims of a set of records. */
export class DetectionSummary {
  constructor(
    readonly metrics: readonly Metric[],
    readonly aims: readonly AimResult[],
  ) {}

  /** Metrics that match; see `findMetrics`. */
  find(where: Parameters<typeof findMetrics>[1]): Metric[] {
    return findMetrics(this.metrics, where);
  }

  [inspect.custom](): string {
    const whole = this.metrics.filter((metric) => Object.keys(metric.group).length === 0);
    const number = (metric: Metric | undefined): string =>
      (metric === undefined || metric.value === null ? "-" : metric.value.toFixed(3)).padStart(7);
    const lines = [...new Set(whole.map((metric) => `${metric.tier} ${metric.condition}`))].map((key) => {
      const of = (name: string): Metric | undefined =>
        whole.find((metric) => metric.name === name && `${metric.tier} ${metric.condition}` === key);
      return `${key.padEnd(28)}${["balancedAccuracy", "hitRate", "falseAlarmRate", "auroc", "mass"].map((name) => number(of(name))).join("")}`;
    });
    return [`${"".padEnd(28)}bal.acc   hits  false  auroc   mass`, ...lines, ...this.aims.map((aim) => aim.text)].join(
      "\n",
    );
  }
}

/**
 * Metrics of detection records, with intervals, thresholds, paired tests and aims. A pure function of records and protocol.
 *
 * @param seed moves bootstrap and Monte Carlo draws only
 * @example
 * console.log(summarizeDetection(readTrials("runs/x/trials.jsonl"), loadProtocol("runs/x/protocol.yaml")));
 */
export function summarizeDetection(recorded: readonly TrialRecord[], protocol: Protocol, seed = 0): DetectionSummary {
  const records = inPlanOrder(recorded, protocol);
  const metrics = [
    ...detectionMetrics(records, seed),
    ...thresholdMetrics(records, seed),
    ...pairedMetrics(records, seed),
  ];
  return new DetectionSummary(metrics, aimResults(protocol.aims, metrics));
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

/** Options of `evaluateDetection`. */
export interface EvaluateOptions {
  /** null asks the base only (tuned trials are left out) */
  adapter: Adapter | null;
  /** directions of the concept tier (`conceptVectors`); without them that tier is left out */
  concepts?: DirectionSet;
  /** names of tiers; default all that can be run */
  tiers?: readonly string[];
  /** folder that holds runs; default "runs" */
  root?: string;
  /** time of the run's name; default now */
  time?: Date;
  /** use this run folder (a stopped evaluation, or one that other evaluations share) instead of a new one */
  folder?: string;
  /** trials per engine call */
  batch?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** A finished evaluation: where it lies, what was answered, what it comes to. */
export class DetectionEvaluation {
  constructor(
    readonly folder: string,
    readonly records: readonly TrialRecord[],
    readonly summary: DetectionSummary,
  ) {}

  [inspect.custom](): string {
    return `DetectionEvaluation(${this.records.length} trials) in ${this.folder}\n${inspect(this.summary)}`;
  }
}

/**
 * Runs a protocol's tiers on a model with an adapter; writes trials.jsonl (and .parquet), summary.json and the protocol into a run folder.
 *
 * @param protocol resolved protocol, or the name of a shipped one
 * @throws InputError "prompt-mass", "tier-unknown", "concepts-missing"; DataError "trials-mismatch"; AbortedError when stopped
 * @example
 * const result = await evaluateDetection(model, "strict", { adapter: await model.attach("runs/x/adapter") });
 */
export async function evaluateDetection(
  model: StudyModel,
  protocol: Protocol | string,
  options: EvaluateOptions,
): Promise<DetectionEvaluation> {
  const resolved = typeof protocol === "string" ? loadProtocol(protocol) : protocol;
  const study = await bindStudy(model, resolved);
  const tiers =
    options.tiers ??
    resolved.evaluation.tiers
      .filter((tier) => tier.vectors !== "concepts" || options.concepts !== undefined)
      .map((tier) => tier.name);
  const concepts = options.concepts === undefined ? undefined : namedDirections(options.concepts);
  const planned = planTrials(study, { concepts, tiers });
  const plan = options.adapter === null ? planned.filter((trial) => trial.condition === "base") : planned;
  await preflight(study, plan, options.root ?? "runs", { adapter: options.adapter, batch: options.batch });
  const folder =
    options.folder === undefined ? newFolder(model, resolved, study.norms, options) : openRunFolder(options.folder);
  try {
    const { adapter, batch, signal, onProgress } = options;
    const records = await runTrials(study, plan, {
      adapter,
      file: folder.file("trials.jsonl"),
      batch,
      signal,
      onProgress,
    });
    const all = readTrials(folder.file("trials.jsonl"));
    writeParquet(
      folder.file("trials.parquet"),
      all.map((record) => ({ ...record })),
    );
    const summary = summarizeDetection(all, resolved);
    writeSummary(folder.file("summary.json"), summary.metrics, summary.aims);
    folder.markDone();
    return new DetectionEvaluation(folder.path, records, summary);
  } catch (error) {
    if (!(error instanceof AbortedError)) folder.markFailed(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

/** Directions with the category that data/concepts.json gives their names; null for names it does not know. */
export function namedDirections(set: DirectionSet): NamedDirection[] {
  const categories = new Map(readConcepts().map(({ name, category }) => [name, category]));
  return set.names.map((id, i) => ({ id, category: categories.get(id) ?? null, direction: set.directions[i] }));
}

function newFolder(model: StudyModel, protocol: Protocol, norms: Float64Array, options: EvaluateOptions): RunFolder {
  const time = options.time ?? new Date();
  const { seed } = protocol.evaluation;
  const folder = createRunFolder({
    root: options.root ?? "runs",
    slug: slugify(`detect-${protocol.name}`),
    seed,
    time,
  });
  saveProtocol(protocol, folder.file("protocol.yaml"));
  folder.writeMeta({ ...runMeta("detection", model, protocol, { seed, time, norms, adapter: options.adapter }) });
  return folder;
}
