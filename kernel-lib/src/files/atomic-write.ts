/**
 * Whole-file writes that leave either the old file or the new one, never a part: write beside, flush, rename.
 *
 * The temporary name is `<name>.<pid>-<n>.partial` in the same folder (a rename across file systems is a copy). What is
 * left of a killed process is a `.partial` file that no reader of this library looks at. What may be replaced, and what is
 * written through instead, is decided in destination.ts.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { destinationOf, stagingPlace, writeFully, writeThrough, writing } from "./destination";
import { makeMissing } from "./folders";
import { finiteJson } from "./json";

let partialCount = 0;

/**
 * A name for the unfinished `target` that no other writer of this or another process uses: beside it, or beside what it links to.
 *
 * @throws InputError "out-kind" if the target cannot be written as a file
 */
export function partialPath(target: string, kind: "file" | "folder" = "file"): string {
  partialCount += 1;
  return `${stagingPlace(destinationOf(target, "the output", kind))}.${process.pid}-${partialCount}.partial`;
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

/** Puts a finished, closed `partial` (a file or a folder) in place of `target`, durably; a device gets its bytes. */
export function commitPartial(partial: string, target: string): void {
  writing(target, () => {
    const destination = destinationOf(target, "the output", fs.statSync(partial).isDirectory() ? "folder" : "file");
    if (destination.how === "through") {
      writeThrough(partial, destination);
      fs.rmSync(partial);
      return;
    }
    fs.renameSync(partial, destination.file);
    flushFolder(path.dirname(destination.file));
  });
}

/**
 * Writes a file as a whole by way of `fill`, which gets the open handle. Missing parent folders are made.
 *
 * @throws DeviceError "disk-full"; InputError "out-kind", "out-folder"; and what `fill` throws
 */
export function writeWhole(target: string, fill: (handle: number) => void): void {
  writing(target, () => {
    makeMissing(path.dirname(target));
    const partial = partialPath(target);
    try {
      const handle = fs.openSync(partial, "wx");
      try {
        fill(handle);
        fs.fsyncSync(handle);
      } finally {
        fs.closeSync(handle);
      }
      commitPartial(partial, target);
    } catch (error) {
      fs.rmSync(partial, { force: true });
      throw error;
    }
  });
}

/**
 * Writes `data` to `target`, replacing it as a whole. Missing parent folders are made.
 *
 * @throws as `writeWhole`
 *
 * @example
 * writeFileAtomic("runs/x/summary.json", "{}\n");
 */
export function writeFileAtomic(target: string, data: string | Uint8Array): void {
  writeWhole(target, (handle) => writeFully(handle, typeof data === "string" ? Buffer.from(data, "utf8") : data));
}

/**
 * Writes a value as indented JSON with a final newline, as a whole or not at all.
 *
 * @throws InputError "not-finite" if a number is NaN or infinite (JSON would turn it into null unasked); as `writeWhole`
 */
export function writeJsonAtomic(target: string, value: unknown): void {
  writeFileAtomic(target, `${finiteJson(value, 2)}\n`);
}
