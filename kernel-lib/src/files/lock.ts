/**
 * One process at a time: a lock file that names its holder, and is stale once that process is gone.
 *
 * The holder is a number, a start time and a machine: a number that is used again is another process. A killed process leaves
 * the file behind; its successor takes it over. A process of another machine cannot be looked at, so its claim does not hold.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import { partialPath } from "./atomic-write";

interface Holder {
  pid: number;
  /** start of the process in the system's own count, where it tells */
  start: string | null;
  host: string;
}

/** What an attempt came to. */
export type LockAttempt =
  | {
      held: true;
      /** whether a process that is gone had held it */
      tookOver: boolean;
      release(): void;
    }
  | {
      held: false;
      /** the living holder, in words */
      holder: string;
    };

/**
 * Takes the lock if nobody living holds it; does not wait.
 *
 * @param file the lock's own file, in an existing folder
 * @throws what the file system throws if the lock cannot be written
 * @example
 * const lock = tryLock("runs/x/RUNNING");
 * if (lock.held) lock.release();
 */
export function tryLock(file: string): LockAttempt {
  const found = readHolder(file);
  if (found !== null && found !== "nobody") return { held: false, holder: `process ${found.pid}` };
  try {
    if (found === "nobody" && !removeStale(file)) return { held: false, holder: "another process" };
    putClaim(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return { held: false, holder: "another process" };
    throw error;
  }
  return { held: true, tookOver: found === "nobody", release: () => fs.rmSync(file, { force: true }) };
}

/** The living holder; "nobody" if the lock is left over; null if there is none. */
function readHolder(file: string): Holder | "nobody" | null {
  let holder: Partial<Holder> | null;
  try {
    holder = JSON.parse(fs.readFileSync(file, "utf8")) as Partial<Holder> | null;
  } catch (error) {
    // Killed while it wrote the claim: nobody holds it.
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? null : "nobody";
  }
  const here = holder?.host === os.hostname() && typeof holder.pid === "number";
  return here && lives(holder as Holder) ? (holder as Holder) : "nobody";
}

/** Takes a stale lock away; false if it had been taken over meanwhile, and is put back then. */
function removeStale(file: string): boolean {
  const aside = partialPath(file);
  try {
    fs.renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true; // another process was quicker
    throw error;
  }
  const fresh = readHolder(aside) !== "nobody";
  if (fresh) fs.renameSync(aside, file);
  else fs.rmSync(aside, { force: true });
  return !fresh;
}

/** Puts the claim there whole, if there is none: one that is read while it is written would look like a killed process's. */
function putClaim(file: string): void {
  const claim = JSON.stringify({ pid: process.pid, start: startOf(process.pid), host: os.hostname() } satisfies Holder);
  const partial = partialPath(file);
  try {
    fs.writeFileSync(partial, claim);
    fs.linkSync(partial, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes(code)) throw error;
    fs.writeFileSync(file, claim, { flag: "wx" }); // a file system without hard links
  } finally {
    fs.rmSync(partial, { force: true });
  }
}

function lives({ pid, start }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const now = startOf(pid);
  return start === null || now === null || now === start;
}

/** When a process started: field 22 of its stat line, the 20th after the name in brackets; null where there is no such file. */
function startOf(pid: number): string | null {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
