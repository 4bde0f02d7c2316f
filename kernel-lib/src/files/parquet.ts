/**
 * Records as a Parquet file, for pandas, polars, DuckDB and R: one column per field, types found from the values.
 *
 * Whole numbers become INT64 (INT32 where they fit), other numbers DOUBLE, texts STRING, booleans BOOLEAN; lists, objects and
 * mixed columns become JSON text. Null and absent are null. The JSONL beside it stays the record of truth.
 */
import { type ColumnSource, parquetWriteBuffer } from "hyparquet-writer";
import { writeFileAtomic } from "./atomic-write";
import { finiteJson } from "./json";

type Kind = "BOOLEAN" | "INT32" | "INT64" | "DOUBLE" | "STRING" | "JSON_TEXT";

function kindOf(value: unknown): Kind {
  if (typeof value === "boolean") return "BOOLEAN";
  if (typeof value === "string") return "STRING";
  if (typeof value !== "number") return "JSON_TEXT";
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) return "DOUBLE";
  return value >= -(2 ** 31) && value < 2 ** 31 ? "INT32" : "INT64";
}

const NUMBERS: readonly Kind[] = ["INT32", "INT64", "DOUBLE"];

/** The narrowest kind that holds every value. */
function commonKind(values: readonly unknown[]): Kind {
  const kinds = new Set(values.filter((value) => value !== null).map(kindOf));
  if (kinds.size === 0) return "STRING";
  const [first] = kinds;
  if (kinds.size === 1) return first;
  if ([...kinds].every((kind) => NUMBERS.includes(kind))) return kinds.has("DOUBLE") ? "DOUBLE" : "INT64";
  return "JSON_TEXT";
}

function column(name: string, records: readonly Record<string, unknown>[]): ColumnSource {
  const values = records.map((record) => record[name] ?? null);
  const kind = commonKind(values);
  const convert = (value: unknown): unknown => {
    if (value === null) return null;
    if (kind === "JSON_TEXT") return finiteJson(value);
    if (kind === "INT64") return BigInt(value as number);
    return value;
  };
  return { name, data: values.map(convert), type: kind === "JSON_TEXT" ? "STRING" : kind, nullable: true };
}

/**
 * Writes records to `file`, replacing it as a whole.
 *
 * @param records flat objects; columns in order of first appearance
 * @throws InputError "not-finite" for NaN or infinities
 *
 * @example
 * writeParquet("runs/x/trials.parquet", readJsonl("runs/x/trials.jsonl").records);
 */
export function writeParquet(file: string, records: readonly Record<string, unknown>[]): void {
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
  for (const record of records) finiteJson(record);
  const columnData = names.map((name) => column(name, records));
  writeFileAtomic(file, new Uint8Array(parquetWriteBuffer({ columnData })));
}
