/**
 * Records and metrics as tables to filter, group and roll up (arquero); danfo.ts turns them into danfo frames.
 *
 * Every table is a pure function of records. `DataTable` declares the verbs used here by hand, so that notebooks on an older
 * TypeScript see types; at run time it is arquero's own table.
 */
import { from } from "arquero";
import { groupBy, type IdentityRecord, type SideEffectRecord, singleTurns } from "../evaluate";
import { formatInterval, formatNumber, UNKNOWN } from "../page";
import type { Metric } from "../runs";
import type { TierView, TrialRecord } from "../study";

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

/**
 * One row per trial.
 *
 * @returns a table with the fields of `TrialRecord`
 * @example
 * trialsTable(sweep.records).groupby("range", "strength").rollup({ hits: "d => op.mean(d.saysSteered)" });
 */
export function trialsTable(records: readonly TrialRecord[]): DataTable {
  return tableOf(records);
}

/**
 * One row per number, groups spread into columns.
 *
 * @returns a table with the fields of `Metric`
 * @example
 * showTable(metricsTable(sweep.metrics), { limit: 10 });
 */
export function metricsTable(metrics: readonly Metric[]): DataTable {
  return tableOf(metrics.map(({ group, ...metric }) => ({ ...metric, ...group })));
}

/**
 * One row per question and condition.
 *
 * @returns a table with the fields of `SideEffectRecord`; probabilities 0 to 1
 * @example
 * showTable(sideEffectsTable(effects.records), { limit: 10 });
 */
export function sideEffectsTable(records: readonly SideEffectRecord[]): DataTable {
  return tableOf(records);
}

/**
 * One row per side-effect question asked as a single turn, base beside tuned, with the question's words (its id in records of older versions).
 *
 * @param condition "tuned", or the name of a twin
 * @returns a table; probabilities of the first token, 0 to 1
 * @example
 * showTable(sideEffectQuestions(effects.records), { limit: 10 });
 */
export function sideEffectQuestions(records: readonly SideEffectRecord[], condition = "tuned"): DataTable {
  const of = (wanted: string): Map<string, SideEffectRecord> =>
    new Map(
      singleTurns(records)
        .filter((record) => record.condition === wanted)
        .map((record) => [record.question, record]),
    );
  const base = of("base");
  const rows = [...of(condition).values()].flatMap((after) => {
    const before = base.get(after.question);
    if (before === undefined) return [];
    return [
      {
        category: after.category,
        question: after.questionText ?? after.question,
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

/** What a tier came to in one condition; null where that was not measured. */
export interface TierNumbers {
  tier: string;
  condition: string;
  /** trials of each class */
  steered: number;
  clean: number;
  balancedAccuracy: Metric | null;
  /** plain share of right answers, as the card states it: moves with the mix of trials */
  accuracy: Metric | null;
  hitRate: Metric | null;
  falseAlarmRate: Metric | null;
  dPrime: Metric | null;
  /** d' of rates held within [0.01, 0.99], as the card states it */
  dPrimeClipped: Metric | null;
  auroc: Metric | null;
  mass: Metric | null;
}

/** The whole-tier numbers of detection, tier by tier and condition by condition: what every tier table is made from. */
export function tierNumbers(metrics: readonly Metric[]): TierNumbers[] {
  const whole = metrics.filter((metric) => Object.keys(metric.group).length === 0 && metric.condition !== "tuned-base");
  return [...groupBy(whole, (metric) => `${metric.tier} ${metric.condition}`).values()].flatMap((of) => {
    const get = (name: string): Metric | null => of.find((metric) => metric.name === name) ?? null;
    const [hitRate, falseAlarmRate] = [get("hitRate"), get("falseAlarmRate")];
    if (hitRate === null && falseAlarmRate === null) return [];
    return [
      {
        tier: of[0].tier,
        condition: of[0].condition,
        steered: hitRate?.n ?? 0,
        clean: falseAlarmRate?.n ?? 0,
        balancedAccuracy: get("balancedAccuracy"),
        accuracy: get("accuracy"),
        hitRate,
        falseAlarmRate,
        dPrime: get("dPrime"),
        dPrimeClipped: get("dPrimeClipped"),
        auroc: get("auroc"),
        mass: get("mass"),
      },
    ];
  });
}

/**
 * Tier by tier in words, for people: every figure with its 95 % interval; n is in "steered : clean".
 * @param options.tiers titles, as of `tierViews(protocol)`
 * @returns one row per tier and condition; rates 0 to 1
 * @example
 * showTable(tierReading(sweep.metrics, { tiers: tierViews(protocol) }));
 */
export function tierReading(
  metrics: readonly Metric[],
  options: { tiers?: readonly TierView[] } = {},
): Record<string, string>[] {
  const titles = new Map(options.tiers?.map(({ name, title }) => [name, title]));
  const rate = (metric: Metric | null): string =>
    metric === null
      ? UNKNOWN
      : `${formatNumber(metric.value)} ${formatInterval(metric)}`.trim().replaceAll(", ", ",\u00a0");
  return tierNumbers(metrics).map((numbers) => ({
    tier: titles.get(numbers.tier) ?? numbers.tier,
    condition: numbers.condition,
    "steered : clean": `${numbers.steered} : ${numbers.clean}`,
    "balanced accuracy": rate(numbers.balancedAccuracy),
    "plain accuracy": rate(numbers.accuracy),
    "hit rate": rate(numbers.hitRate),
    "false alarms": rate(numbers.falseAlarmRate),
    "d'": rate(numbers.dPrime),
    "d', clipped": rate(numbers.dPrimeClipped),
    AUROC: rate(numbers.auroc),
    mass: rate(numbers.mass),
  }));
}

/**
 * One row per sampled answer.
 *
 * @returns a table with the fields of `IdentityRecord`
 * @example
 * showTable(identityTable(identity.records), { limit: 10 });
 */
export function identityTable(records: readonly IdentityRecord[]): DataTable {
  return tableOf(records);
}

/** Tier by tier, for computing with: balanced and plain accuracy, hit and false-alarm rates, d', AUROC, mass, each with its interval. */
export function tierTable(metrics: readonly Metric[]): DataTable {
  const spread = (label: string, metric: Metric | null): Record<string, unknown> => ({
    [label]: metric?.value ?? null,
    [`${label}Low`]: metric?.low ?? null,
    [`${label}High`]: metric?.high ?? null,
  });
  const rows = tierNumbers(metrics).map((numbers) => ({
    tier: numbers.tier,
    condition: numbers.condition,
    steered: numbers.steered,
    clean: numbers.clean,
    ...spread("balancedAccuracy", numbers.balancedAccuracy),
    ...spread("accuracy", numbers.accuracy),
    ...spread("hitRate", numbers.hitRate),
    ...spread("falseAlarmRate", numbers.falseAlarmRate),
    ...spread("dPrime", numbers.dPrime),
    ...spread("dPrimeClipped", numbers.dPrimeClipped),
    ...spread("auroc", numbers.auroc),
    ...spread("mass", numbers.mass),
  }));
  return tableOf(rows);
}

/**
 * Hit rate of every concept, over cells and contexts; intervals by topic, as the metrics have them.
 *
 * @returns a table with concept, category, n, hitRate, low, high, method; no rows where concepts were not asked
 * @example
 * showTable(conceptTable(sweep.metrics).orderby("hitRate"), { limit: 10 });
 */
export function conceptTable(metrics: readonly Metric[]): DataTable {
  const rows = metrics
    .filter(({ name, condition, group }) => name === "hitRate" && condition === "tuned" && "concept" in group)
    .map(({ group, n, value, low, high, method }) => ({
      concept: group.concept,
      category: group.category,
      n,
      hitRate: value,
      low,
      high,
      method,
    }));
  return tableOf(rows);
}
