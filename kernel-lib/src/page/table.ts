/**
 * A table as HTML and as aligned text: rows of plain values in, strings out.
 *
 * Understands an array of records and anything with arquero's `columnNames()` and `objects()`. Everything is escaped,
 * column names included. Unknown values (null, undefined) are shown as "n/a", never as 0.
 */

import { expected, InputError } from "../base";
import { escapeHtml } from "./escape";

/** Rows as records, or an arquero-like table. */
export type TableLike =
  | ReadonlyArray<object>
  | { columnNames(): string[]; objects(options?: { limit?: number }): object[]; numRows(): number };

/** How a table is shown. */
export interface TableOptions {
  /** Rows shown, default 50; the rest is counted. */
  limit?: number;
  /** Plain text above the table. */
  caption?: string;
}

/** Column names, the rows shown, and how many rows there are. */
export interface TableView {
  columns: string[];
  rows: Array<Record<string, unknown>>;
  total: number;
}

/** True for values that `tableView` understands. */
export function isTableLike(value: unknown): value is TableLike {
  if (Array.isArray(value)) {
    return value.length > 0 && value.every((row) => row !== null && typeof row === "object" && !Array.isArray(row));
  }
  const table = value as { columnNames?: unknown; objects?: unknown; numRows?: unknown } | null;
  const methods = [table?.columnNames, table?.objects, table?.numRows];
  return methods.every((method) => typeof method === "function");
}

/** The first `limit` rows. @throws InputError "table" if `table` is neither records nor arquero-like */
export function tableView(table: TableLike, limit = 50): TableView {
  if (Array.isArray(table)) {
    const columns: string[] = [];
    for (const row of table) for (const key of Object.keys(row)) if (!columns.includes(key)) columns.push(key);
    return { columns, rows: table.slice(0, limit) as Array<Record<string, unknown>>, total: table.length };
  }
  if (!isTableLike(table)) throw new InputError("table", expected("records or an arquero table", "a table", table));
  const arquero = table as Exclude<TableLike, ReadonlyArray<unknown>>;
  const rows = arquero.objects({ limit }) as Array<Record<string, unknown>>;
  return { columns: arquero.columnNames(), rows, total: arquero.numRows() };
}

/** Smaller numbers are longer with zeros than as powers of ten. */
const TINY = 0.0005;

/** One value for people: integers (BigInts too) as they are, other numbers with four significant digits, tiny ones in powers of ten, unknown as "n/a". */
export function formatCell(value: unknown): string {
  if (value === null || value === undefined) return "n/a";
  if (typeof value === "number") {
    if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
    const short = Number(value.toPrecision(4));
    return Math.abs(short) < TINY ? short.toExponential() : String(short);
  }
  if (Array.isArray(value)) return value.map(formatCell).join(", ");
  if (typeof value !== "object" || value instanceof Date) return String(value);
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner));
}

function remainder({ rows, total }: TableView): string {
  return total > rows.length ? `${total - rows.length} more rows (${total} in all)` : "";
}

/** HTML of a table, wrapped so that a wide one scrolls by itself. */
export function tableHtml(table: TableLike, options: TableOptions = {}): string {
  const view = tableView(table, options.limit);
  const known = (name: string): unknown[] =>
    view.rows.map((row) => row[name]).filter((value) => value !== null && value !== undefined);
  const isNumeric = (values: readonly unknown[]): boolean =>
    values.length > 0 && values.every((value) => typeof value === "number" || typeof value === "bigint");
  const numeric = new Set(view.columns.filter((name) => isNumeric(known(name))));
  // Inline, because JupyterLab sets every cell to the right, and sentences set so cannot be read.
  const kind = (name: string): string => (numeric.has(name) ? ' class="number"' : ' style="text-align:left"');
  const head = view.columns.map((name) => `<th${kind(name)}>${escapeHtml(name)}</th>`).join("");
  const body = view.rows.map(
    (row) =>
      `<tr>${view.columns.map((name) => `<td${kind(name)}>${escapeHtml(formatCell(row[name]))}</td>`).join("")}</tr>`,
  );
  const caption = options.caption === undefined ? "" : `<caption>${escapeHtml(options.caption)}</caption>`;
  const rest = remainder(view);
  const more = rest === "" ? "" : `<p class="soft">${rest}</p>`;
  return `<div class="scroll"><table>${caption}<thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>${more}`;
}

/** The same table as text with aligned columns. */
export function tableText(table: TableLike, options: TableOptions = {}): string {
  const view = tableView(table, options.limit);
  const cells = [view.columns, ...view.rows.map((row) => view.columns.map((name) => formatCell(row[name])))];
  const widths = view.columns.map((_name, i) => Math.max(...cells.map((row) => row[i].length)));
  const lines = cells.map((row) =>
    row
      .map((text, i) => text.padEnd(widths[i]))
      .join("  ")
      .trimEnd(),
  );
  const rest = remainder(view);
  return [...(options.caption === undefined ? [] : [options.caption]), ...lines, ...(rest === "" ? [] : [rest])].join(
    "\n",
  );
}
