/** Opening files to read: only regular ones, because a named pipe or a terminal would be waited for without end. */
import * as fs from "node:fs";
import { DataError } from "../base";
import { unpacked } from "./packed";

/**
 * Refuses what cannot be read as a file; links are followed.
 *
 * @param options.descriptors take /dev/stdin and /dev/fd/<n> too: something was put there on purpose
 * @throws DataError "file-missing", "no-regular-file"
 */
export function checkReadable(file: string, options: { descriptors?: boolean } = {}): void {
  let entry: fs.Stats;
  try {
    entry = fs.statSync(file);
  } catch (cause) {
    throw missing(file, cause);
  }
  if (entry.isFile()) return;
  if (entry.isDirectory()) throw new DataError("file-missing", `Expected a file at ${file} but found a folder.`);
  if (options.descriptors === true && /^\/dev\/(stdin|fd\/\d+)$|^\/proc\/[^/]+\/fd\/\d+$/.test(file)) return;
  throw new DataError(
    "no-regular-file",
    `Expected a regular file at ${file} but it is no regular file (a pipe, a device or a socket). Write its content to a file first.`,
  );
}

/** A handle of a regular file, to be closed by the caller. @throws DataError as `checkReadable` */
export function openToRead(file: string, options: { descriptors?: boolean } = {}): number {
  checkReadable(file, options);
  try {
    return fs.openSync(file, "r");
  } catch (cause) {
    throw missing(file, cause);
  }
}

/** The text of a regular file, or in a .gz file. @throws DataError as `checkReadable`, "gzip" */
export function readText(file: string): string {
  checkReadable(file);
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch (cause) {
    throw missing(file, cause);
  }
  return unpacked(file, bytes).toString("utf8");
}

function missing(file: string, cause: unknown): DataError {
  const denied = (cause as NodeJS.ErrnoException).code === "EACCES" ? " (permission denied)" : "";
  return new DataError("file-missing", `Expected a readable file at ${file} but could not open it${denied}.`, {
    cause,
  });
}
