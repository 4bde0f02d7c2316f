/** Detection by dose: hit rate at each strength over all layer ranges, one line a tier, so that tiers are compared at equal push. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import type { TierView } from "../../study";
import { axis, errorBars, figure, KIND_COLORS, type PlotOptions, rateAxis, rateLine } from "./theme";

/**
 * One line per tier over the strengths that it asked; a point has all layer ranges of its strength in it.
 * @param options.tiers as of `tierViews(protocol)`
 * @param options.unit title of the strengths' axis, see `strengthTitle`
 */
export function doseCurves(
  metrics: readonly Metric[],
  options: PlotOptions & { tiers: readonly TierView[]; condition?: string; unit?: string },
): FigureJson {
  const { title = "Detection by dose", tiers, condition = "tuned", unit = "strength" } = options;
  const series = tiers.flatMap((tier) => {
    const points = findMetrics(metrics, { name: "hitRateOfStrength", tier: tier.name, condition }).sort(
      (a, b) => Number(a.group.strength) - Number(b.group.strength),
    );
    return points.length === 0 ? [] : [{ tier, points }];
  });
  const data = series.map(({ tier, points }) => {
    const color = KIND_COLORS[tier.kind];
    return {
      type: "scatter",
      mode: "lines+markers",
      name: tier.title,
      x: points.map(({ group }) => Number(group.strength)),
      y: points.map(({ value }) => value),
      error_y: errorBars(points, color),
      line: { color, width: 2 },
      marker: { color, size: 7 },
      text: points.map(({ group, n }) => `${group.strength}, n ${n}`),
      hovertemplate: `${tier.title}<br>%{text}: %{y:.3f}<extra></extra>`,
    };
  });
  const ticks = [...new Set(series.flatMap(({ points }) => points.map(({ group }) => Number(group.strength))))].sort(
    (a, b) => a - b,
  );
  return figure(title, data, {
    height: 470 + 18 * data.length,
    xaxis: axis(unit, { type: "log", tickvals: ticks, ticktext: ticks.map(String) }),
    yaxis: rateAxis("share of steered trials noticed"),
    shapes: [rateLine(0.5, "across")],
    legend: { orientation: "v", y: -0.22, yanchor: "top", x: 0 },
  });
}
