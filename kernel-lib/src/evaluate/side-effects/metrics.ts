/**
 * Side-effect records -> what training did to answers it was not meant to touch: first how many changed, then how far they moved.
 *
 * Tuned (or a twin) against base on the same questions. An answer is the larger of P(Yes) and P(No); `answerFlips` counts answers
 * that changed, `spellingChanges` likeliest tokens that changed while the answer stayed. Shifts are of P(Yes), P(No), mass and
 * log-odds, never P(Yes) alone, since a question whose mass is near zero cannot move (floor). Questions are what was sampled; on
 * caches, contexts too. Figures without a `format` in their group are of single turns.
 * Noise: the A/A row is base minus base at another batch split, zero on a deterministic engine. `reworded-base` is the base asked in
 * other words minus the base: the floor under every change. `wordingNoise` and `seedNoise` are how far P(Yes) of one question moves
 * among its wordings, and among adapters that were trained without steering, from other seeds.
 */
import { random } from "../../base";
import { adjusted, type Metric, metricOf } from "../../runs";
import {
  type ClusterAxes,
  clusteredMean,
  clusteredMeanTest,
  clusteredRate,
  differences,
  noiseFloor,
  signFlipTest,
} from "../../stats";
import { groupBy } from "../detection/counts";
import { NOISE, REWORDED } from "./plan";
import { type SideEffectRecord, singleTurns } from "./record";

const TIER = "side_effects";
/** Twins of this name are trainings that saw no steering; their differences are noise. */
const NO_STEER = "no-steer";
/** Base against base: nothing is claimed, so nothing is tested. */
const UNTESTED: readonly string[] = [`${NOISE}-base`, `${REWORDED}-base`];
/** Quantities that shift, by name. */
const QUANTITIES = {
  deltaYes: (record: SideEffectRecord): number => record.yes,
  deltaNo: (record: SideEffectRecord): number => record.no,
  deltaMass: (record: SideEffectRecord): number => record.mass,
  deltaLogOdds: (record: SideEffectRecord): number | null => record.logOdds,
};

interface Pair {
  base: SideEffectRecord;
  other: SideEffectRecord;
}

const answerOf = ({ yes, no }: SideEffectRecord): "yes" | "no" => (yes > no ? "yes" : "no");
const changesAnswer = ({ base, other }: Pair): boolean => answerOf(base) !== answerOf(other);
const changesToken = ({ base, other }: Pair): boolean => base.topToken !== other.topToken;
/** What of a question may change, by name. */
const CHANGES: Readonly<Record<string, (pair: Pair) => boolean>> = {
  answerFlips: changesAnswer,
  answerFlipsToYes: (pair) => changesAnswer(pair) && answerOf(pair.other) === "yes",
  answerFlipsToNo: (pair) => changesAnswer(pair) && answerOf(pair.other) === "no",
  spellingChanges: (pair) => changesToken(pair) && !changesAnswer(pair),
  topFlips: changesToken,
};

/** All changes and shifts: whole, by category and by question, and whole for each format, for every condition that is not base. */
export function sideEffectMetrics(records: readonly SideEffectRecord[], seed = 0): Metric[] {
  const single = singleTurns(records);
  const others = [...groupBy(records, ({ format }) => format ?? "single-turn")].filter(
    ([name]) => name !== "single-turn",
  );
  return adjusted([
    ...ofFormat(single, {}, seed),
    ...others.flatMap(([format, of]) => ofFormat(of, { format }, seed)),
    ...wordingNoise(single),
    ...seedNoise(single),
  ]);
}

/** @param format {} for single turns, which are told by category and question too */
function ofFormat(records: readonly SideEffectRecord[], format: Metric["group"], seed: number): Metric[] {
  const keyOf = ({ question, context }: SideEffectRecord): string => JSON.stringify([question, context ?? null]);
  const conditions = groupBy(records, ({ condition }) => condition);
  const base = new Map((conditions.get("base") ?? []).map((record) => [keyOf(record), record]));
  const metrics = [...conditions].flatMap(([condition, of]) => answers(of, condition, format));
  for (const [condition, of] of conditions) {
    if (condition === "base") continue;
    const pairs = of.flatMap((other): Pair[] => {
      const found = base.get(keyOf(other));
      return found === undefined ? [] : [{ base: found, other }];
    });
    const isWhole = "format" in format || condition === REWORDED;
    const categories = isWhole ? [] : [...groupBy(pairs, ({ other }) => other.category)];
    const groups = [
      { group: format, of: pairs },
      ...categories.map(([category, some]) => ({ group: { category }, of: some })),
    ];
    const name = `${condition}-base`;
    metrics.push(
      ...groups.flatMap(({ group, of: some }) => changes(some, name, group)),
      ...groups.flatMap(({ group, of: some }) => shifts(some, name, group, seed)),
      moved(pairs, name, format),
      ...(isWhole ? [] : pairs.flatMap((pair) => perQuestion(pair, name))),
    );
  }
  return metrics;
}

/** What was sampled: questions, and contexts where they were asked on caches. */
function axesOf(records: readonly SideEffectRecord[]): ClusterAxes {
  const question = records.map((record) => record.question);
  const context = records.map((record) => record.context ?? null);
  return context.every((one) => one === null) ? { question } : { question, topic: context };
}

const otherOf = (pairs: readonly Pair[]): SideEffectRecord[] => pairs.map(({ other }) => other);

/** Standard deviation of P(Yes) of one question among its wordings, base model. */
function wordingNoise(records: readonly SideEffectRecord[]): Metric[] {
  const asked = records.filter(({ condition }) => condition === "base" || condition === REWORDED);
  if (asked.every(({ condition }) => condition === "base")) return [];
  const repeats = [...groupBy(asked, ({ question }) => question).values()].map((of) => of.map(({ yes }) => yes));
  return [metricOf("wordingNoise", TIER, "base", noiseFloor(repeats))];
}

/**
 * Standard deviation of P(Yes) of one question among no-steer trainings, single turns; nothing below two of them. A seed may move all
 * questions alike, so seeds are what was sampled, and a few of them give no interval.
 */
export function seedNoise(records: readonly SideEffectRecord[]): Metric[] {
  const seeds = singleTurns(records).filter(({ condition }) => condition.startsWith(NO_STEER));
  const count = new Set(seeds.map(({ condition }) => condition)).size;
  if (count < 2) return [];
  const repeats = [...groupBy(seeds, ({ question }) => question).values()].map((of) => of.map(({ yes }) => yes));
  const { value, n, items } = noiseFloor(repeats);
  const method = `standard deviation among ${count} seeds, pooled within ${items} questions; no interval, seeds are what was sampled`;
  return [metricOf("seedNoise", TIER, NO_STEER, { value, n, low: null, high: null, method })];
}

function changes(pairs: readonly Pair[], condition: string, group: Metric["group"]): Metric[] {
  const axes = axesOf(otherOf(pairs));
  return Object.entries(CHANGES).map(([name, changed]) =>
    metricOf(name, TIER, condition, clusteredRate(pairs.map(changed), axes), group),
  );
}

/** Mean of |P(Yes) - P(Yes) of base|: what moved, up or down. */
function moved(pairs: readonly Pair[], condition: string, group: Metric["group"]): Metric {
  const sizes = pairs.map(({ base, other }) => Math.abs(other.yes - base.yes));
  return metricOf("movedYes", TIER, condition, clusteredMean(sizes, axesOf(otherOf(pairs))), group);
}

function shifts(pairs: readonly Pair[], condition: string, group: Metric["group"], seed: number): Metric[] {
  return Object.entries(QUANTITIES).map(([name, quantity]) => {
    const known = pairs.filter((pair) => quantity(pair.other) !== null && quantity(pair.base) !== null);
    const after = known.map((pair) => quantity(pair.other) as number);
    const before = known.map((pair) => quantity(pair.base) as number);
    const axes = axesOf(otherOf(known));
    const change = differences(after, before);
    const estimate = clusteredMean(change, axes);
    if (UNTESTED.includes(condition)) return metricOf(name, TIER, condition, estimate, group);
    const stream = random(seed).fork(`${name} ${condition} ${JSON.stringify(group)}`);
    // Signs of whole questions may flip; where questions meet contexts they may not.
    const test =
      "topic" in axes
        ? clusteredMeanTest(change, axes)
        : signFlipTest(after, before, { random: stream, samples: 5000 });
    const described = { ...estimate, method: `${estimate.method}; ${test.method}` };
    return metricOf(name, TIER, condition, described, group, test.p);
  });
}

function perQuestion({ base, other }: Pair, condition: string): Metric[] {
  const group = { question: other.question, category: other.category };
  return Object.entries(QUANTITIES).map(([name, quantity]) => {
    const value = difference(quantity(other), quantity(base));
    const method = "one deterministic question";
    return metricOf(name, TIER, condition, { value, n: 1, low: null, high: null, method }, group);
  });
}

function difference(after: number | null, before: number | null): number | null {
  return after === null || before === null ? null : after - before;
}

/** Share of yes among all questions, and of right answers among those that the world settles. */
function answers(asked: readonly SideEffectRecord[], condition: string, group: Metric["group"]): Metric[] {
  const settled = asked.filter((record) => record.expected !== null);
  const rate = (name: string, of: readonly SideEffectRecord[], is: (record: SideEffectRecord) => boolean): Metric =>
    metricOf(name, TIER, condition, clusteredRate(of.map(is), axesOf(of)), group);
  return [
    rate("saysYes", asked, (record) => answerOf(record) === "yes"),
    ...(settled.length === 0
      ? []
      : [rate("factualAccuracy", settled, (record) => answerOf(record) === record.expected)]),
  ];
}
