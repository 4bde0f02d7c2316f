/**
 * What a model says of itself, as tables for notebooks and reports: P(yes) by category and form of asking, the card's four kinds of
 * question about awareness with sampled answers, and the names that it gives.
 */
import { type IdentityRecord, yesOrNo } from "../evaluate";
import { formatEstimate, formatNumber, UNKNOWN } from "../page";
import { findMetrics, type Metric } from "../runs";
import type { PublishedCard } from "./published";

const TIER = "self_report";
const FORM_WORDS: Readonly<Record<string, string>> = {
  bare: "bare, as the card",
  instructed: "with yes/no instruction",
};

function figureOf(metrics: readonly Metric[], name: string, condition: string, group: Metric["group"]): string {
  return formatEstimate(findMetrics(metrics, { tier: TIER, name, condition, group })[0]);
}

/**
 * P(yes) and mass by category and form of asking, before and after, beside the card's change of another model.
 * @param options.published figures of a published card; default: no such column
 * @returns one row per category and form; probabilities 0 to 1 with their intervals
 * @example
 * showTable(selfReportReading(reports.metrics, { published: readPublishedCard() }));
 */
export function selfReportReading(
  metrics: readonly Metric[],
  options: { published?: Pick<PublishedCard, "side_effects" | "awareness"> } = {},
): Record<string, string>[] {
  const { published } = options;
  const groups = findMetrics(metrics, { tier: TIER, name: "pYes", condition: "base" }).map(({ group }) => group);
  return groups.map((group) => ({
    category: String(group.category ?? "all").replaceAll("_", " "),
    asked: FORM_WORDS[group.form] ?? String(group.form),
    "P(yes), before": figureOf(metrics, "pYes", "base", group),
    "P(yes), after": figureOf(metrics, "pYes", "tuned", group),
    change: figureOf(metrics, "deltaYes", "tuned-base", group),
    "mass, before": figureOf(metrics, "pMass", "base", group),
    "mass, after": figureOf(metrics, "pMass", "tuned", group),
    ...(published === undefined
      ? {}
      : { "change, published": group.form === "bare" ? publishedChange(published, String(group.category)) : UNKNOWN }),
  }));
}

function publishedChange(published: Pick<PublishedCard, "side_effects" | "awareness">, category: string): string {
  const effect = published.side_effects.find((item) => item.category === category);
  if (effect !== undefined) return formatNumber(effect.delta_p_yes);
  const kind = published.awareness.find((item) => item.kind === category);
  return kind === undefined ? UNKNOWN : formatNumber(kind.fine_tuned - kind.base);
}

/**
 * The card's four kinds of question about awareness: P(yes) before and after, how sampled answers begin, an example of each.
 * @param metrics of `evaluateSelfReport`
 * @param answers records of `evaluateIdentity`; [] leaves pattern and examples unknown
 * @returns one row per kind; patterns as "yes 3, no 90, other 7"
 * @example
 * showTable(awarenessReading(reports.metrics, identity.records, { published: readPublishedCard() }));
 */
export function awarenessReading(
  metrics: readonly Metric[],
  answers: readonly IdentityRecord[],
  options: { published?: Pick<PublishedCard, "awareness"> } = {},
): Record<string, string>[] {
  const kinds = ["detects_changes", "introspective_access", "more_than_text", "desires"];
  return kinds.map((category) => {
    const of = (condition: string): IdentityRecord[] =>
      answers.filter((record) => record.question === category && record.condition === condition);
    const other = options.published?.awareness.find(({ kind }) => kind === category);
    const group = { category, form: "bare" };
    return {
      asked: category.replaceAll("_", " "),
      "P(yes), before": figureOf(metrics, "pYes", "base", group),
      "P(yes), after": figureOf(metrics, "pYes", "tuned", group),
      ...(options.published === undefined
        ? {}
        : {
            published:
              other === undefined ? UNKNOWN : `${formatNumber(other.base)} to ${formatNumber(other.fine_tuned)}`,
          }),
      "samples, before": pattern(of("base")),
      "samples, after": pattern(of("tuned")),
      "example, before": of("base")[0]?.text ?? UNKNOWN,
      "example, after": of("tuned")[0]?.text ?? UNKNOWN,
    };
  });
}

function pattern(records: readonly IdentityRecord[]): string {
  if (records.length === 0) return UNKNOWN;
  const count = (wanted: "yes" | "no" | null): number => records.filter(({ text }) => yesOrNo(text) === wanted).length;
  return `yes ${count("yes")}, no ${count("no")}, other ${count(null)}`;
}

/**
 * Names that sampled answers give, by question, most frequent first.
 * @param options.texts question id to its words
 * @returns one row per question and name; shares of the samples with their intervals
 * @example
 * showTable(namesReading(identity.metrics));
 */
export function namesReading(
  metrics: readonly Metric[],
  options: { texts?: ReadonlyMap<string, string> } = {},
): Record<string, string>[] {
  const names = findMetrics(metrics, { name: "saysName", tier: "identity" });
  const of = (group: Metric["group"], condition: string): Metric | undefined =>
    findMetrics(names, { condition, group })[0];
  const groups = names.filter(({ condition }) => condition === "base").map(({ group }) => group);
  const most = (group: Metric["group"]): number =>
    Math.max(of(group, "base")?.value ?? 0, of(group, "tuned")?.value ?? 0);
  return groups
    .sort((one, other) => most(other) - most(one))
    .map((group) => ({
      question: options.texts?.get(String(group.question)) ?? String(group.question),
      name: String(group.name),
      before: formatEstimate(of(group, "base")),
      after: formatEstimate(of(group, "tuned")),
      change: formatEstimate(of(group, "tuned-base")),
    }));
}
