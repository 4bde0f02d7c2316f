/**
 * Whole-file writes that leave either the old file or the new one, never a part: write beside, flush, rename.
 *
 * The temporary name is `<name>.<pid>-<n>.partial` in the same folder (a rename across file systems is a copy). What is
 * left of a killed process is a `.partial` file that no reader of this library looks at.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { finiteJson } from "./json";

let partialCount = 0;

/** A name beside `target` that no other writer of this or another process uses. */
export function partialPath(target: string): string {
  partialCount += 1;
  return `${target}.${process.pid}-${partialCount}.partial`;
}

/** Flushes a folder entry to disk so that a rename survives power loss; file systems that cannot are left as they are. */
function flushFolder(folder: string): void {
  let handle: number | null = null;
  try {
    handle = fs.openSync(folder, "r");
    fs.fsyncSync(handle);
  } catch {
    // Windows and some network mounts refuse to open or flush a folder; the rename itself has already happened.
  } finally {
    if (handle !== null) fs.closeSync(handle);
  }
}

/** Renames a finished, closed `partial` onto `target` and makes that durable. */
export function commitPartial(partial: string, target: string): void {
  fs.renameSync(partial, target);
  flushFolder(path.dirname(target));
}

/**
 * Writes `data` to `target`, replacing it as a whole. Missing parent folders are made.
 *
 * @example
 * writeFileAtomic("runs/x/summary.json", "{}\n");
 */
export function writeFileAtomic(target: string, data: string | Uint8Array): void {
  fs.mkdirSync(path.dirname(target), { recursive: true });
  const partial = partialPath(target);
  try {
    const handle = fs.openSync(partial, "wx");
    try {
      fs.writeFileSync(handle, data);
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
    commitPartial(partial, target);
  } catch (error) {
    fs.rmSync(partial, { force: true });
    throw error;
  }
}

/**
 * Writes a value as indented JSON with a final newline, as a whole or not at all.
 *
 * @throws InputError "not-finite" if a number is NaN or infinite (JSON would turn it into null unasked)
 */
export function writeJsonAtomic(target: string, value: unknown): void {
  writeFileAtomic(target, `${finiteJson(value, 2)}\n`);
}
