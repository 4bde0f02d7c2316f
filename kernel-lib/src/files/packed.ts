/** Files that stand packed by gzip beside where they would stand plain: finished runs made small enough to share. */
import * as fs from "node:fs";
import { gunzipSync } from "node:zlib";
import { DataError } from "../base";

const UNPACKED_BYTES = 1 << 30;

/** The file, or its packed twin `file.gz` where only that is there; the file itself where neither is. */
export function packedOr(file: string): string {
  return !fs.existsSync(file) && fs.existsSync(`${file}.gz`) ? `${file}.gz` : file;
}

/** The content of a file: unpacked if its name ends in .gz, else the bytes as they are. @throws DataError "gzip" */
export function unpacked(file: string, bytes: Buffer): Buffer {
  if (!file.endsWith(".gz")) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: UNPACKED_BYTES });
  } catch (cause) {
    throw new DataError(
      "gzip",
      `Expected a whole gzip file of at most ${UNPACKED_BYTES} unpacked bytes at ${file} but could not unpack it. Fetch it again.`,
      { cause },
    );
  }
}

/** All bytes of a file, unpacked if its name ends in .gz. @throws DataError "gzip" */
export function readBytes(file: string): Buffer {
  return unpacked(file, fs.readFileSync(file));
}
