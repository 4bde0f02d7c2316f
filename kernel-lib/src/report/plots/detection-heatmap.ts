/** Detection rate of every layer range x strength cell: the mean over cells hides where the task is hard. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { axis, figure, HEAT, shown } from "./theme";

/** Heatmap of hit rates with rate and n in each cell. */
export function detectionHeatmap(
  metrics: readonly Metric[],
  tier: string,
  options: { condition?: string; title?: string; unit?: string } = {},
): FigureJson {
  const { condition = "tuned", title = `Detection rate: ${tier}, ${condition}`, unit = "strength" } = options;
  const cells = findMetrics(metrics, { name: "hitRate", tier, condition }).filter(
    (metric) => "strength" in metric.group,
  );
  const ranges = [...new Set(cells.map((cell) => String(cell.group.range)))];
  const strengths = [...new Set(cells.map((cell) => Number(cell.group.strength)))].sort((a, b) => a - b);
  const at = (range: string, strength: number): Metric | undefined =>
    cells.find((cell) => cell.group.range === range && cell.group.strength === strength);
  const text = ranges.map((range) =>
    strengths.map((strength) => {
      const cell = at(range, strength);
      return cell === undefined ? "" : `${shown(cell.value)}<br>n ${cell.n}`;
    }),
  );
  const data = [
    {
      type: "heatmap",
      x: strengths.map(String),
      y: ranges,
      z: ranges.map((range) => strengths.map((strength) => at(range, strength)?.value ?? null)),
      text,
      texttemplate: "%{text}",
      colorscale: HEAT,
      zmin: 0,
      zmax: 1,
      xgap: 2,
      ygap: 2,
      colorbar: { title: { text: "hit rate" }, tickformat: ".0%" },
      hovertemplate: "%{y}, %{x}: %{z:.3f}<extra></extra>",
    },
  ];
  return figure(title, data, {
    height: 130 + 70 * Math.max(2, ranges.length),
    xaxis: axis(unit, { type: "category" }),
    yaxis: axis("layer range", { type: "category", autorange: "reversed" }),
  });
}
