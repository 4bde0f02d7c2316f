/** Psychometric curves: detection rate by strength for each layer range, with the fitted logistic and Wilson intervals. */
import type { PsychometricCurve } from "../../evaluate";
import type { FigureJson } from "../../page";
import { wilson } from "../../stats";
import { axis, COLORS, errorBars, figure, rateAxis } from "./theme";

const CURVE_POINTS = 60;
/** Points of neighbouring curves stand this factor apart, so that equal rates stay visible. */
const NUDGE = 1.035;

/** Points with intervals and, where a fit exists, its curve: guess + (1 - guess) * logistic(a + b ln strength). */
export function psychometricPlot(
  curves: readonly PsychometricCurve[],
  options: { title?: string; unit?: string } = {},
): FigureJson {
  const { title = "Psychometric curves", unit = "strength" } = options;
  const data = curves.flatMap((curve, i) => {
    const color = COLORS[i % COLORS.length];
    const rates = curve.points.map(({ hits, n }) => wilson(hits, n));
    const points = {
      type: "scatter",
      mode: "markers",
      name: curve.range,
      legendgroup: curve.range,
      x: curve.points.map((point) => point.strength * NUDGE ** (i - (curves.length - 1) / 2)),
      y: rates.map((rate) => rate.value),
      error_y: errorBars(rates, color),
      marker: { color, size: 8, symbol: i },
      text: curve.points.map((point) => `${point.strength}, n ${point.n}`),
      hovertemplate: "%{text}: %{y:.3f}<extra></extra>",
    };
    return [points, ...fitted(curve, color)];
  });
  const ticks = [...new Set(curves.flatMap((curve) => curve.points.map((point) => point.strength)))].sort(
    (a, b) => a - b,
  );
  return figure(title, data, {
    height: 440,
    xaxis: axis(unit, { type: "log", tickvals: ticks, ticktext: ticks.map(String) }),
    yaxis: rateAxis("detection rate"),
    shapes: [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: 0.5,
        y1: 0.5,
        line: { dash: "dot", width: 1, color: COLORS[3] },
      },
    ],
  });
}

function fitted({ range, points, guess, fit }: PsychometricCurve, color: string): object[] {
  const { intercept, slope } = fit;
  if (intercept === null || slope === null || points.length < 2) return [];
  const [from, to] = [Math.log(points[0].strength), Math.log(points[points.length - 1].strength)];
  const logs = Array.from({ length: CURVE_POINTS }, (_, i) => from + ((to - from) * i) / (CURVE_POINTS - 1));
  const y = logs.map((u) => guess + (1 - guess) / (1 + Math.exp(-(intercept + slope * u))));
  return [
    {
      type: "scatter",
      mode: "lines",
      name: `${range}, fit`,
      legendgroup: range,
      showlegend: false,
      x: logs.map(Math.exp),
      y,
      line: { color, width: 2 },
      hoverinfo: "skip",
    },
  ];
}
