/**
 * Where an output goes: the one place that decides what may be replaced, what is written through and what is refused.
 *
 * A regular file, or nothing yet: replaced as a whole. A link: what it leads to is, and the link stays. A device, or a
 * descriptor of this process (/dev/stdout, /dev/fd/3): written through, never replaced. Everything else (folder, named pipe,
 * socket, disk) is refused. Failures of the disk are named here too, with the way on.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { DeviceError, expected, InputError, SteerlabError } from "../base";

/** How a target is written. */
export interface Destination {
  /** "replace": written beside and renamed; "through": opened and written into */
  how: "replace" | "through";
  /** what is renamed onto or opened: the target itself, or what its links lead to */
  file: string;
}

const LINK_LIMIT = 40; // as the kernel's own

/**
 * Decides how `target` is written; touches nothing.
 *
 * @param name the flag or option it came from, for the error sentence
 * @param kind what is to stand there
 * @throws InputError "out-kind" for what can be neither replaced nor written through, "out-folder" for no place at all
 */
export function destinationOf(target: string, name = "the output", kind: "file" | "folder" = "file"): Destination {
  return writing(target, () => decide(target, name, kind));
}

function decide(target: string, name: string, kind: "file" | "folder"): Destination {
  let file = path.resolve(target);
  for (let hop = 0; hop < LINK_LIMIT; hop++) {
    // The last link of a descriptor is no path ("pipe:[123]"), so it is not followed by hand.
    if (kind === "file" && isDescriptor(file)) return { how: "through", file };
    const entry = fs.lstatSync(file, { throwIfNoEntry: false });
    if (entry === undefined || (kind === "file" ? entry.isFile() : entry.isDirectory()))
      return { how: "replace", file };
    if (entry.isCharacterDevice() && kind === "file") return { how: "through", file };
    if (!entry.isSymbolicLink()) throw refused(target, name, kind, kindOf(entry));
    file = path.resolve(path.dirname(file), fs.readlinkSync(file));
  }
  throw refused(target, name, kind, "a link that leads in circles");
}

/** A descriptor that a process holds open: /proc/<pid>/fd/<n>, which /dev/stdout and /dev/fd/<n> lead to. */
function isDescriptor(file: string): boolean {
  return /^\/(proc\/[^/]+|dev)\/fd\/\d+$/.test(file) && fs.existsSync(file);
}

function kindOf(entry: fs.Stats): string {
  if (entry.isDirectory()) return "a folder";
  if (entry.isFile()) return "a file";
  if (entry.isFIFO()) return "a named pipe";
  if (entry.isSocket()) return "a socket";
  return "a device";
}

function refused(target: string, name: string, wanted: string, found: string): InputError {
  const remedy =
    found === "a named pipe" ? "Write to /dev/stdout and lead that into the pipe." : "Choose another name.";
  return new InputError("out-kind", expected(`a ${wanted}`, name, target, `There is ${found} of this name. ${remedy}`));
}

/** The folder in which a whole file for this destination is first written: beside it, where a rename is no copy. */
export function stagingPlace({ how, file }: Destination): string {
  return how === "replace" ? file : path.join(os.tmpdir(), `steerlab-${path.basename(file)}`);
}

/** Copies a finished file into a device or descriptor. */
export function writeThrough(source: string, { file }: Destination): void {
  const from = fs.openSync(source, "r");
  try {
    const own = new RegExp(`^/(proc/(self|${process.pid})|dev)/fd/(\\d+)$`).exec(file);
    // Our own descriptor is used as it is: a socket cannot be opened again. Appending keeps what a shell put there before.
    const to = own === null ? fs.openSync(file, "a") : Number(own[3]);
    try {
      const piece = Buffer.alloc(1 << 20);
      for (let length = fs.readSync(from, piece); length > 0; length = fs.readSync(from, piece))
        writeFully(to, piece.subarray(0, length));
    } finally {
      if (own === null) fs.closeSync(to);
    }
  } finally {
    fs.closeSync(from);
  }
}

/** Writes all bytes; a pipe that is full for the moment is waited for. */
export function writeFully(handle: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(handle, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** What `partialPath` adds to a name; nobody asked for a file of that name. */
const UNFINISHED = /\.\d+-\d+\.partial$/;
const FULL = ["ENOSPC", "EDQUOT", "EFBIG"];
const FORBIDDEN = ["EACCES", "EPERM", "EROFS", "ENOTDIR", "ENOENT", "ENAMETOOLONG", "EISDIR"];

/**
 * Runs `work`, which writes to `target`, and turns what the system says into a sentence with path and remedy.
 *
 * @throws DeviceError "disk-full"; InputError "out-folder" (the place cannot be written)
 */
export function writing<T>(target: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw writeFailure(target, error);
  }
}

/** The error for a write that failed; errors that speak for themselves are given back as they are. */
export function writeFailure(target: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException)?.code;
  if (error instanceof SteerlabError || code === undefined) return error;
  if (FULL.includes(code)) {
    const remedy = "Free some space there and run the same again: what was finished before is kept.";
    const place = target.replace(UNFINISHED, "");
    return new DeviceError("disk-full", expected("room on the disk", place, code, remedy), { cause: error });
  }
  return FORBIDDEN.includes(code) ? cannotWrite(target, "the output", error) : error;
}

/** The error for an output that cannot be written. */
export function cannotWrite(target: string, name: string, cause: unknown): InputError {
  const reason = (cause as Error).message.split(",")[0];
  return new InputError(
    "out-folder",
    `Expected a place that can be written for ${name} but received ${JSON.stringify(target)} (${reason}). Choose another.`,
    { cause },
  );
}
