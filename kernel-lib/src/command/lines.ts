/** JSONL inputs of the command line: checked line by line before any model is loaded. */
import { InputError } from "../base";
import { scanJsonl } from "../files";

/**
 * Every record of a file, checked by `read`; blank lines are passed over and a last line without newline counts.
 * @throws DataError "jsonl-line", "file-missing"; InputError "no-lines", "double-id", and what `read` throws
 */
export function readLines<T extends { id: string | number }>(
  file: string,
  read: (value: unknown, at: string) => T,
): T[] {
  const records: T[] = [];
  const lineOf = new Map<string | number, number>();
  const onRecord = (value: unknown, line: number): void => {
    const record = read(value, `${file} line ${line}`);
    const earlier = lineOf.get(record.id);
    if (earlier !== undefined) {
      const id = JSON.stringify(record.id);
      throw new InputError(
        "double-id",
        `Expected every id once in ${file} but lines ${earlier} and ${line} both have ${id.slice(0, 80)}. Give each line its own.`,
      );
    }
    lineOf.set(record.id, line);
    records.push(record);
  };
  scanJsonl(file, onRecord, { lastLine: "whole", uniqueKeys: true });
  if (records.length === 0) throw new InputError("no-lines", `Expected at least one line in ${file} but it is empty.`);
  return records;
}
