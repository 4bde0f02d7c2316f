/**
 * Tables as danfo (pandas-style) frames; danfojs is loaded only when one is asked for.
 *
 * danfojs guesses a column's type from its first values, so whole numbers before fractions, numbers beyond 32 bits and text
 * after a null come out wrong. Here every column's type is found from all of its values and told.
 */
import { expected, InputError } from "../base";
import { type DataTable, tableOf } from "./tables";

/** A danfo series, as far as it is declared here. */
export interface DanfoSeries {
  readonly values: unknown[];
  readonly dtype: string;
  mean(): number;
  std(): number;
  unique(): DanfoSeries;
  valueCounts(): DanfoSeries;
  eq(value: unknown): DanfoSeries;
  gt(value: unknown): DanfoSeries;
  lt(value: unknown): DanfoSeries;
}

/** A danfo frame, as far as it is declared here; danfojs documents the rest. */
export interface DanfoFrame {
  readonly shape: number[];
  readonly columns: string[];
  /** names of the rows; their numbers where they have none */
  readonly index: (string | number)[];
  /** "float32" (numbers, held in 64 bits), "int32", "boolean" or "string" of each column */
  readonly dtypes: string[];
  readonly values: unknown[];
  head(rows?: number): DanfoFrame;
  column(name: string): DanfoSeries;
  query(condition: unknown): DanfoFrame;
  /** count, mean, std, min, median, max and variance of the number columns */
  describe(): DanfoFrame;
  groupby(columns: string[]): { agg(of: Record<string, string | string[]>): DanfoFrame };
  sortValues(column: string, options?: { ascending?: boolean }): DanfoFrame;
  print(): void;
}

type FrameOf = new (
  rows: unknown[][],
  options: { columns: string[]; dtypes: string[]; config: Record<string, unknown> },
) => DanfoFrame;

const INT32_LIMIT = 2 ** 31;

/**
 * A table as a danfo frame; danfojs is loaded now (about a second). Absent numbers become NaN, absent text stays null.
 *
 * Truth values with gaps become 1, 0 and NaN, since danfo cannot count with null. Lists and objects become their JSON text. A BigInt that a number holds exactly becomes that number.
 * @returns a frame with the columns of the table
 * @throws InputError "danfo-column" for a column that mixes kinds, or a BigInt beyond 2^53
 * @example
 * const frame = await toDanfo(trialsTable(sweep.records));
 * frame.groupby(["range", "strength"]).agg({ probability: "mean" }).print();
 */
export async function toDanfo(table: DataTable): Promise<DanfoFrame> {
  const columns = table.columnNames();
  const found = columns.map((name) => columnOf(name, Array.from(table.array(name))));
  const rows = Array.from({ length: table.numRows() }, (_, i) => found.map(({ values }) => values[i]));
  const { DataFrame } = (await import("danfojs-node")) as unknown as { DataFrame: FrameOf };
  return new DataFrame(rows, { columns, dtypes: found.map(({ dtype }) => dtype), config: {} });
}

/**
 * A danfo frame as a table, to show, save or go on with; rows that have names keep them in the column "index".
 * @returns a table for `showTable` and `DataTable`'s verbs
 * @example
 * const frame = await toDanfo(trialsTable(sweep.records));
 * showTable(fromDanfo(frame.describe()));
 */
export function fromDanfo(frame: DanfoFrame): DataTable {
  const isNamed = frame.index.some((name) => typeof name === "string");
  return tableOf(
    frame.values.map((row, i) => ({
      ...(isNamed ? { index: frame.index[i] } : {}),
      ...Object.fromEntries(frame.columns.map((name, c) => [name, (row as unknown[])[c]])),
    })),
  );
}

interface Column {
  dtype: string;
  values: unknown[];
}

function columnOf(name: string, raw: readonly unknown[]): Column {
  const values = raw.map((value) => plain(name, value));
  const present = values.filter((value) => value !== null);
  const kinds = [...new Set(present.map((value) => typeof value))];
  if (kinds.length > 1) {
    const remedy = "Derive one kind first: table.derive({ ... }).";
    throw new InputError(
      "danfo-column",
      expected("values of one kind", `column ${JSON.stringify(name)}`, kinds.join(" and "), remedy),
    );
  }
  const isWhole = present.length === values.length;
  if (kinds[0] === "boolean" && isWhole) return { dtype: "boolean", values };
  if (kinds[0] !== "number" && kinds[0] !== "boolean") return { dtype: "string", values };
  const dtype = isWhole && (present as number[]).every(isInt32) ? "int32" : "float32";
  return { dtype, values: values.map((value) => (value === null ? Number.NaN : Number(value))) };
}

/** Numbers, truth values and text as they stand, nothing as null, the rest as text. */
function plain(name: string, value: unknown): number | boolean | string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value !== "bigint") return value instanceof Date ? value.toISOString() : JSON.stringify(value);
  if (Number.isSafeInteger(Number(value))) return Number(value);
  const remedy = "Turn the column into text first: table.derive({ ... }).";
  throw new InputError(
    "danfo-column",
    expected("whole numbers within +-(2^53 - 1)", `column ${JSON.stringify(name)}`, `${value}n`, remedy),
  );
}

const isInt32 = (value: number): boolean => Number.isInteger(value) && value >= -INT32_LIMIT && value < INT32_LIMIT;
