/**
 * One JSON value per line: the format of trials, events and progress, appended while the work runs.
 *
 * A process may die in the middle of a line. Readers therefore report an unfinished last line as `torn` instead of
 * failing, and the writer cuts it off before it appends, so that a resumed run has the bytes of an uninterrupted one. A
 * line is finished when its newline is on disk. A bad line anywhere else is damage and an error. A file whose name ends in .gz
 * is read through gzip: finished records packed for sharing.
 */
import { constants, isUtf8 } from "node:buffer";
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError } from "../base";
import { writeFully, writing } from "./destination";
import { makeMissing } from "./folders";
import { checkReadable, openToRead } from "./input";
import { duplicateKey, finiteJson } from "./json";
import { unpacked } from "./packed";

const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = 0xefbbbf;
const PIECE_BYTES = 1 << 20;

/** What `readJsonl` found. */
export interface JsonlContent<T> {
  records: T[];
  /** Text of an unfinished last line, or null if the file ends with a newline (or is empty). */
  torn: string | null;
}

/** How files of other writers are read. */
export interface JsonlOptions {
  /** "whole": a last line without newline is finished all the same; default "torn" */
  lastLine?: "torn" | "whole";
  /** refuse lines in which a key stands twice; default false */
  uniqueKeys?: boolean;
}

/**
 * Calls `onRecord` for each finished line, holding one piece of 1 MiB at a time. A byte-order mark before the
 * first is passed over.
 *
 * @returns the unfinished last line, or null
 * @throws DataError "jsonl-line" naming file and line number if a finished line is not UTF-8 or not JSON;
 *   "file-missing" if absent or a folder, "no-regular-file", "gzip"; "json-depth" with `uniqueKeys`
 */
export function scanJsonl(
  file: string,
  onRecord: (record: unknown, line: number) => void,
  options: JsonlOptions = {},
): string | null {
  // Pieces of a line that has not ended yet: joined once, at its end, so that a long line costs time in its length only.
  let begun: Buffer[] = [];
  let line = 0;
  for (const data of piecesOf(file)) {
    let start = 0;
    for (let end = data.indexOf(NEWLINE); end !== -1; end = data.indexOf(NEWLINE, start)) {
      line += 1;
      const last = data.subarray(start, end);
      readLine(begun.length === 0 ? last : Buffer.concat([...begun, last]), file, line, onRecord, options);
      begun = [];
      start = end + 1;
    }
    if (start < data.length) begun.push(Buffer.from(data.subarray(start)));
  }
  const rest = Buffer.concat(begun);
  if (options.lastLine === "whole") readLine(rest, file, line + 1, onRecord, options);
  return rest.length === 0 || options.lastLine === "whole" ? null : rest.toString("utf8");
}

/** The bytes of a file piece by piece, each good until the next is asked for; a .gz file is unpacked in one. */
function* piecesOf(file: string): Generator<Buffer> {
  const handle = openToRead(file, { descriptors: true });
  try {
    if (file.endsWith(".gz")) {
      yield unpacked(file, fs.readFileSync(handle));
      return;
    }
    const piece = Buffer.alloc(PIECE_BYTES);
    for (;;) {
      const length = fs.readSync(handle, piece, 0, PIECE_BYTES, null);
      if (length === 0) return;
      yield piece.subarray(0, length);
    }
  } finally {
    fs.closeSync(handle);
  }
}

/**
 * All finished lines of a file, in order; blank lines are skipped.
 *
 * @throws DataError as `scanJsonl`
 *
 * @example
 * const { records, torn } = readJsonl<{ id: string }>("runs/x/trials.jsonl");
 */
export function readJsonl<T = unknown>(file: string): JsonlContent<T> {
  const records: T[] = [];
  const torn = scanJsonl(file, (record) => records.push(record as T));
  return { records, torn };
}

/** Appends records to one file; open it once, close it at the end. */
export class JsonlWriter {
  private handle: number | null;

  /**
   * Opens for appending; makes the folder and file if absent and cuts off a torn last line.
   *
   * @param file path of the .jsonl file
   * @throws InputError "out-folder"; DataError "no-regular-file": records are read back, so a device will not do
   */
  constructor(readonly file: string) {
    this.handle = writing(file, () => {
      makeMissing(path.dirname(file));
      if (fs.existsSync(file)) checkReadable(file);
      cutTornLine(file);
      return fs.openSync(file, "a");
    });
  }

  /** Appends one record as one line. @throws as `appendAll` */
  append(record: unknown): void {
    this.appendAll([record]);
  }

  /** Appends records as lines in one write. @throws InputError "not-finite"; DataError "file-closed"; DeviceError "disk-full" */
  appendAll(records: readonly unknown[]): void {
    if (records.length === 0) return;
    const { handle } = this;
    if (handle === null) throw new DataError("file-closed", `Expected an open file but ${this.file} was closed.`);
    const bytes = Buffer.from(records.map((record) => `${finiteJson(record)}\n`).join(""), "utf8");
    writing(this.file, () => writeFully(handle, bytes));
  }

  /** Forces what was appended onto the disk (survives power loss, not only the process). */
  flush(): void {
    const { handle } = this;
    if (handle !== null) writing(this.file, () => fs.fsyncSync(handle));
  }

  /** Flushes and closes; closing twice is harmless. */
  close(): void {
    const { handle } = this;
    if (handle === null) return;
    this.handle = null;
    try {
      writing(this.file, () => fs.fsyncSync(handle));
    } finally {
      fs.closeSync(handle);
    }
  }
}

/** Cuts everything after the last newline of `file`, if there is such a file. */
function cutTornLine(file: string): void {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const handle = fs.openSync(file, "r+");
  try {
    const piece = Buffer.alloc(Math.min(size, PIECE_BYTES));
    let end = size;
    while (end > 0) {
      const start = Math.max(0, end - piece.length);
      fs.readSync(handle, piece, 0, end - start, start);
      const last = piece.subarray(0, end - start).lastIndexOf(NEWLINE);
      if (last !== -1) {
        end = start + last + 1;
        break;
      }
      end = start;
    }
    if (end < size) fs.ftruncateSync(handle, end);
  } finally {
    fs.closeSync(handle);
  }
}

function readLine(
  bytes: Buffer,
  file: string,
  line: number,
  onRecord: (record: unknown, line: number) => void,
  options: JsonlOptions,
): void {
  if (!isUtf8(bytes))
    throw new DataError("jsonl-line", `Expected UTF-8 text in ${file} line ${line} but received other bytes.`);
  if (bytes.length > constants.MAX_STRING_LENGTH)
    throw new DataError(
      "jsonl-line",
      `Expected at most ${constants.MAX_STRING_LENGTH} bytes in ${file} line ${line} but received ${bytes.length}. Split it.`,
    );
  const marked = line === 1 && bytes.length >= 3 && bytes.readUIntBE(0, 3) === BYTE_ORDER_MARK;
  const text = bytes.toString("utf8", marked ? 3 : 0);
  if (text.trim() === "") return;
  let record: unknown;
  try {
    record = JSON.parse(text) as unknown;
  } catch {
    const shown = text.length > 60 ? `${text.slice(0, 60)}...` : text;
    throw new DataError(
      "jsonl-line",
      `Expected JSON in ${file} line ${line} but received ${JSON.stringify(shown)}. The line is damaged or cut off.`,
    );
  }
  const twice = options.uniqueKeys === true ? duplicateKey(text, `${file} line ${line}`) : null;
  if (twice !== null)
    throw new DataError(
      "jsonl-line",
      `Expected every key once in ${file} line ${line} but received ${JSON.stringify(twice)} twice.`,
    );
  onRecord(record, line);
}
