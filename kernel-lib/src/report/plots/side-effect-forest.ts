/** Forest plots of side effects: shift of P(Yes), P(No) and mass by category with intervals, and by question without. */
import { type FigureJson, formatNumber } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { axis, errorBars, figure, GREY, type PlotOptions, titleAbove, WHO } from "./theme";

const QUANTITIES = [
  { name: "deltaYes", label: "P(Yes)", symbol: "circle" },
  { name: "deltaNo", label: "P(No)", symbol: "square" },
  { name: "deltaMass", label: "mass", symbol: "diamond" },
] as const;

/** Conditions in words; the tuned model has one colour, every control another. */
const whoseColor = (condition: string): string => (condition === "tuned-base" ? WHO.tuned : WHO.control);
const minus = (condition: string): string => `${condition.replace("-base", "")} minus base`;

/** By category, one panel per quantity. `condition` may be a twin's; the A/A row is always drawn where measured. */
export function sideEffectForest(
  metrics: readonly Metric[],
  options: PlotOptions & { condition?: string } = {},
): FigureJson {
  const { condition = "tuned-base", title = `Side effects by category: ${minus(condition)}` } = options;
  const color = whoseColor(condition);
  const rows = QUANTITIES.map(({ name }) => {
    const noise = findMetrics(metrics, { name, condition: "base-again-base", group: {} }).map((metric) => ({
      metric,
      label: "A/A noise (base again)",
      color: WHO.base,
    }));
    const of = findMetrics(metrics, { name, condition }).filter(
      (metric) => "category" in metric.group && !("question" in metric.group),
    );
    return [...of.map((metric) => ({ metric, label: `${metric.group.category} (n ${metric.n})`, color })), ...noise];
  });
  const panel = (i: number): string => (i === 0 ? "" : String(i + 1));
  const data = QUANTITIES.map(({ label, symbol }, i) => ({
    type: "scatter",
    mode: "markers",
    name: label,
    xaxis: `x${panel(i)}`,
    x: rows[i].map(({ metric }) => metric.value),
    y: rows[i].map((row) => row.label),
    error_x: errorBars(
      rows[i].map(({ metric }) => metric),
      color,
    ),
    marker: { color: rows[i].map((row) => row.color), size: 8, symbol },
    showlegend: false,
    text: rows[i].map(({ metric }) =>
      metric.pAdjusted === null ? "" : `adjusted p ${formatNumber(metric.pAdjusted, 4)}`,
    ),
    hovertemplate: "%{y}: %{x:.3f} %{text}<extra></extra>",
  }));
  const domains = [
    [0, 0.31],
    [0.345, 0.655],
    [0.69, 1],
  ];
  const axes = Object.fromEntries(
    QUANTITIES.map(({ label }, i) => [
      `xaxis${panel(i)}`,
      axis(`change of ${label}`, { domain: domains[i], nticks: 4, zeroline: true, zerolinewidth: 2 }),
    ]),
  );
  return figure(title, data, {
    height: 170 + 30 * Math.max(1, rows[0].length),
    ...axes,
    yaxis: axis("", { type: "category", range: [rows[0].length - 0.4, -0.6] }),
    margin: { t: 56, r: 24, b: 56, l: 210 },
  });
}

/** By question: base and other as connected points are told by the shift alone, sorted within category. */
export function questionForest(
  metrics: readonly Metric[],
  options: PlotOptions & { condition?: string } = {},
): FigureJson {
  const { condition = "tuned-base", title = `Side effects by question: ${minus(condition)}` } = options;
  const of = findMetrics(metrics, { name: "deltaYes", condition }).filter((metric) => "question" in metric.group);
  const mass = new Map(
    findMetrics(metrics, { name: "deltaMass", condition }).map((metric) => [metric.group.question, metric.value]),
  );
  const questions = [...of].sort(
    (a, b) => String(a.group.category).localeCompare(String(b.group.category)) || (b.value ?? 0) - (a.value ?? 0),
  );
  const y = questions.map((metric) => String(metric.group.question));
  const data = [
    {
      type: "bar",
      orientation: "h",
      name: "P(Yes)",
      x: questions.map((metric) => metric.value),
      y,
      marker: { color: whoseColor(condition) },
      hovertemplate: "%{y}: %{x:.3f}<extra></extra>",
    },
    {
      type: "scatter",
      mode: "markers",
      name: "mass",
      x: questions.map((metric) => mass.get(metric.group.question) ?? null),
      y,
      marker: { color: GREY, symbol: "diamond", size: 6 },
      hovertemplate: "%{y}: mass %{x:.3f}<extra></extra>",
    },
  ];
  return figure(title, data, {
    title: titleAbove(title),
    height: 180 + 15 * questions.length,
    xaxis: axis("change of probability", { side: "top" }),
    // Every question has its label, and half a row of room at both ends.
    yaxis: axis("", { type: "category", range: [questions.length - 0.4, -0.6], dtick: 1, tickfont: { size: 10 } }),
    legend: { orientation: "h", y: 0, yanchor: "top" },
    margin: { t: 120, r: 24, b: 40, l: 170 },
  });
}
