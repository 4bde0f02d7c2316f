/** Detection by dose: hit rate at each strength over all layer ranges, one line a tier, so that tiers are compared at equal push. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import type { TierKind, TierView } from "../../study";
import { axis, errorBars, figure, GREY, KIND_COLORS, KIND_WORDS, type PlotOptions, rateAxis, rateLine } from "./theme";

/** A line of the figure. */
interface DoseLine {
  name: string;
  color: string;
  dash: string;
  points: { strength: number; metric: Metric }[];
}

/** Splits of vectors as metrics name them, as kinds of tiers. */
const KIND_OF: Readonly<Record<string, TierKind>> = {
  train: "trained",
  heldOut: "vectors",
  concepts: "concepts",
  matched: "matched",
};
const DASHES = ["solid", "dash", "dot", "dashdot"];

/** Pooled over tiers, one line for each split of vectors and number of steered layers; none in runs of older versions. */
function pooledLines(metrics: readonly Metric[], condition: string): DoseLine[] {
  const doses = findMetrics(metrics, { name: "hitRateOfDose", condition });
  const layers = [...new Set(doses.map(({ group }) => Number(group.layers)))].sort((a, b) => a - b);
  const keys = [...new Set(doses.map(({ group }) => `${group.vectors} ${group.layers}`))];
  return keys.map((key) => {
    const [vectors, count] = key.split(" ");
    const of = doses.filter(({ group }) => `${group.vectors} ${group.layers}` === key);
    const kind = KIND_OF[vectors];
    return {
      name: `${KIND_WORDS[kind] ?? vectors}, ${count} layers`,
      color: KIND_COLORS[kind] ?? GREY,
      dash: DASHES[layers.indexOf(Number(count)) % DASHES.length],
      points: of.map((metric) => ({ strength: Number(metric.group.relativeStrength), metric })),
    };
  });
}

function tierLines(metrics: readonly Metric[], tiers: readonly TierView[], condition: string): DoseLine[] {
  return tiers.map(({ name, title, kind }) => ({
    name: title,
    color: KIND_COLORS[kind],
    dash: "solid",
    points: findMetrics(metrics, { name: "hitRateOfStrength", tier: name, condition }).map((metric) => ({
      strength: Number(metric.group.strength),
      metric,
    })),
  }));
}

/**
 * Where the metrics have doses pooled over tiers, one line for each kind of vector and number of steered layers; else one
 * line per tier over the strengths that it asked; a point has all layer ranges of its strength in it.
 * @param options.tiers as of `tierViews(protocol)`
 * @param options.unit title of the strengths' axis, see `strengthTitle`
 */
export function doseCurves(
  metrics: readonly Metric[],
  options: PlotOptions & { tiers: readonly TierView[]; condition?: string; unit?: string },
): FigureJson {
  const { title = "Detection by dose", tiers, condition = "tuned", unit = "strength" } = options;
  const pooled = pooledLines(metrics, condition);
  const lines = (pooled.length > 0 ? pooled : tierLines(metrics, tiers, condition))
    .filter(({ points }) => points.length > 0)
    .map((line) => ({ ...line, points: [...line.points].sort((a, b) => a.strength - b.strength) }));
  const data = lines.map(({ name, color, dash, points }) => {
    const estimates = points.map(({ metric }) => metric);
    return {
      type: "scatter",
      mode: "lines+markers",
      name,
      x: points.map(({ strength }) => strength),
      y: estimates.map(({ value }) => value),
      error_y: errorBars(estimates, color),
      line: { color, width: 2, dash },
      marker: { color, size: 7 },
      text: points.map(({ strength, metric }) => `${strength}, n ${metric.n}`),
      hovertemplate: `${name}<br>%{text}: %{y:.3f}<extra></extra>`,
    };
  });
  const ticks = [...new Set(lines.flatMap(({ points }) => points.map(({ strength }) => strength)))].sort(
    (a, b) => a - b,
  );
  const axisTitle = pooled.length > 0 ? "length added / mean residual norm" : unit;
  return figure(title, data, {
    height: 470 + 18 * data.length,
    xaxis: axis(axisTitle, { type: "log", tickvals: ticks, ticktext: ticks.map(String) }),
    yaxis: rateAxis("share of steered trials noticed"),
    shapes: [rateLine(0.5, "across")],
    legend: { orientation: "v", y: -0.22, yanchor: "top", x: 0 },
  });
}
