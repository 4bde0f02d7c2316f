/** Small pieces of report HTML: tables, numbers with their interval, and figures that number themselves. All text is escaped. */
import {
  escapeHtml,
  FigureCollector,
  type FigureJson,
  formatEstimate,
  formatInterval,
  formatNumber,
  type PageFigure,
  type Quoted,
  UNKNOWN,
} from "../page";
import { groupBy } from "../evaluate";
import { type AimResult, aimVerdict, type Metric, verdictTone } from "../runs";

/** "0.912 [0.880, 0.940], n 600" with the method as hover text. */
export function quoted(metric: (Quoted & Pick<Metric, "method">) | null | undefined): Cell {
  if (metric === null || metric === undefined) return { text: UNKNOWN };
  const value = metric.text ?? formatNumber(metric.value);
  const detail = [metric.text === undefined ? formatInterval(metric) : "", `n ${metric.n}`]
    .filter((part) => part !== "")
    .join(", ");
  return { text: formatEstimate(metric), value, detail, title: metric.method };
}

/** The same without n, for tables that give it in a column of its own. */
export function rate(metric: Parameters<typeof quoted>[0]): Cell {
  if (metric === null || metric === undefined) return { text: UNKNOWN };
  const [value, interval] = [formatNumber(metric.value), formatInterval(metric)];
  const text = [value, interval].filter((part) => part !== "").join(" ");
  return { text, value, detail: interval === "" ? undefined : interval, title: metric.method };
}

/** How the intervals of a figure were made, for its caption: each method once, without its counts of clusters. */
export function methodsOf(metrics: readonly Pick<Metric, "method">[]): string {
  const named = metrics
    .map(({ method }) => method.replace(/ \(\d+\)/g, ""))
    .filter((name) => !/^no interval/.test(name));
  return named.length === 0 ? "no intervals: too few clusters" : `intervals: ${[...new Set(named)].join("; ")}`;
}

/** What was measured for an aim, its sentence as hover text. */
export function measuredCell({ value, low, high, n, text }: AimResult): Cell {
  return quoted({ value, low, high, n, method: text });
}

/** A verdict as a badge. */
export function verdictCell(aim: AimResult): Cell {
  const text = aimVerdict(aim);
  return { text, badge: verdictTone(text) };
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

/**
 * A table with a column for each condition: metrics that differ in nothing else stand in one row.
 * @param names of the first columns   @param of a metric, what stands in them
 */
export function conditionTable(
  metrics: readonly Metric[],
  names: readonly string[],
  of: (metric: Metric) => string[],
): string {
  const conditions = [...new Set(metrics.map(({ condition }) => condition))];
  const rows = [...groupBy(metrics, (metric) => of(metric).join("\n")).values()].map((same) => [
    ...of(same[0]),
    ...conditions.map((condition) => quoted(same.find((metric) => metric.condition === condition))),
  ]);
  return table([...names, ...conditions], rows);
}

/** Questions from which on the interval of a mean covers what it says though few of them move. */
const MANY_QUESTIONS = 20;

/**
 * What a caption says of changes of P(yes) over few questions; "" where there are none. Their intervals are Student's: a category in which
 * one question in five moves often shows none that did (coverage by simulation: kernel-lib/docs/statistics.md).
 */
export function fewQuestions(changes: readonly Pick<Metric, "n" | "low">[]): string {
  const few = changes.filter(({ n, low }) => low !== null && n < MANY_QUESTIONS).map(({ n }) => n);
  if (few.length === 0) return "";
  const [least, most] = [Math.min(...few), Math.max(...few)];
  const count = least === most ? String(least) : `${least} to ${most}`;
  return `A category has ${count} questions: where only one in five of 8 moves, such intervals of a change cover .70, not .95, by simulation; the mean over all questions is safer.`;
}

/** A paragraph of plain text. */
export function paragraph(text: string, style = ""): string {
  return `<p${style === "" ? "" : ` class="${style}"`}>${escapeHtml(text)}</p>`;
}

/** Something to look up, folded: long tables and lists. */
export function fold(summary: string, html: string): string {
  return `<details><summary>${escapeHtml(summary)}</summary>${html}</details>`;
}

/** A list of plain sentences. */
export function list(sentences: readonly string[]): string {
  return `<ul>${sentences.map((sentence) => `<li>${escapeHtml(sentence)}</li>`).join("\n")}</ul>`;
}

/** The figures of a report, numbered, each with what it shows and whose numbers they are. */
export class FigureList {
  readonly #collector = new FigureCollector();

  get figures(): readonly PageFigure[] {
    return this.#collector.figures;
  }

  /**
   * The HTML of a figure.
   * @param caption what it shows, n and method included
   * @param source whose numbers: model, adapter, protocol, seeds (see `sourceOf`)
   * @param where "screen": left out on paper, for figures of a whole page that only details are looked up in
   */
  add(figure: FigureJson, caption: string, source: string, where: "everywhere" | "screen" = "everywhere"): string {
    const slot = this.#collector.slot(figure, caption);
    const text = `Figure ${this.figures.length}. ${escapeHtml(caption)}`;
    return `<figure${where === "screen" ? ' class="screen"' : ""}>${slot}<figcaption>${text}<br><small>${escapeHtml(source)}</small></figcaption></figure>`;
  }
}
