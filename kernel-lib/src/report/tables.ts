/**
 * Records and metrics as tables to filter, group and roll up (arquero); danfo.ts turns them into danfo frames.
 *
 * Every table is a pure function of records. `DataTable` declares the verbs used here by hand, so that notebooks on an older
 * TypeScript see types; at run time it is arquero's own table.
 */
import { from } from "arquero";
import { groupBy, type IdentityRecord, type SelfPredictionRecord, type SideEffectRecord } from "../evaluate";
import { findMetrics, type Metric } from "../runs";
import { wilson } from "../stats";
import { readSideEffectQuestions, type TrialRecord } from "../study";
import type { TrainEvent } from "../train";

/** An arquero table; expressions are functions of a row (`d`) or arquero's expression strings. */
export interface DataTable {
  numRows(): number;
  numCols(): number;
  columnNames(): string[];
  /** rows as objects */
  objects(options?: { limit?: number }): Record<string, unknown>[];
  /** values of one column */
  array(column: string): ArrayLike<unknown>;
  filter(criteria: string | ((d: Record<string, unknown>) => unknown)): DataTable;
  select(...columns: unknown[]): DataTable;
  derive(values: Record<string, unknown>): DataTable;
  groupby(...keys: unknown[]): DataTable;
  rollup(values?: Record<string, unknown>): DataTable;
  orderby(...keys: unknown[]): DataTable;
  pivot(keys: unknown, values: unknown): DataTable;
  slice(start?: number, end?: number): DataTable;
  toCSV(options?: Record<string, unknown>): string;
}

/** A table of any records; columns are the union of their fields, absent values null. */
export function tableOf(rows: readonly object[]): DataTable {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const full = rows.map((row) =>
    Object.fromEntries(names.map((name) => [name, (row as Record<string, unknown>)[name] ?? null])),
  );
  return from(full) as unknown as DataTable;
}

/** One row per trial. @example trialsTable(records).groupby("range", "strength").rollup({ hits: "d => op.mean(d.saysSteered)" }) */
export function trialsTable(records: readonly TrialRecord[]): DataTable {
  return tableOf(records);
}

/** One row per number, groups spread into columns. */
export function metricsTable(metrics: readonly Metric[]): DataTable {
  return tableOf(metrics.map(({ group, ...metric }) => ({ ...metric, ...group })));
}

/** One row per optimizer step and validation. */
export function eventsTable(events: readonly TrainEvent[]): DataTable {
  return tableOf(events);
}

/** One row per question and condition. */
export function sideEffectsTable(records: readonly SideEffectRecord[]): DataTable {
  return tableOf(records);
}

/** One row per side-effect question, base beside tuned, with the question's words. */
export function sideEffectQuestions(records: readonly SideEffectRecord[], condition = "tuned"): DataTable {
  const texts = new Map(readSideEffectQuestions().questions.map(({ id, text }) => [id, text]));
  const of = (wanted: string): Map<string, SideEffectRecord> =>
    new Map(records.filter((record) => record.condition === wanted).map((record) => [record.question, record]));
  const base = of("base");
  const rows = [...of(condition).values()].flatMap((after) => {
    const before = base.get(after.question);
    if (before === undefined) return [];
    return [
      {
        category: after.category,
        question: texts.get(after.question) ?? after.question,
        "P(yes), base": before.yes,
        [`P(yes), ${condition}`]: after.yes,
        "mass, base": before.mass,
        [`mass, ${condition}`]: after.mass,
        "likeliest token, base": before.topText.trim(),
        [`likeliest token, ${condition}`]: after.topText.trim(),
      },
    ];
  });
  return tableOf(rows);
}

/** Tier by tier in words, for people: every rate with its 95 % interval; n is in "steered : clean". */
export function tierReading(metrics: readonly Metric[]): Record<string, string>[] {
  const shown = (value: number | null | undefined): string =>
    value === null || value === undefined ? "n/a" : value.toFixed(3);
  const whole = metrics.filter((metric) => Object.keys(metric.group).length === 0 && metric.condition !== "tuned-base");
  return [...groupBy(whole, (metric) => `${metric.tier} ${metric.condition}`).values()].flatMap((of) => {
    const get = (name: string): Metric | undefined => of.find((metric) => metric.name === name);
    const rate = (name: string): string => {
      const metric = get(name);
      if (metric === undefined) return "n/a";
      return metric.low === null
        ? shown(metric.value)
        : `${shown(metric.value)} [${shown(metric.low)},\u00a0${shown(metric.high)}]`;
    };
    if (get("hitRate") === undefined && get("falseAlarmRate") === undefined) return [];
    return [
      {
        tier: of[0].tier,
        condition: of[0].condition,
        "steered : clean": `${get("hitRate")?.n ?? 0} : ${get("falseAlarmRate")?.n ?? 0}`,
        "balanced accuracy": rate("balancedAccuracy"),
        "hit rate": rate("hitRate"),
        "false alarms": rate("falseAlarmRate"),
        "d'": shown(get("dPrime")?.value),
        AUROC: shown(get("auroc")?.value),
        mass: shown(get("mass")?.value),
      },
    ];
  });
}

/** One row per sampled answer. */
export function identityTable(records: readonly IdentityRecord[]): DataTable {
  return tableOf(records);
}

/** One row per self-prediction question. */
export function selfPredictionTable(records: readonly SelfPredictionRecord[]): DataTable {
  return tableOf(records);
}

/** Tier by tier: balanced accuracy, hit and false-alarm rates with intervals, d', AUROC, mass. */
export function tierTable(metrics: readonly Metric[]): DataTable {
  const whole = metrics.filter((metric) => Object.keys(metric.group).length === 0 && metric.condition !== "tuned-base");
  const rows = [...groupBy(whole, (metric) => `${metric.tier} ${metric.condition}`).values()].flatMap((of) => {
    const get = (name: string): Metric | null => of.find((metric) => metric.name === name) ?? null;
    if (get("hitRate") === null && get("falseAlarmRate") === null) return [];
    const spread = (name: string, label: string): Record<string, unknown> => {
      const metric = get(name);
      return {
        [label]: metric?.value ?? null,
        [`${label}Low`]: metric?.low ?? null,
        [`${label}High`]: metric?.high ?? null,
      };
    };
    return [
      {
        tier: of[0].tier,
        condition: of[0].condition,
        steered: get("hitRate")?.n ?? 0,
        clean: get("falseAlarmRate")?.n ?? 0,
        ...spread("balancedAccuracy", "balancedAccuracy"),
        ...spread("hitRate", "hitRate"),
        ...spread("falseAlarmRate", "falseAlarmRate"),
        dPrime: get("dPrime")?.value ?? null,
        auroc: get("auroc")?.value ?? null,
        mass: get("mass")?.value ?? null,
      },
    ];
  });
  return tableOf(rows);
}

/** Hit rate of every range x strength cell of a tier, with Wilson intervals. */
export function cellTable(metrics: readonly Metric[], tier: string, condition = "tuned"): DataTable {
  const cells = findMetrics(metrics, { name: "hitRate", tier, condition }).filter(
    (metric) => "strength" in metric.group,
  );
  return tableOf(
    cells.map(({ group, value, n, low, high, method }) => ({ ...group, hitRate: value, n, low, high, method })),
  );
}

/** Hit rate of every concept, over cells and contexts, with Wilson intervals (repeats of one concept are not independent). */
export function conceptTable(records: readonly TrialRecord[]): DataTable {
  const concepts = records.filter((record) => record.vectorSplit === "concepts" && record.condition === "tuned");
  const rows = [...groupBy(concepts, (record) => record.vector as string)].map(([concept, of]) => {
    const { value, low, high } = wilson(of.filter((record) => record.saysSteered).length, of.length);
    const weakest = Math.min(...of.map((record) => record.strength as number));
    const weak = of.filter((record) => record.strength === weakest);
    return {
      concept,
      category: of[0].category,
      n: of.length,
      hitRate: value,
      low,
      high,
      weakestHitRate: weak.filter((record) => record.saysSteered).length / weak.length,
    };
  });
  return tableOf(rows);
}
