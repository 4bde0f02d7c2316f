/**
 * summary.json: every number of a run with how many trials it rests on, its interval and the interval's method.
 *
 * A flat list of metrics, so that reports and scripts find a number by name, tier, condition and group. Unknown is null.
 * Written by the evaluations from records; rebuilt from them at any time without a model.
 */
import { existsSync } from "node:fs";
import { DataError, expected } from "../base";
import { parseJsonStrict, readText, writeJsonAtomic } from "../files";
import { formatEstimate, type Quoted } from "../page";
import { benjaminiHochberg, type Estimate, type Verdict } from "../stats";

/** What a number rests on, where its method tells (`ClusteredEstimate`). */
export interface Evidence {
  /** sampled axes with their numbers of clusters */
  clusters?: Readonly<Record<string, number>>;
  /** variance over that of independent trials; null where there is no variance */
  designEffect?: number | null;
  /** how many independent trials would tell as much; null where there is no variance */
  effectiveN?: number | null;
  /** how to quote it where a number can't, such as "below 0.025" */
  text?: string;
}

/** One number. An end of its interval that is null while the other is known is open. */
export interface Metric extends Estimate, Evidence {
  /** hitRate, falseAlarmRate, balancedAccuracy, auroc, dPrime, threshold, ... */
  name: string;
  /** tier, or evaluation such as side_effects */
  tier: string;
  /** tuned, base, or tuned-base for a difference */
  condition: string;
  /** what is grouped by, {} for the whole tier */
  group: Record<string, string | number>;
  /** two-sided p-value of a test, else null */
  p: number | null;
  /** the same after Benjamini-Hochberg over the run's tests, else null */
  pAdjusted: number | null;
}

/** An aim of the protocol against what was measured. */
export interface AimResult {
  metric: string;
  tier: string;
  least: number | null;
  most: number | null;
  value: number | null;
  n: number;
  low: number | null;
  high: number | null;
  /** null where nothing was measured */
  reached: boolean | null;
  /** the same with what the interval says of it */
  verdict: Verdict;
  /** one sentence in words */
  text: string;
}

/** The content of summary.json. */
export interface RunSummary {
  format: 1;
  metrics: Metric[];
  aims: AimResult[];
}

/** A metric of an estimate; `p` where it was tested, to be adjusted over all tests of the run (`adjusted`). */
export function metricOf(
  name: string,
  tier: string,
  condition: string,
  estimate: Estimate & Evidence,
  group: Metric["group"] = {},
  p: number | null = null,
): Metric {
  const { value, n, low, high, method, clusters, designEffect, effectiveN, text } = estimate;
  return {
    name,
    tier,
    condition,
    group,
    value,
    n,
    low,
    high,
    method,
    ...(clusters === undefined ? {} : { clusters, designEffect, effectiveN }),
    ...(text === undefined ? {} : { text }),
    p,
    pAdjusted: null,
  };
}

/** The same metrics with their p-values adjusted together (Benjamini and Hochberg). */
export function adjusted(metrics: readonly Metric[]): Metric[] {
  const pAdjusted = benjaminiHochberg(metrics.map(({ p }) => p));
  return metrics.map((metric, i) => ({ ...metric, pAdjusted: pAdjusted[i] }));
}

/**
 * Metrics of that name, tier and condition, groups included.
 *
 * @param where fields that must match; absent ones match anything, and group: {} the whole tier only
 * @returns the matching metrics, in order; none is no error
 * @example
 * const [overall] = findMetrics(sweep.metrics, { name: "balancedAccuracy", tier: "held_out_random", condition: "tuned", group: {} });
 */
export function findMetrics(
  metrics: readonly Metric[],
  where: { name?: string; tier?: string; condition?: string; group?: Record<string, string | number> },
): Metric[] {
  return metrics.filter(
    (metric) =>
      (where.name === undefined || metric.name === where.name) &&
      (where.tier === undefined || metric.tier === where.tier) &&
      (where.condition === undefined || metric.condition === where.condition) &&
      (where.group === undefined || sameGroup(metric.group, where.group)),
  );
}

function sameGroup(one: Metric["group"], other: Metric["group"]): boolean {
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => one[key] === other[key]);
}

/**
 * "0.917 [0.908, 0.927], n 2400": a number as notebooks and indexes quote it; "not measured" if there is none.
 *
 * @param metric a metric, an estimate or an aim's result
 * @returns value, interval where there is one, n; or the words of a figure that no number can tell
 * @example
 * quote(sweep.find({ name: "hitRate", condition: "tuned", group: {} })[0]); // 0.917 [0.908, 0.927], n 2400
 */
export function quote(metric: Quoted | null | undefined): string {
  const isUnknown = metric === null || metric === undefined || (metric.value === null && metric.text === undefined);
  return isUnknown ? "not measured" : formatEstimate(metric);
}

/** Writes metrics and aims, replacing those of the same tiers from an earlier evaluation in this folder. */
export function writeSummary(file: string, metrics: readonly Metric[], aims: readonly AimResult[] = []): RunSummary {
  const before = existsSync(file) ? readSummary(file) : { metrics: [], aims: [] };
  const tiers = new Set(metrics.map((metric) => metric.tier));
  const kept = before.metrics.filter((metric) => !tiers.has(metric.tier));
  const summary: RunSummary = {
    format: 1,
    metrics: [...kept, ...metrics],
    aims: aims.length > 0 ? [...aims] : before.aims,
  };
  writeJsonAtomic(file, summary);
  return summary;
}

/** Reads a summary. @throws DataError "summary-format", "json-syntax" */
export function readSummary(file: string): RunSummary {
  const read = parseJsonStrict(readText(file), file) as RunSummary;
  if (read.format !== 1 || !Array.isArray(read.metrics))
    throw new DataError("summary-format", expected("format 1 with metrics", file, read.format));
  return read;
}
