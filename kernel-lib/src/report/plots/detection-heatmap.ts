/** Hit rate of every layer range x strength cell, one small panel a tier: the mean over cells hides where the task is hard. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import type { TierView } from "../../study";
import { panelsFor, panelsHeight, panelTitle, sharedAxisTitle } from "./panels";
import { axis, figure, HEAT, type PlotOptions } from "./theme";

/** Cells of a tier: hit rates that are grouped by range and strength. */
function cellsOf(metrics: readonly Metric[], tier: string, condition: string): Metric[] {
  return findMetrics(metrics, { name: "hitRate", tier, condition }).filter(
    ({ group }) => "strength" in group && "range" in group,
  );
}

/**
 * Heatmaps of hit rates on one colour scale.
 * @param options.tiers as of `tierViews(protocol)`; those without steered trials are passed over
 */
export function detectionHeatmap(
  metrics: readonly Metric[],
  options: PlotOptions & { tiers: readonly TierView[]; condition?: string; unit?: string },
): FigureJson {
  const { title = "Hit rate by layer range and strength", tiers, condition = "tuned", unit = "strength" } = options;
  const shown = tiers.flatMap((tier) => {
    const cells = cellsOf(metrics, tier.name, condition);
    return cells.length === 0 ? [] : [{ tier, cells }];
  });
  const panels = panelsFor(shown.length);
  const data = shown.map(({ cells }, i) => ({
    ...grid(cells, shown.length === 1),
    xaxis: panels[i].x.trace,
    yaxis: panels[i].y.trace,
    colorscale: HEAT,
    zmin: 0,
    zmax: 1,
    showscale: i === 0,
    ...(i === 0 ? { colorbar: { title: { text: "hit rate" }, tickformat: ".0%" } } : {}),
  }));
  // Rows of one figure share the names of their layer ranges, unless a tier has ranges of its own.
  const usual = JSON.stringify(shown[0] === undefined ? [] : rangesOf(shown[0].cells));
  const axes = panels.flatMap(({ x, y, isLeft }, i): [string, object][] => {
    const names = rangesOf(shown[i].cells);
    const isOwn = JSON.stringify(names) !== usual;
    const showticklabels = isLeft || isOwn;
    // Between two panels there is room for short lines only.
    const own = {
      tickvals: names,
      ticktext: names.map((name) => name.replace(/[- ]/, "<br>")),
      tickfont: { size: 10 },
    };
    const ranges = {
      ...(isOwn && !isLeft ? own : {}),
      type: "category",
      autorange: "reversed",
      domain: y.domain,
      anchor: x.trace,
      showticklabels,
    };
    return [
      [x.layout, axis("", { type: "category", domain: x.domain, anchor: y.trace })],
      [y.layout, axis("", ranges)],
    ];
  });
  return figure(title, data, {
    height: shown.length === 1 ? 330 : panelsHeight(shown.length),
    ...Object.fromEntries(axes),
    annotations: [...shown.map(({ tier }, i) => panelTitle(panels[i], tier.title)), sharedAxisTitle(unit)],
    margin: { t: 96, r: 24, b: 72, l: 64 },
  });
}

const rangesOf = (cells: readonly Metric[]): string[] => [...new Set(cells.map(({ group }) => String(group.range)))];

function grid(cells: readonly Metric[], withN: boolean): object {
  const ranges = rangesOf(cells);
  const strengths = [...new Set(cells.map(({ group }) => Number(group.strength)))].sort((a, b) => a - b);
  const at = (range: string, strength: number): Metric | undefined =>
    cells.find(({ group }) => group.range === range && group.strength === strength);
  const label = (cell: Metric | undefined): string =>
    cell === undefined ? "" : `${cell.value?.toFixed(2) ?? ""}${withN ? `<br>n ${cell.n}` : ""}`; // two digits have room
  const rows = <T>(of: (cell: Metric | undefined) => T): T[][] =>
    ranges.map((range) => strengths.map((strength) => of(at(range, strength))));
  return {
    type: "heatmap",
    x: strengths.map(String),
    y: ranges,
    z: rows((cell) => cell?.value ?? null),
    text: rows(label),
    customdata: rows((cell) => cell?.n ?? 0),
    texttemplate: "%{text}",
    textfont: { size: withN ? 12 : 10 },
    xgap: 2,
    ygap: 2,
    hovertemplate: "%{y}, %{x}: %{z:.3f}, n %{customdata}<extra></extra>",
  };
}
