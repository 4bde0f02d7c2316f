/**
 * Aims of a protocol against what was measured, in words: where a figure falls short, the report says so from here.
 */
import { type AimResult, findMetrics, type Metric } from "../../runs";
import type { Aim } from "../../study";

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
  selectivity: "hit rate minus leaks to control questions on the same caches",
};

/** One result per aim. */
export function aimResults(aims: readonly Aim[], metrics: readonly Metric[]): AimResult[] {
  return aims.map((aim) => {
    const found = measured(aim, metrics);
    const { least, most, metric, tier } = aim;
    const value = found?.value ?? null;
    const reached = value === null ? null : (least === null || value >= least) && (most === null || value <= most);
    return {
      metric,
      tier,
      least,
      most,
      value,
      n: found?.n ?? 0,
      low: found?.low ?? null,
      high: found?.high ?? null,
      reached,
      text: sentence(aim, found, reached),
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
      return whole(tuned(metric));
    case "baselineBalancedAccuracy":
      return whole(findMetrics(metrics, { name: "balancedAccuracy", tier, condition: "base" }));
    case "worstWordingFalseAlarmRate":
      return most(
        known(tuned("falseAlarmRate").filter((item) => "question" in item.group)),
        (item) => item.value as number,
      );
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

function sentence({ metric, tier, least, most }: Aim, found: Metric | null, reached: boolean | null): string {
  const aim = [least === null ? "" : `at least ${least}`, most === null ? "" : `at most ${most}`]
    .filter((text) => text !== "")
    .join(" and ");
  const name = `${AIM_WORDS[metric] ?? metric} on ${tier}`;
  if (found === null || found.value === null) return `${name}: not measured (aim: ${aim}).`;
  const where = Object.entries(found.group)
    .map(([field, value]) => `${field} ${value}`)
    .join(", ");
  const interval =
    found.low === null || found.high === null ? "" : ` [${found.low.toFixed(3)}, ${found.high.toFixed(3)}]`;
  const value = `${found.value.toFixed(3)}${interval} (n ${found.n}${where === "" ? "" : `, ${where}`})`;
  return reached === true
    ? `${name}: ${value} reaches the aim of ${aim}.`
    : `${name}: ${value} falls short of the aim of ${aim}.`;
}
