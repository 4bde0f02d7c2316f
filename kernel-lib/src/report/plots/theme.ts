/**
 * The common look of every figure, and what its colours mean: the same thing in every figure of a batch.
 *
 * One colour each for the base model, the tuned one, the published card and a control; one for each kind of tier; a ramp of one
 * hue for layers, early to late; viridis for rates in heatmaps. Mostly Okabe and Ito's palette (2008), which
 * colour-blind readers can tell apart. Backgrounds are transparent and text a middle grey, so that one figure serves light and
 * dark pages.
 */
import type { FigureJson } from "../../page";
import type { Protocol, TierKind } from "../../study";

/** Whose answers: the same colour wherever they stand. */
export const WHO = {
  base: "#8a94a0",
  tuned: "#0072B2",
  published: "#A0623D",
  control: "#E69F00",
} as const;

/** What a tier holds out. Training's own examples have the colour of trained vectors, its validation that of new ones. */
export const KIND_COLORS: Readonly<Record<TierKind, string>> = {
  trained: "#56B4E9",
  vectors: "#0072B2",
  replies: "#5E60CE",
  wordings: "#009E73",
  strengths: "#B8860B",
  ranges: "#7A9A01",
  concepts: "#CC79A7",
  matched: "#8E5572",
  control: WHO.control,
  explained: "#D55E00",
  clean: "#0072B2",
  unusual: "#9A6A4F",
};

/** Kinds of tiers in the words of axes and legends, easy to hard. */
export const KIND_WORDS: Readonly<Record<TierKind, string>> = {
  trained: "trained vectors",
  vectors: "new vectors",
  replies: "new replies",
  wordings: "new wordings",
  strengths: "new strengths",
  ranges: "new layer ranges",
  concepts: "concept vectors",
  matched: "twins of concept vectors",
  control: "control questions",
  clean: "clean text",
  unusual: "unusual clean text",
  explained: "steering explained",
};

/** Layer ranges from early to late: one hue, falling lightness. */
const LAYERS: readonly string[] = ["#B79FE0", "#7E57C2", "#4A2A8A"];

/** Colour of layer range `i` of `count`, in order of depth. */
export function layerColor(i: number, count: number): string {
  return LAYERS[count < 2 ? 1 : Math.round((i * (LAYERS.length - 1)) / (count - 1))];
}

export const GREY = "#808a96";
const TEXT = "#707b88";
const GRID = "rgba(128,138,150,0.25)";
/** Sequential, perceptually even, safe for colour-blind readers. */
export const HEAT = "Viridis";

/** What every plot function takes beside its data. */
export interface PlotOptions {
  /** default: what the figure shows, in words */
  title?: string;
}

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

/** Characters of a legend's line: what a changed protocol is called is longer than a notebook is wide. */
const LEGEND_CHARACTERS = 80;

function withShortLines(trace: object): object {
  if (!("name" in trace)) return trace;
  const lines = String(trace.name).match(new RegExp(`.{1,${LEGEND_CHARACTERS}}(?:\\s|$)|\\S+`, "g")) ?? [];
  return { ...trace, name: lines.map((line) => line.trim()).join("<br>") };
}

/** A figure in the house's look. */
export function figure(title: string, data: readonly object[], layout: object): FigureJson {
  // plotly makes a legend from two named traces on; settings of a legend that is not there fail its own validation.
  const named = data.filter((trace) => "name" in trace && (trace as { showlegend?: boolean }).showlegend !== false);
  const { legend = { orientation: "h", y: -0.22 }, ...rest } = layout as { legend?: object };
  return {
    data: data.map(withShortLines),
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

/** A dotted line across the figure at a rate. */
export function rateLine(at: number, direction: "across" | "up", more: object = {}): object {
  const place =
    direction === "across"
      ? { xref: "paper", x0: 0, x1: 1, y0: at, y1: at }
      : { yref: "paper", y0: 0, y1: 1, x0: at, x1: at };
  return { type: "line", ...place, line: { dash: "dot", width: 1, color: GREY }, ...more };
}

/** Title at the very top, for figures whose x axis is on top too. */
export function titleAbove(text: string): object {
  return { text, font: { size: 16 }, y: 1, yref: "container", yanchor: "top", pad: { t: 14 } };
}

/**
 * The strengths' axis title with its unit.
 *
 * @param protocol null: its unit is not known, magnitudes are assumed
 * @returns words for an axis or a column
 * @example
 * const unit = strengthTitle(loadProtocol("strict"));
 */
export function strengthTitle(protocol: Protocol | null): string {
  return protocol?.steering.unit === "relative"
    ? "strength (fraction of the layer's residual norm)"
    : "magnitude (L2 length per layer and token)";
}
