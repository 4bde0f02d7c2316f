/**
 * The common look of every figure: readable on light and dark pages, colours that colour-blind readers can tell apart.
 *
 * Backgrounds are transparent and text a middle grey, so that one figure serves both; the report's page adjusts further.
 * Series colours: Okabe and Ito's palette (2008), in an order of falling contrast; heatmaps: viridis, on
 * which the white or dark numbers that plotly writes into cells stay readable in the middle too.
 */
import type { FigureJson } from "../../page";
import type { Protocol } from "../../study";

/** Okabe-Ito, without black and yellow, which vanish on dark and light. */
export const COLORS: readonly string[] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export const GREY = "#808a96";
const TEXT = "#707b88";
const GRID = "rgba(128,138,150,0.25)";
/** Sequential, perceptually even, safe for colour-blind readers. */
export const HEAT = "Viridis";

/** An axis with its title, which names the unit. */
export function axis(title: string, more: object = {}): object {
  return {
    title: { text: title, standoff: 8 },
    gridcolor: GRID,
    zerolinecolor: GRID,
    linecolor: GRID,
    automargin: true,
    ...more,
  };
}

/** An axis of rates, 0 to 1. */
export function rateAxis(title: string, more: object = {}): object {
  return axis(title, { range: [-0.03, 1.03], tickformat: ".0%", ...more });
}

/** A figure in the house's look. */
export function figure(title: string, data: readonly object[], layout: object): FigureJson {
  // plotly makes a legend from two named traces on; settings of a legend that is not there fail its own validation.
  const named = data.filter((trace) => "name" in trace && (trace as { showlegend?: boolean }).showlegend !== false);
  const { legend = { orientation: "h", y: -0.22 }, ...rest } = layout as { legend?: object };
  return {
    data,
    layout: {
      title: { text: title, font: { size: 16 } },
      font: { color: TEXT, size: 13, family: "system-ui, sans-serif" },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { t: 56, r: 24, b: 56, l: 64 },
      ...(named.length > 1 ? { legend } : {}),
      ...rest,
    },
  };
}

/** Error bars from interval ends; an absent end is drawn as no bar. */
export function errorBars(
  points: readonly { value: number | null; low: number | null; high: number | null }[],
  color: string,
): object {
  const length = (end: number | null, value: number | null): number =>
    end === null || value === null ? 0 : Math.abs(end - value);
  return {
    type: "data",
    symmetric: false,
    color,
    thickness: 1.2,
    width: 3,
    array: points.map((point) => length(point.high, point.value)),
    arrayminus: points.map((point) => length(point.low, point.value)),
  };
}

/** A rate for hover texts and cells. */
export function shown(value: number | null, digits = 2): string {
  return value === null ? "-" : value.toFixed(digits);
}

/** Title at the very top, for figures whose x axis is on top too. */
export function titleAbove(text: string): object {
  return { text, font: { size: 16 }, y: 1, yref: "container", yanchor: "top", pad: { t: 14 } };
}

/** The strengths' axis title with its unit. */
export function strengthTitle(protocol: Protocol | null): string {
  return protocol?.steering.unit === "relative"
    ? "strength (fraction of the layer's residual norm)"
    : "magnitude (L2 length per layer and token)";
}
