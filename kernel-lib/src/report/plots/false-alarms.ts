/** False alarms of every question wording, with exact intervals: one unlucky wording can undo a good mean. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { axis, errorBars, figure, type PlotOptions, rateAxis, rateLine, WHO } from "./theme";

/** Rows without one false alarm, from which on they are drawn as one. */
const POOLED_FROM = 4;

interface Row extends Pick<Metric, "value" | "low" | "high"> {
  label: string;
}

/** Worst first; many rows without a false alarm say one thing, and are one row with the widest of their intervals. */
function rowsOf(metrics: readonly Metric[], by: string): Row[] {
  const sorted = [...metrics].sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const row = (metric: Metric): Row => ({ ...metric, label: `${metric.group[by]} (n ${metric.n})` });
  const none = sorted.filter(({ value }) => value === 0);
  if (none.length < POOLED_FROM) return sorted.map(row);
  const widest = none.reduce((worst, metric) => ((metric.high ?? 0) > (worst.high ?? 0) ? metric : worst));
  const ns = none.map(({ n }) => n);
  const [least, most] = [Math.min(...ns), Math.max(...ns)];
  const each = least === most ? `${least}` : `${least} to ${most}`;
  const some = sorted.filter(({ value }) => value !== 0).map(row);
  return [...some, { ...widest, label: `${none.length} ${some.length === 0 ? "" : "others "}(n ${each} each)` }];
}

/**
 * One row per wording or kind of context of a tier, worst on top; those without a false alarm together where they are many.
 * @param options.tier its name; @param options.aim drawn as a dotted line
 */
export function falseAlarmForest(
  metrics: readonly Metric[],
  options: PlotOptions & { tier: string; by?: "question" | "contextKind"; aim?: number | null },
): FigureJson {
  const { tier, by = "question", aim = null } = options;
  const { title = `False alarms by ${by === "question" ? "wording" : "kind of context"}` } = options;
  const found = findMetrics(metrics, { name: "falseAlarmRate", tier, condition: "tuned" });
  const rows = rowsOf(
    found.filter(({ group }) => by in group),
    by,
  );
  const data = [
    {
      type: "scatter",
      mode: "markers",
      x: rows.map((metric) => metric.value),
      y: rows.map(({ label }) => label),
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
