/** Small pieces of report HTML: tables, numbers with their interval, and figures that number themselves. All text is escaped. */
import { escapeHtml, type FigureJson, figureSlot, type PageFigure } from "../page";
import type { Metric } from "../runs";

/** A number of a report: at most three decimals, tiny ones in powers of ten, unknown a dash. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return "\u2013";
  if (value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits) return value.toExponential(1);
  return value.toFixed(digits);
}

/** "0.912 [0.880, 0.940], n 600" with the method as hover text. */
export function quoted(metric: Pick<Metric, "value" | "low" | "high" | "n" | "method"> | null | undefined): Cell {
  if (metric === null || metric === undefined) return { text: "\u2013" };
  const value = number(metric.value);
  const interval = metric.low === null && metric.high === null ? "" : `[${number(metric.low)}, ${number(metric.high)}]`;
  const detail = [interval, `n ${metric.n}`].filter((part) => part !== "").join(", ");
  return {
    text: `${value}${interval === "" ? "" : ` ${interval}`}, n ${metric.n}`,
    value,
    detail,
    title: metric.method,
  };
}

/** The same without n, for tables that give it in a column of its own. */
export function rate(metric: Parameters<typeof quoted>[0]): Cell {
  const { text, value, detail, title } = quoted(metric);
  const interval = detail?.replace(/,? ?n \d+$/, "");
  return { text: text.replace(/, n \d+$/, ""), value, detail: interval === "" ? undefined : interval, title };
}

/** A table cell: plain text, with an optional hover text and badge. */
export interface Cell {
  text: string;
  title?: string;
  /** shown instead of the text, with `detail` small below it, so that a column of figures can be read down */
  value?: string;
  detail?: string;
  /** a sentence: its column is given room */
  isSentence?: boolean;
  /** a name that must not be broken over lines */
  isName?: boolean;
  badge?: "good" | "bad" | "warn";
}

/** A line across a table that says what the rows below it are. */
export interface GroupRow {
  heading: string;
}

/** A table; cells that are strings or numbers are shown as they stand. */
export function table(
  headers: readonly string[],
  rows: readonly (readonly (Cell | string | number)[] | GroupRow)[],
  caption = "",
): string {
  const cell = (given: Cell | string | number): string => {
    const { text, title, badge, value, detail, isSentence, isName }: Cell =
      typeof given === "object" ? given : { text: String(given) };
    const plain =
      detail === undefined ? escapeHtml(text) : `${escapeHtml(value ?? text)}<br><small>${escapeHtml(detail)}</small>`;
    const inner = badge === undefined ? plain : `<span class="badge ${badge}">${plain}</span>`;
    const style = isSentence === true ? ' class="sentence"' : isName === true ? ' class="name"' : "";
    return `<td${style}${title === undefined ? "" : ` title="${escapeHtml(title)}"`}>${inner}</td>`;
  };
  const line = (row: readonly (Cell | string | number)[] | GroupRow): string =>
    "heading" in row
      ? `<tr class="group"><th colspan="${headers.length}"><span>${escapeHtml(row.heading)}</span></th></tr>`
      : `<tr>${row.map(cell).join("")}</tr>`;
  const head = headers.map((header) => `<th>${escapeHtml(header)}</th>`).join("");
  const body = rows.map(line).join("\n");
  // Outside the box that scrolls: on a phone a caption as wide as the table cannot be read.
  const title = caption === "" ? "" : `<p class="caption">${escapeHtml(caption)}</p>`;
  return `${title}<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
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
