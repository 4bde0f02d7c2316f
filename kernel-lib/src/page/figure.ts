/**
 * A plotly figure as data: plain JSON, and whether the plotly that pages and pictures use can draw it.
 *
 * Pages inline plotly's cartesian bundle (1.5 MB; the full one has 4.6). It draws a trace of a type it does not know as
 * a scatter line, without a word, so that types are checked here first.
 */

import { DataError, expected, InputError } from "../base";

/** A plotly figure as plain JSON: traces, layout, optional config and frames. */
export interface FigureJson {
  data: ReadonlyArray<object>;
  layout?: object;
  config?: object;
  /** States of an animation, for sliders and play buttons of the layout. */
  frames?: ReadonlyArray<object>;
}

/** Trace types of plotly.js-cartesian-dist-min; a test compares them with the bundle. */
export const DRAWN_TRACES: ReadonlySet<string> = new Set([
  "scatter",
  "bar",
  "box",
  "heatmap",
  "histogram",
  "histogram2d",
  "histogram2dcontour",
  "contour",
  "scatterternary",
  "violin",
  "image",
  "pie",
]);

/** Types of a figure's traces that pages and pictures cannot draw, each once; empty if all can be. */
export function undrawnTraces(figure: FigureJson): string[] {
  const frames = (figure.frames ?? []) as ReadonlyArray<{ data?: ReadonlyArray<object> }>;
  const traces = [...figure.data, ...frames.flatMap(({ data }) => data ?? [])] as ReadonlyArray<{ type?: unknown }>;
  const types = traces.map(({ type }) => (type === undefined ? "scatter" : String(type)));
  return [...new Set(types.filter((type) => !DRAWN_TRACES.has(type)))];
}

/** @throws DataError "figure-traces" naming the trace types that cannot be drawn here */
export function requireDrawn(figure: FigureJson, where: string): void {
  const types = undrawnTraces(figure);
  if (types.length === 0) return;
  const drawn = [...DRAWN_TRACES].join(", ");
  throw new DataError(
    "figure-traces",
    `Expected trace types that ${where} can draw (${drawn}) but received ${types.join(", ")}. JupyterLab draws them; for elsewhere put a picture (image/png) beside the figure.`,
  );
}

/** A BigInt as the number it stands for. @throws InputError "bigint" where a number would change it */
function exactNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  const remedy = "Pass String(value) as a label, or a number that may be rounded.";
  throw new InputError(
    "bigint",
    expected(`|value| <= ${Number.MAX_SAFE_INTEGER}`, "a BigInt of a figure", value, remedy),
  );
}

/**
 * A copy of `figure` in plain JSON: typed arrays become arrays, BigInts numbers, NaN and infinities null (a gap).
 *
 * @throws InputError "bigint" if a BigInt is too large for a number
 */
export function plainFigure(figure: FigureJson): FigureJson {
  const { data, layout, config, frames } = figure;
  const text = JSON.stringify({ data, layout, config, frames }, (_key, value: unknown) => {
    if (typeof value === "bigint") return exactNumber(value);
    if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as unknown as number[]);
    return value;
  });
  return JSON.parse(text) as FigureJson;
}
