/**
 * Self-report records -> P(yes), mass and their changes, by category and form of asking, and over all categories by form.
 *
 * What the card calls P(As): total probability of the spellings of Yes as the first token. Questions are what was sampled: intervals
 * speak of new questions of a category, and fewer than 6 give a point without one. The card merges its two factual categories.
 */
import { random } from "../../base";
import { adjusted, type Metric, metricOf } from "../../runs";
import { clusteredMean, clusteredRate, differences, signFlipTest } from "../../stats";
import { groupBy } from "../detection/counts";
import type { SelfReportRecord } from "./record";

const TIER = "self_report";
const QUANTITIES = { Yes: "yes", No: "no", Mass: "mass" } as const;

/** Every metric of the records; p-values adjusted over all of them. */
export function selfReportMetrics(records: readonly SelfReportRecord[], seed = 0): Metric[] {
  const grouped = groupBy(
    records.flatMap((record) => categoriesOf(record).map((category) => ({ category, record }))),
    ({ category, record }) => JSON.stringify({ category, form: record.form }),
  );
  const metrics = [...grouped].flatMap(([key, of]) =>
    ofGroup(
      of.map(({ record }) => record),
      JSON.parse(key) as Metric["group"],
      seed,
    ),
  );
  const whole = [...groupBy(records, ({ form }) => form)].flatMap(([form, of]) => [
    ...ofGroup(of, { form }, seed),
    ...topTokenChanges(of, { form }),
  ]);
  return adjusted([...metrics, ...whole]);
}

function categoriesOf({ category }: SelfReportRecord): string[] {
  return category.startsWith("factual_") ? [category, "factual"] : [category];
}

function ofGroup(records: readonly SelfReportRecord[], group: Metric["group"], seed: number): Metric[] {
  const byCondition = groupBy(records, ({ condition }) => condition);
  const levels = [...byCondition].flatMap(([condition, of]) => {
    const question = of.map((record) => record.question);
    return Object.entries(QUANTITIES).map(([name, field]) => {
      const values = of.map((record) => record[field]);
      return metricOf(`p${name}`, TIER, condition, clusteredMean(values, { question }, { within: [0, 1] }), group);
    });
  });
  const pairs = pairsOf(records);
  if (pairs.length === 0) return levels;
  const question = pairs.map(([{ question: id }]) => id);
  const changes = Object.entries(QUANTITIES).map(([name, field]) => {
    const after = pairs.map(([tuned]) => tuned[field]);
    const before = pairs.map(([, base]) => base[field]);
    const estimate = clusteredMean(differences(after, before), { question });
    const stream = random(seed).fork(`${name} ${JSON.stringify(group)}`);
    const test = signFlipTest(after, before, { random: stream, samples: 5000 });
    const described = { ...estimate, method: `${estimate.method}; ${test.method}` };
    return metricOf(`delta${name}`, TIER, "tuned-base", described, group, test.p);
  });
  return [...levels, ...changes];
}

/** Questions whose likeliest first token is another one than the base's. */
function topTokenChanges(records: readonly SelfReportRecord[], group: Metric["group"]): Metric[] {
  const pairs = pairsOf(records);
  if (pairs.length === 0) return [];
  const changed = pairs.map(([tuned, base]) => tuned.topToken !== base.topToken);
  const question = pairs.map(([{ question: id }]) => id);
  return [metricOf("topTokenChanges", TIER, "tuned-base", clusteredRate(changed, { question }), group)];
}

/** Tuned and base records of the same question. */
function pairsOf(records: readonly SelfReportRecord[]): [SelfReportRecord, SelfReportRecord][] {
  const base = new Map(
    records.filter(({ condition }) => condition === "base").map((record) => [record.question, record]),
  );
  return records.flatMap((tuned): [SelfReportRecord, SelfReportRecord][] => {
    const before = base.get(tuned.question);
    return tuned.condition !== "tuned" || before === undefined ? [] : [[tuned, before]];
  });
}
