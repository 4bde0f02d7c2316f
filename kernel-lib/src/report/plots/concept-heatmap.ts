/** All concepts x all cells, concepts grouped by category: which concepts, not only how many, are noticed. */
import { groupBy } from "../../evaluate";
import type { FigureJson } from "../../page";
import type { TrialRecord } from "../../study";
import { axis, figure, HEAT, type PlotOptions, titleAbove } from "./theme";

const ROW_HEIGHT = 13;

/** Heatmap of hit rates, one row per concept, one column per range and strength, one band per category. */
export function conceptHeatmap(records: readonly TrialRecord[], options: PlotOptions = {}): FigureJson {
  const { title = "Concepts: detection rate by cell" } = options;
  const steered = records.filter(
    (record) => record.vectorSplit === "concepts" && record.target === "steered" && record.condition === "tuned",
  );
  const cells = new Map<string, { range: string; strength: number; start: number }>();
  for (const { range, strength, layerStart } of steered)
    cells.set(`${range} ${strength}`, {
      range: range as string,
      strength: strength as number,
      start: layerStart as number,
    });
  const columns = [...cells].sort(([, a], [, b]) => a.start - b.start || a.strength - b.strength).map(([key]) => key);
  const byConcept = groupBy(steered, (record) => record.vector as string);
  const categories = [...new Set(steered.map((record) => record.category ?? "none"))];
  const rows = categories.flatMap((category) =>
    [...byConcept].filter(([, of]) => (of[0].category ?? "none") === category),
  );
  const rate = (of: readonly TrialRecord[], column: string): number | null => {
    const cell = of.filter((record) => `${record.range} ${record.strength}` === column);
    return cell.length === 0 ? null : cell.filter((record) => record.saysSteered).length / cell.length;
  };
  const data = [
    {
      type: "heatmap",
      x: columns,
      y: [rows.map(([, of]) => of[0].category ?? "none"), rows.map(([concept]) => concept)],
      z: rows.map(([, of]) => columns.map((column) => rate(of, column))),
      colorscale: HEAT,
      zmin: 0,
      zmax: 1,
      xgap: 1,
      colorbar: { title: { text: "hit rate" }, tickformat: ".0%", lenmode: "pixels", len: 220, y: 1, yanchor: "top" },
      hovertemplate: "%{y}, %{x}: %{z:.2f}<extra></extra>",
    },
  ];
  return figure(title, data, {
    title: titleAbove(title),
    height: 220 + ROW_HEIGHT * rows.length,
    xaxis: axis("layer range and strength", { type: "category", side: "top", tickangle: -45 }),
    yaxis: axis("concept", { type: "multicategory", autorange: "reversed", tickfont: { size: 9 } }),
    margin: { t: 170, r: 24, b: 24, l: 150 },
  });
}
