/** False alarms of every question wording, with exact intervals: one unlucky wording can undo a good mean. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { axis, errorBars, figure, type PlotOptions, rateAxis, rateLine, WHO } from "./theme";

/**
 * One row per wording or kind of context of a tier, worst on top.
 * @param options.tier its name; @param options.aim drawn as a dotted line
 */
export function falseAlarmForest(
  metrics: readonly Metric[],
  options: PlotOptions & { tier: string; by?: "question" | "contextKind"; aim?: number | null },
): FigureJson {
  const { tier, by = "question", aim = null } = options;
  const { title = `False alarms by ${by === "question" ? "wording" : "kind of context"}` } = options;
  const rows = findMetrics(metrics, { name: "falseAlarmRate", tier, condition: "tuned" })
    .filter((metric) => by in metric.group)
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const data = [
    {
      type: "scatter",
      mode: "markers",
      x: rows.map((metric) => metric.value),
      y: rows.map((metric) => `${metric.group[by]} (n ${metric.n})`),
      error_x: errorBars(rows, WHO.tuned),
      marker: { color: WHO.tuned, size: 8 },
      showlegend: false,
      hovertemplate: "%{y}: %{x:.3f}<extra></extra>",
    },
  ];
  // Few false alarms would all stand on the left edge of a whole axis; never narrower than a tenth.
  const highest = Math.max(0, ...rows.map((metric) => metric.high ?? metric.value ?? 0), aim ?? 0);
  const end = highest > 0.5 ? 1.03 : Math.max(0.1, 1.1 * highest);
  return figure(title, data, {
    height: 150 + 24 * Math.max(2, rows.length),
    xaxis: rateAxis(`false-alarm rate${aim === null ? "" : `, aim ${aim} dotted`}`, { range: [-0.03 * end, end] }),
    // Half a row at both ends; plotly's own padding grows with the number of rows.
    yaxis: axis("", { type: "category", range: [rows.length - 0.4, -0.6] }),
    shapes: aim === null ? [] : [rateLine(aim, "up")],
    margin: { t: 56, r: 24, b: 56, l: 170 },
  });
}
