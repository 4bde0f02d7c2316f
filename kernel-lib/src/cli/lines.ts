/** JSONL inputs of the command line: read whole and checked line by line before any model is loaded. */
import { DataError, InputError } from "../errors";
import { readJsonl } from "../files";

/**
 * Every record of a file, checked by `read`; a last line without newline counts.
 * @throws DataError "jsonl-line", "file-missing"; InputError "no-lines", and what `read` throws
 */
export function readLines<T>(file: string, read: (value: unknown, at: string) => T): T[] {
  const { records, torn } = readJsonl(file);
  if (torn !== null && torn.trim() !== "") {
    try {
      records.push(JSON.parse(torn));
    } catch {
      throw new DataError(
        "jsonl-line",
        `Expected JSON in ${file}, last line, but received ${JSON.stringify(torn.slice(0, 60))}. The file ends in the middle of a line.`,
      );
    }
  }
  if (records.length === 0) throw new InputError("no-lines", `Expected at least one line in ${file} but it is empty.`);
  return records.map((value, i) => read(value, `${file} record ${i + 1}`));
}
