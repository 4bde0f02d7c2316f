/** Concepts in a report: how many are noticed, which least, and every one by cell. */
import { formatNumber } from "../page";
import { findMetrics, type Metric } from "../runs";
import type { TierView } from "../study";
import { type FigureList, fold, paragraph, quoted, table } from "./html";
import type { LoadedRun } from "./load";
import { conceptHeatmap } from "./plots/concept-heatmap";
import { askedTier } from "./plots/published";
import type { PublishedCard } from "./published";
import { strengthTitle } from "./plots/theme";
import { conceptTable } from "./tables";

const LEAST = 10;

interface ConceptRow {
  concept: string;
  category: string;
  n: number;
  hitRate: number;
  low: number | null;
  high: number | null;
  method: string;
}

/** The strength at which half of a concept's trials are noticed, the least noticed concepts first. */
function thresholds({ metrics, protocol }: LoadedRun, tiers: ReadonlySet<string>): string[] {
  const of = findMetrics(metrics, { name: "threshold", condition: "tuned" }).filter(
    ({ tier, group }) => tiers.has(tier) && "concept" in group,
  );
  if (of.length === 0) return [];
  // What lies beyond the strengths asked has no number: an end of it that is open stands for it.
  const place = ({ value, low, high, text }: Metric): number =>
    value ??
    (text?.startsWith("above") ? Number.POSITIVE_INFINITY : text?.startsWith("below") ? 0 : (low ?? high ?? 0));
  const rows = [...of].sort((one, other) => (place(one) === place(other) ? 0 : place(other) - place(one)));
  const unit = protocol === null ? "strength" : strengthTitle(protocol);
  const caption = `${unit}, all layer ranges together, n trials of each; intervals: topics resampled. Above and below: outside the strengths asked, a bound and no estimate; between: a jump from never to always, a bound on both sides.`;
  const body = rows.map((metric) => [String(metric.group.concept), String(metric.group.category), quoted(metric)]);
  return [
    fold("Threshold of every concept", table(["concept", "category", "noticed in half of the trials"], body, caption)),
  ];
}

/** The section; none where no tier steers with concept vectors. */
export function conceptSection(
  run: LoadedRun,
  tiers: readonly TierView[],
  source: string,
  published: PublishedCard,
  figures: FigureList,
): string[] {
  const rows = conceptTable(run.metrics).objects() as unknown as ConceptRow[];
  if (rows.length === 0) return [];
  const perfect = rows.filter(({ hitRate }) => hitRate === 1).length;
  const n = rows.reduce((sum, row) => sum + row.n, 0);
  const random = askedTier({ metrics: run.metrics, tiers }, "vectors");
  const matched =
    random === null
      ? undefined
      : findMetrics(run.metrics, { name: "hitRate", tier: random.name, condition: "tuned", group: {} })[0];
  const beside =
    matched === undefined ? "" : ` New random vectors of equal norm, for comparison: ${quoted(matched).text}.`;
  const names = new Set(tiers.filter(({ spec }) => spec.vectors === "concepts").map(({ name }) => name));
  const categories = findMetrics(run.metrics, { name: "hitRate", condition: "tuned" }).filter(
    ({ tier, group }) => names.has(tier) && "category" in group && !("concept" in group),
  );
  const shown = (of: readonly ConceptRow[]): string =>
    table(
      ["concept", "category", "hit rate"],
      of.map((row) => [row.concept, row.category, quoted({ ...row, value: row.hitRate })]),
    );
  const weakest = [...rows].sort((a, b) => a.hitRate - b.hitRate);
  return [
    "<h3>Concepts</h3>",
    paragraph(`${rows.length} concepts, ${perfect} noticed in every trial.${beside}`),
    ...breakdown(run, names, published),
    table(
      ["category", "hit rate"],
      categories.map((metric) => [String(metric.group.category), quoted(metric)]),
    ),
    ...least(weakest, shown),
    fold("Every concept", shown(weakest)),
    ...thresholds(run, names),
    figures.add(
      conceptHeatmap(run.records),
      `Every concept by layer range and strength, grouped by category; n ${n} steered trials, hit rates without intervals.`,
      source,
      "screen",
    ),
  ];
}

/** The concepts that are noticed least; where more of them are equal than a list holds, how many, and no list that chance chose. */
function least(weakest: readonly ConceptRow[], shown: (of: readonly ConceptRow[]) => string): string[] {
  const [{ hitRate: lowest }] = weakest;
  const cut = Math.min(1, weakest[LEAST]?.hitRate ?? 1);
  const below = weakest.filter(({ hitRate }) => hitRate < cut);
  if (lowest === 1) return [];
  if (below.length > 0) return [paragraph("The least noticed:"), shown(below)];
  const equal = weakest.filter(({ hitRate }) => hitRate === lowest).length;
  return [paragraph(`None stands out: ${equal} are noticed least, each in ${formatNumber(lowest)} of its trials.`)];
}

/** Over all concepts, by strength and by layer range, beside the published card's figures of the same cuts. */
function breakdown(run: LoadedRun, tiers: ReadonlySet<string>, published: PublishedCard): string[] {
  const cuts = [
    { name: "hitRateOfStrength", by: "strength", key: (value: string) => `magnitude_${value}` },
    { name: "hitRateOfRange", by: "range", key: (value: string) => value },
  ];
  const isAbsolute = run.protocol?.steering.unit === "absolute";
  const rows = cuts.flatMap(({ name, by, key }) =>
    findMetrics(run.metrics, { name, condition: "tuned" })
      .filter(({ tier }) => tiers.has(tier))
      .map((metric) => {
        const value = String(metric.group[by]);
        // A relative strength of 5 would be another push than a magnitude of 5.
        const other = by === "range" || isAbsolute ? published.concept_breakdown[key(value)] : undefined;
        return [`${by === "range" ? "layers" : by} ${value}`, quoted(metric), formatNumber(other)];
      }),
  );
  const caption = `All concepts together. The last column is another model's (${published.model}), without intervals.`;
  return rows.length === 0 ? [] : [table(["steered at", "hit rate", "published card"], rows, caption)];
}
