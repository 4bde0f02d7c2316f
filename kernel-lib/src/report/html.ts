/** Small pieces of report HTML: tables, numbers with their interval, and figures that number themselves. All text is escaped. */
import { escapeHtml, type FigureJson, figureSlot, type PageFigure } from "../page";
import type { Metric } from "../summary";

/** A number of a report: at most three decimals, tiny ones in powers of ten, unknown a dash. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return "\u2013";
  if (value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits) return value.toExponential(1);
  return value.toFixed(digits);
}

/** "0.912 [0.880, 0.940], n 600" with the method as hover text. */
export function quoted(metric: Pick<Metric, "value" | "low" | "high" | "n" | "method"> | null | undefined): Cell {
  if (metric === null || metric === undefined) return { text: "\u2013" };
  const interval =
    metric.low === null && metric.high === null ? "" : ` [${number(metric.low)}, ${number(metric.high)}]`;
  return { text: `${number(metric.value)}${interval}, n ${metric.n}`, title: metric.method };
}

/** A table cell: plain text, with an optional hover text and badge. */
export interface Cell {
  text: string;
  title?: string;
  badge?: "good" | "bad" | "warn";
}

/** A table; cells that are strings or numbers are shown as they stand. */
export function table(
  headers: readonly string[],
  rows: readonly (readonly (Cell | string | number)[])[],
  caption = "",
): string {
  const cell = (value: Cell | string | number): string => {
    const { text, title, badge } =
      typeof value === "object" ? value : { text: String(value), title: undefined, badge: undefined };
    const inner = badge === undefined ? escapeHtml(text) : `<span class="badge ${badge}">${escapeHtml(text)}</span>`;
    return `<td${title === undefined ? "" : ` title="${escapeHtml(title)}"`}>${inner}</td>`;
  };
  const head = headers.map((header) => `<th>${escapeHtml(header)}</th>`).join("");
  const body = rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`).join("\n");
  const title = caption === "" ? "" : `<caption>${escapeHtml(caption)}</caption>`;
  return `<div class="scroll"><table>${title}<thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

/** A paragraph of plain text. */
export function paragraph(text: string, style = ""): string {
  return `<p${style === "" ? "" : ` class="${style}"`}>${escapeHtml(text)}</p>`;
}

/** Collects the figures of a page and gives each its slot. */
export class FigureList {
  readonly figures: PageFigure[] = [];

  /** The HTML of a figure with its caption. */
  add(figure: FigureJson, caption: string): string {
    const id = `figure-${this.figures.length + 1}`;
    this.figures.push({ id, figure });
    const height = (figure.layout as { height?: number } | undefined)?.height ?? 420;
    return `<figure>${figureSlot(id, caption, height)}<figcaption>Figure ${this.figures.length}. ${escapeHtml(caption)}</figcaption></figure>`;
  }
}
