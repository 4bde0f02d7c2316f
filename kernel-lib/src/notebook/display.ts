/**
 * Shows tables, figures, HTML and Markdown in the running notebook; prints text in plain Node.
 *
 * Values in, display data of the kernel out (host.ts). A figure travels as a bundle: the plotly JSON object for
 * JupyterLab and our reports, a PNG for viewers without plotly, one line of text for the rest. Importing this module
 * also teaches the kernel to show tables and figures that are the last expression of a cell.
 */

import { resolve } from "node:path";
import { inspect } from "node:util";
import {
  type FigureJson,
  figureToPng,
  isTableLike,
  plainFigure,
  tableHtml,
  type TableLike,
  type TableOptions,
  tableText,
} from "../page";
import { type KernelHost, kernelHost, type MimeBundle, nextDisplayId } from "./host";

/** MIME type of plotly figures, understood by JupyterLab (with the plotly Python package) and VS Code. */
export const PLOTLY_MIME = "application/vnd.plotly.v1+json";

/** An output area that can be shown again with other content. As the last value of a cell it shows nothing. */
export interface DisplayHandle {
  /** Replaces the content; does nothing in plain Node. */
  update(bundle: MimeBundle): void;
}

/** What a kernel asks a value for its display; null means that there is nothing to add. */
const JUPYTER_DISPLAY = Symbol.for("Jupyter.display");

function displayHandle(update: (bundle: MimeBundle) => void): DisplayHandle {
  return Object.defineProperties(
    { update },
    { [JUPYTER_DISPLAY]: { value: () => null }, [inspect.custom]: { value: () => "" } },
  );
}

/**
 * Shows one MIME bundle; in plain Node its `text/plain` is printed.
 *
 * @param bundle MIME type to content: text, base64 for images, a plain object for JSON types
 * @example
 * displayBundle({ "text/html": "<b>done</b>", "text/plain": "done" });
 */
export function displayBundle(bundle: MimeBundle): DisplayHandle {
  const host = kernelHost();
  if (host === null) {
    if (bundle["text/plain"] !== undefined) console.log(bundle["text/plain"]);
    return displayHandle(() => {});
  }
  const id = nextDisplayId();
  host.display(bundle, { id });
  return displayHandle((next) => host.display(next, { id, update: true }));
}

/**
 * Shows trusted HTML; outside a notebook its text is printed.
 *
 * @param html shown as it is: nothing in it is escaped
 * @param text what viewers without HTML see
 * @returns the place on the page, where something else can be shown instead
 * @example
 * showHtml("<b>done</b>", "done");
 */
export function showHtml(html: string, text = "(HTML output)"): DisplayHandle {
  return displayBundle({ "text/html": html, "text/plain": text });
}

/**
 * Shows Markdown; outside a notebook its source is printed.
 *
 * @returns the place on the page, where something else can be shown instead
 * @example
 * showMarkdown("**713** steps");
 */
export function showMarkdown(markdown: string): DisplayHandle {
  return displayBundle({ "text/markdown": markdown, "text/plain": markdown });
}

/**
 * Shows a table: records, or an arquero table; outside a notebook as text.
 *
 * @param table columns are the union of the records' fields; null is shown as unknown
 * @returns the place on the page, where something else can be shown instead
 * @throws InputError "table" if it is neither
 * @example
 * showTable([{ magnitude: 0.1, hits: 47, n: 50 }], { caption: "Held-out vectors" });
 */
export function showTable(table: TableLike, options: TableOptions = {}): DisplayHandle {
  return displayBundle(tableBundle(table, options));
}

/**
 * Shows a plotly figure: interactive where the viewer can, a picture elsewhere.
 *
 * @returns when the output has been sent; the handle shows another figure in its place
 * @example
 * await showFigure({ data: [{ type: "scatter", y: [0.9, 0.4, 0.2] }], layout: { title: { text: "Loss" } } });
 */
export async function showFigure(figure: FigureJson): Promise<DisplayHandle> {
  const host = kernelHost();
  return displayBundle(host === null ? { "text/plain": figureText(figure) } : await figureBundle(figure));
}

/** MIME type under which a notebook declares its result; the batch runner reads it. */
export const RESULT_MIME = "application/vnd.steerlab.result+json";

/** What a notebook says it produced. */
export interface NotebookResult {
  /** Short name to value, the few that belong into an index; null is unknown. */
  numbers: Record<string, number | string | null | bigint>;
  /** Run folder that holds the records, if there is one; declared as an absolute path. */
  run?: string;
  /** Run folders of further measurements: an index tells their verdicts too. */
  beside?: ReadonlyArray<string>;
  /** Reasons why the result must not be trusted. A batch counts the notebook as run but not as valid. */
  problems?: ReadonlyArray<string>;
}

/**
 * Declares what a notebook produced, as its last cell does: shown as a table, read by `steerlab batch`.
 * A notebook without such a declaration never counts as valid.
 *
 * @returns the place on the page
 * @example
 * declareResult({ run: run.folder, numbers: { "held-out hit rate": 0.91, "false alarms": 0.012 } });
 */
export function declareResult(result: NotebookResult): DisplayHandle {
  const rows = Object.entries(result.numbers).map(([name, value]) => ({ result: name, value }));
  const problems = (result.problems ?? []).map((problem) => ({ result: "problem", value: problem }));
  const run = result.run === undefined ? [] : [{ result: "run folder", value: result.run }];
  // Saving a notebook sorts the keys of objects; `order` keeps what the author put first in front.
  const declared = {
    numbers: Object.fromEntries(Object.entries(result.numbers).map(([name, value]) => [name, declarable(value)])),
    order: Object.keys(result.numbers),
    run: result.run === undefined ? null : resolve(result.run),
    beside: (result.beside ?? []).map((folder) => resolve(folder)),
    problems: [...(result.problems ?? [])],
  };
  return displayBundle({ ...tableBundle([...rows, ...problems, ...run]), [RESULT_MIME]: declared });
}

/** JSON has no BigInt: a small one is the number it stands for, a larger one its digits. */
function declarable(value: number | string | null | bigint): number | string | null {
  if (typeof value !== "bigint") return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}

/** The bundle of a table. */
export function tableBundle(table: TableLike, options: TableOptions = {}): MimeBundle {
  return { "text/html": tableHtml(table, options), "text/plain": tableText(table, options) };
}

/**
 * The bundle of a figure: plotly object with its frames, base64 PNG, one line of text. A figure that has no picture (some trace types
 * need a browser) is still shown, and the text says why the picture is missing.
 *
 * Under a Jupyter server (it sets JPY_SESSION_NAME) the picture is left out: JupyterLab's plotly extension would show it
 * instead of the live figure until the mouse enters it, and it adds a picture of its own to the notebook anyway.
 */
export async function figureBundle(figure: FigureJson): Promise<MimeBundle> {
  const plotly = { layout: {}, config: {}, ...plainFigure(figure) };
  const text = figureText(figure);
  if (process.env.JPY_SESSION_NAME !== undefined) return { [PLOTLY_MIME]: plotly, "text/plain": text };
  try {
    const png = await figureToPng(figure, { scale: 1 });
    return { [PLOTLY_MIME]: plotly, "image/png": png.toString("base64"), "text/plain": text };
  } catch (error) {
    return { [PLOTLY_MIME]: plotly, "text/plain": `${text}. No picture: ${(error as Error).message}` };
  }
}

/** One line that says what a figure shows: its title and its traces. */
export function figureText(figure: FigureJson): string {
  const title = (figure.layout as { title?: { text?: string } | string } | undefined)?.title;
  const text = typeof title === "string" ? title : title?.text;
  const kinds = figure.data.map((trace) => (trace as { type?: string }).type ?? "scatter");
  const plain = (text ?? "untitled").replace(/<[^>]*>/g, " ").trim();
  return `Figure: ${plain} (${[...new Set(kinds)].join(", ")}, ${figure.data.length} traces)`;
}

/** True for plain plotly figures. */
export function isFigure(value: unknown): value is FigureJson {
  const figure = value as { data?: unknown; layout?: unknown } | null;
  if (figure === null || typeof figure !== "object" || !Array.isArray(figure.data)) return false;
  return figure.layout !== null && typeof figure.layout === "object";
}

const REGISTERED = Symbol.for("steerlab.formatters");

/** Lets a cell end with a table or a figure. Once per kernel, however often the module is loaded. */
function registerFormatters(host: KernelHost | null): void {
  if (host === null) return;
  const marked = host.formatters as { [REGISTERED]?: boolean };
  if (marked[REGISTERED] === true) return;
  marked[REGISTERED] = true;
  host.formatters.push((value) => {
    if (isFigure(value)) return figureBundle(value);
    return isTableLike(value) && !Array.isArray(value) ? tableBundle(value) : null;
  });
}

registerFormatters(kernelHost());
