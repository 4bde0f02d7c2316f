/**
 * Aims of a protocol against what was measured, in words: where a figure falls short, the report says so from here. The point
 * value decides the word, its interval how firmly (stats/verdict.ts).
 */
import { type AimResult, findMetrics, type Metric, quote } from "../runs";
import { type Verdict, verdict } from "../stats";
import type { Aim, TierView } from "../study";
import { ALL_TIERS } from "./detection/distinct";
import type { EvaluationKind } from "./records";

/**
 * What an aim's metric is called in sentences and tables.
 *
 * @example
 * const lines = sweep.aims.map((aim) => `${AIM_WORDS[aim.metric]}: ${quote(aim)}`);
 */
export const AIM_WORDS: Readonly<Record<string, string>> = {
  balancedAccuracy: "balanced accuracy",
  falseAlarmRate: "false-alarm rate",
  baselineBalancedAccuracy: "balanced accuracy before training",
  worstWordingFalseAlarmRate: "false-alarm rate of the worst wording",
  strongestHitRate: "hit rate at the strongest push",
  weakestHitRate: "hit rate at the weakest push",
  selectivity: "selectivity (effect of steering beyond that on control questions)",
  mass: "mean answer mass",
  answerFlips: "share of answers that turned",
  deltaYes: "mean change of P(yes)",
  onlyYesNo: "share of answers that are nothing but yes and no",
  chatDivergence: "KL from the base model per token, nats",
};

/** Evaluations that measure more than tiers; what is not named here is a figure of detection. */
const MEASURED_BY: Readonly<Partial<Record<Aim["metric"], EvaluationKind>>> = {
  answerFlips: "side-effects",
  deltaYes: "side-effects",
  onlyYesNo: "identity",
  chatDivergence: "chats",
};

/** What figures that are of no tier are about. */
const SUBJECTS: Readonly<Record<string, string>> = {
  [ALL_TIERS]: "All tiers, every trial once",
  side_effects: "Side-effect questions, single turns",
  identity: "Free answers about itself",
  chats: "Chats never trained on",
};

/**
 * What a figure is about, in words: a tier's title, or what else was asked.
 * @param tiers of the run's protocol (`tierViews`)
 * @returns the name itself where it is neither
 * @example
 * const about = sweep.aims.map((aim) => subjectOf(aim.tier, tierViews(protocol)));
 */
export function subjectOf(tier: string, tiers: readonly TierView[]): string {
  return tiers.find(({ name }) => name === tier)?.title ?? SUBJECTS[tier] ?? tier;
}

/** The aims that an evaluation of this kind can measure. */
export function aimsOf(aims: readonly Aim[], kind: EvaluationKind): Aim[] {
  return aims.filter(({ metric }) => (MEASURED_BY[metric] ?? "detection") === kind);
}

/** One result per aim. */
export function aimResults(aims: readonly Aim[], metrics: readonly Metric[]): AimResult[] {
  return aims.map((aim) => {
    const found = measured(aim, metrics);
    const { least, most, metric, tier } = aim;
    const { value, low, high, n } = found ?? { value: null, low: null, high: null, n: 0 };
    const said = verdict(aim, { value, low, high });
    return {
      metric,
      tier,
      least,
      most,
      value,
      n,
      low,
      high,
      reached: said === "not measured" ? null : said.startsWith("reached"),
      verdict: said,
      text: sentence(aim, found, said),
    };
  });
}

function measured({ metric, tier }: Aim, metrics: readonly Metric[]): Metric | null {
  const tuned = (name: string): Metric[] => findMetrics(metrics, { name, tier, condition: "tuned" });
  const whole = (list: Metric[]): Metric | null => list.find((item) => Object.keys(item.group).length === 0) ?? null;
  const known = (list: Metric[]): Metric[] => list.filter((item) => item.value !== null);
  switch (metric) {
    case "balancedAccuracy":
    case "falseAlarmRate":
    case "selectivity":
    case "mass":
    case "onlyYesNo":
    case "chatDivergence":
      return whole(tuned(metric));
    case "answerFlips":
    case "deltaYes":
      return whole(findMetrics(metrics, { name: metric, tier, condition: "tuned-base" }));
    case "baselineBalancedAccuracy":
      return whole(findMetrics(metrics, { name: "balancedAccuracy", tier, condition: "base" }));
    case "worstWordingFalseAlarmRate":
      return tuned(metric)[0] ?? null;
    case "strongestHitRate":
    case "weakestHitRate": {
      const strengths = known(tuned("hitRateOfStrength"));
      const sign = metric === "strongestHitRate" ? 1 : -1;
      return most(strengths, (item) => sign * (item.group.strength as number));
    }
  }
}

function most(list: Metric[], of: (item: Metric) => number): Metric | null {
  return list.reduce<Metric | null>((best, item) => (best === null || of(item) > of(best) ? item : best), null);
}

/** What follows the figure, for each verdict. */
const SAID: Readonly<Record<Exclude<Verdict, "not measured">, (aim: string) => string>> = {
  reached: (aim) => `reaches the aim of ${aim}`,
  "reached, but its interval goes past the aim": (aim) => `reaches the aim of ${aim}, but its interval goes past it`,
  "reached, without an interval": (aim) => `reaches the aim of ${aim}, with too few clusters for an interval`,
  missed: (aim) => `falls short of the aim of ${aim}`,
  "missed, but its interval reaches the aim": (aim) => `falls short of the aim of ${aim}, but its interval reaches it`,
  "missed, without an interval": (aim) => `falls short of the aim of ${aim}, with too few clusters for an interval`,
};

function sentence({ metric, tier, least, most }: Aim, found: Metric | null, said: Verdict): string {
  const aim = [least === null ? "" : `at least ${least}`, most === null ? "" : `at most ${most}`]
    .filter((text) => text !== "")
    .join(" and ");
  const name = `${AIM_WORDS[metric] ?? metric} on ${tier}`;
  if (found === null || said === "not measured") return `${name}: not measured (aim: ${aim}).`;
  const where = Object.entries(found.group)
    .map(([field, value]) => `${field} ${value}`)
    .join(", ");
  return `${name}: ${quote(found)}${where === "" ? "" : ` (${where})`} ${SAID[said](aim)}.`;
}
