/**
 * Side-effect records -> what training did to answers it was not meant to touch: first how many changed, then how far they moved.
 *
 * Tuned (or a twin) against base on the same questions. An answer is the larger of P(Yes) and P(No); `answerFlips` counts answers
 * that changed, `spellingChanges` likeliest tokens that changed while the answer stayed. Shifts are of P(Yes), P(No), mass and
 * log-odds, never P(Yes) alone, since a question whose mass is near zero cannot move (floor). Questions are what was sampled.
 * Noise: the A/A row is base minus base at another batch split, zero on a deterministic engine; `seedNoise` is how far P(Yes)
 * moves among adapters that were trained without steering, from other seeds.
 */
import { random } from "../../base";
import { adjusted, type Metric, metricOf } from "../../runs";
import { clusteredMean, clusteredRate, differences, noiseFloor, signFlipTest } from "../../stats";
import type { SideEffectRecord } from "./record";

const TIER = "side_effects";
/** Twins of this name are trainings that saw no steering; their differences are noise. */
const NO_STEER = "no-steer";
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

/** All changes and shifts: whole, by category and by question, for every condition that is not base. */
export function sideEffectMetrics(records: readonly SideEffectRecord[], seed = 0): Metric[] {
  const base = new Map(
    records.filter((record) => record.condition === "base").map((record) => [record.question, record]),
  );
  const conditions = [...new Set(records.map((record) => record.condition))];
  const metrics = conditions.flatMap((condition) => answers(records, condition));
  for (const condition of conditions.filter((name) => name !== "base")) {
    const pairs = records.flatMap((other): Pair[] => {
      const found = base.get(other.question);
      return other.condition === condition && found !== undefined ? [{ base: found, other }] : [];
    });
    const categories = [...new Set(pairs.map((pair) => pair.other.category))];
    const groups = [
      { group: {}, of: pairs },
      ...categories.map((category) => ({
        group: { category },
        of: pairs.filter((pair) => pair.other.category === category),
      })),
    ];
    const name = `${condition}-base`;
    metrics.push(
      ...groups.flatMap(({ group, of }) => changes(of, name, group)),
      ...groups.flatMap(({ group, of }) => shifts(of, name, group, seed)),
      ...pairs.flatMap((pair) => perQuestion(pair, name)),
    );
  }
  return adjusted([...metrics, ...seedNoise(records)]);
}

/** Standard deviation of P(Yes) of one question among no-steer trainings; nothing below two of them. */
function seedNoise(records: readonly SideEffectRecord[]): Metric[] {
  const seeds = records.filter((record) => record.condition.startsWith(NO_STEER));
  if (new Set(seeds.map((record) => record.condition)).size < 2) return [];
  const questions = [...new Set(seeds.map((record) => record.question))];
  const repeats = questions.map((question) =>
    seeds.filter((record) => record.question === question).map((record) => record.yes),
  );
  return [metricOf("seedNoise", TIER, NO_STEER, noiseFloor(repeats))];
}

function changes(pairs: readonly Pair[], condition: string, group: Metric["group"]): Metric[] {
  const question = pairs.map((pair) => pair.other.question);
  return Object.entries(CHANGES).map(([name, changed]) =>
    metricOf(name, TIER, condition, clusteredRate(pairs.map(changed), { question }), group),
  );
}

function shifts(pairs: readonly Pair[], condition: string, group: Metric["group"], seed: number): Metric[] {
  return Object.entries(QUANTITIES).map(([name, quantity]) => {
    const known = pairs.filter((pair) => quantity(pair.other) !== null && quantity(pair.base) !== null);
    const after = known.map((pair) => quantity(pair.other) as number);
    const before = known.map((pair) => quantity(pair.base) as number);
    const question = known.map((pair) => pair.other.question);
    const estimate = clusteredMean(differences(after, before), { question });
    if (condition.startsWith("base-again")) return metricOf(name, TIER, condition, estimate, group);
    const stream = random(seed).fork(`${name} ${condition} ${JSON.stringify(group)}`);
    const test = signFlipTest(after, before, { random: stream, samples: 5000 });
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
function answers(records: readonly SideEffectRecord[], condition: string): Metric[] {
  const asked = records.filter((record) => record.condition === condition);
  const settled = asked.filter((record) => record.expected !== null);
  const rate = (name: string, of: readonly SideEffectRecord[], is: (record: SideEffectRecord) => boolean): Metric =>
    metricOf(name, TIER, condition, clusteredRate(of.map(is), { question: of.map((record) => record.question) }));
  return [
    rate("saysYes", asked, (record) => answerOf(record) === "yes"),
    ...(settled.length === 0
      ? []
      : [rate("factualAccuracy", settled, (record) => answerOf(record) === record.expected)]),
  ];
}
