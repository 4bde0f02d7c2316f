/**
 * Side-effect records -> shifts with intervals: what training did to answers it was not meant to touch.
 *
 * A shift is tuned (or a twin) minus base on the same question: of P(Yes), P(No), mass and log-odds, never P(Yes) alone, since
 * a question whose mass is near zero cannot move (floor). Categories: questions resampled; sign-flip p, adjusted by
 * Benjamini-Hochberg. The A/A row is base minus base at another batch split: the numeric noise floor.
 */
import { random } from "../../base";
import type { Metric } from "../../runs";
import { benjaminiHochberg, pairedBootstrap, signFlipTest, wilson } from "../../stats";
import type { SideEffectRecord } from "./record";

const TIER = "side_effects";
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

/** All shifts: whole, by category and by question, for every condition that is not base. */
export function sideEffectMetrics(records: readonly SideEffectRecord[], seed = 0): Metric[] {
  const base = new Map(
    records.filter((record) => record.condition === "base").map((record) => [record.question, record]),
  );
  const conditions = [...new Set(records.map((record) => record.condition))].filter(
    (condition) => condition !== "base",
  );
  const metrics: Metric[] = [];
  for (const condition of conditions) {
    const pairs = records.flatMap((other): Pair[] => {
      const found = base.get(other.question);
      return other.condition === condition && found !== undefined ? [{ base: found, other }] : [];
    });
    const categories = [...new Set(pairs.map((pair) => pair.other.category))];
    metrics.push(...shifts(pairs, `${condition}-base`, {}, seed));
    for (const category of categories) {
      const of = pairs.filter((pair) => pair.other.category === category);
      metrics.push(
        ...shifts(of, `${condition}-base`, { category }, seed),
        flipRate(of, `${condition}-base`, { category }),
      );
    }
    metrics.push(
      flipRate(pairs, `${condition}-base`, {}),
      ...pairs.flatMap((pair) => perQuestion(pair, `${condition}-base`)),
    );
  }
  metrics.push(
    ...["base", ...conditions].flatMap((condition) =>
      factual(
        records.filter((record) => record.condition === condition),
        condition,
      ),
    ),
  );
  const adjusted = benjaminiHochberg(metrics.map((metric) => metric.p));
  return metrics.map((metric, i) => ({ ...metric, pAdjusted: adjusted[i] }));
}

function shifts(pairs: readonly Pair[], condition: string, group: Metric["group"], seed: number): Metric[] {
  return Object.entries(QUANTITIES).map(([name, quantity]) => {
    const known = pairs.filter((pair) => quantity(pair.other) !== null && quantity(pair.base) !== null);
    const after = known.map((pair) => quantity(pair.other) as number);
    const before = known.map((pair) => quantity(pair.base) as number);
    const stream = random(seed).fork(`${name} ${condition} ${JSON.stringify(group)}`);
    const estimate = pairedBootstrap(after, before, { random: stream, samples: 2000 });
    const isNoise = condition.startsWith("base-again");
    const test = isNoise ? null : signFlipTest(after, before, { random: stream, samples: 5000 });
    return {
      name,
      tier: TIER,
      condition,
      group,
      ...estimate,
      method: test === null ? estimate.method : `${estimate.method}; ${test.method}`,
      p: test?.p ?? null,
      pAdjusted: null,
    };
  });
}

function flipRate(pairs: readonly Pair[], condition: string, group: Metric["group"]): Metric {
  const flips = pairs.filter((pair) => pair.base.topToken !== pair.other.topToken).length;
  return { name: "topFlips", tier: TIER, condition, group, ...wilson(flips, pairs.length), p: null, pAdjusted: null };
}

function perQuestion({ base, other }: Pair, condition: string): Metric[] {
  return Object.entries(QUANTITIES).map(([name, quantity]) => ({
    name,
    tier: TIER,
    condition,
    group: { question: other.question, category: other.category },
    value: difference(quantity(other), quantity(base)),
    n: 1,
    low: null,
    high: null,
    method: "one deterministic question",
    p: null,
    pAdjusted: null,
  }));
}

function difference(after: number | null, before: number | null): number | null {
  return after === null || before === null ? null : after - before;
}

/** Share of questions the world settles that are answered right. */
function factual(records: readonly SideEffectRecord[], condition: string): Metric[] {
  const settled = records.filter((record) => record.expected !== null);
  if (settled.length === 0) return [];
  const right = settled.filter((record) => (record.yes > record.no ? "yes" : "no") === record.expected).length;
  return [
    {
      name: "factualAccuracy",
      tier: TIER,
      condition,
      group: {},
      ...wilson(right, settled.length),
      p: null,
      pAdjusted: null,
    },
  ];
}
