/** Psychometric curves: detection rate by strength for each layer range, with the fitted logistic; one small panel a tier. */
import type { PsychometricCurve } from "../../evaluate";
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import type { TierView } from "../../study";
import { type Panel, panelsFor, panelsHeight, panelTitle, sharedAxisTitle } from "./panels";
import { axis, errorBars, figure, GREY, layerColor, type PlotOptions, rateAxis } from "./theme";

const CURVE_POINTS = 60;
/** Points of neighbouring curves stand this factor apart, so that equal rates stay visible. */
const NUDGE = 1.035;
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star"];

/**
 * Points and, where a fit exists, its curve: guess + (1 - guess) * logistic(a + b ln strength).
 * @param curves of one or several tiers, as of `psychometricCurves`
 * @param options.metrics of the same run: each point gets the interval of its cell; without them points have none
 * @param options.tiers titles and order of the panels; default: the tiers of the curves, by name
 * @returns a plotly figure for `showFigure`
 * @example
 * await showFigure(psychometricPlot(psychometricCurves(sweep.records), { metrics: sweep.metrics, tiers: tierViews(protocol) }));
 */
export function psychometricPlot(
  curves: readonly PsychometricCurve[],
  options: PlotOptions & { metrics?: readonly Metric[]; tiers?: readonly TierView[]; unit?: string } = {},
): FigureJson {
  const { title = "Psychometric curves", unit = "strength", metrics = [] } = options;
  const names = [...new Set(curves.map(({ tier }) => tier))];
  const titles = options.tiers ?? names.map((name) => ({ name, title: name === "" ? "" : name }));
  const shown = titles.flatMap((tier) => {
    const of = curves.filter((curve) => curve.tier === tier.name && curve.points.length > 0);
    return of.length === 0 ? [] : [{ tier, of }];
  });
  const panels = panelsFor(shown.length);
  const named = new Set<string>();
  const data = shown.flatMap(({ of }, i) =>
    of.flatMap((curve, j) => {
      const isNew = !named.has(curve.range);
      named.add(curve.range);
      return traces(curve, intervalsOf(curve, metrics), j, of.length, panels[i], isNew);
    }),
  );
  const axes = panels.flatMap(({ x, y, isLeft }, i): [string, object][] => {
    const points = shown[i].of.flatMap((curve) => curve.points.map(({ strength }) => strength));
    const ticks = [...new Set(points)].sort((a, b) => a - b);
    const strengths = {
      type: "log",
      tickvals: ticks,
      ticktext: ticks.map(String),
      tickangle: shown.length > 1 ? -45 : 0,
    };
    return [
      [x.layout, axis("", { ...strengths, domain: x.domain, anchor: y.trace })],
      [y.layout, rateAxis(isLeft ? "detection rate" : "", { domain: y.domain, anchor: x.trace })],
    ];
  });
  return figure(title, data, {
    height: shown.length < 2 ? 440 : panelsHeight(shown.length),
    ...Object.fromEntries(axes),
    shapes: panels.map(({ x, y }) => ({
      type: "line",
      xref: `${x.trace} domain`,
      x0: 0,
      x1: 1,
      yref: y.trace,
      y0: 0.5,
      y1: 0.5,
      line: { dash: "dot", width: 1, color: GREY },
    })),
    annotations: [
      ...(shown.length < 2 ? [] : shown.map(({ tier }, i) => panelTitle(panels[i], tier.title))),
      sharedAxisTitle(unit),
    ],
    margin: { t: shown.length < 2 ? 56 : 96, r: 24, b: 72, l: 64 },
    legend: { orientation: "h", y: shown.length < 2 ? -0.26 : -90 / panelsHeight(shown.length), yanchor: "top" },
  });
}

type Interval = Pick<Metric, "value" | "low" | "high">;

/** Rate of every point with the interval that the run's summary gives its cell. */
function intervalsOf({ tier, condition, range, points }: PsychometricCurve, metrics: readonly Metric[]): Interval[] {
  return points.map(({ strength, hits, n }) => {
    const [cell] = findMetrics(metrics, { name: "hitRate", tier, condition, group: { range, strength } });
    return cell ?? { value: hits / n, low: null, high: null };
  });
}

function traces(
  curve: PsychometricCurve,
  rates: readonly Interval[],
  i: number,
  count: number,
  { x, y }: Panel,
  isNamed: boolean,
): object[] {
  const color = layerColor(i, count);
  const common = { type: "scatter", legendgroup: curve.range, xaxis: x.trace, yaxis: y.trace };
  const points = {
    ...common,
    mode: "markers",
    name: curve.range,
    showlegend: isNamed,
    x: curve.points.map((point) => point.strength * NUDGE ** (i - (count - 1) / 2)),
    y: rates.map((rate) => rate.value),
    error_y: errorBars(rates, color),
    marker: { color, size: 7, symbol: SYMBOLS[i % SYMBOLS.length] },
    text: curve.points.map((point) => `${point.strength}, n ${point.n}`),
    hovertemplate: "%{text}: %{y:.3f}<extra></extra>",
  };
  const line = fitted(curve);
  const fit = { mode: "lines", showlegend: false, line: { color, width: 2 }, hoverinfo: "skip" };
  return line === null ? [points] : [points, { ...common, ...fit, ...line }];
}

/** Points of the fitted curve, or null where no slope is finite. */
function fitted({ points, guess, fit }: PsychometricCurve): { x: number[]; y: number[] } | null {
  const { intercept, slope } = fit;
  if (intercept === null || slope === null || points.length < 2) return null;
  const [from, to] = [Math.log(points[0].strength), Math.log(points[points.length - 1].strength)];
  const logs = Array.from({ length: CURVE_POINTS }, (_, i) => from + ((to - from) * i) / (CURVE_POINTS - 1));
  return { x: logs.map(Math.exp), y: logs.map((u) => guess + (1 - guess) / (1 + Math.exp(-(intercept + slope * u)))) };
}
