/**
 * One training process per run folder: `RUNNING` names the process that holds it, and is stale once that process is gone.
 *
 * A killed process leaves the file behind; its successor takes it over. A process of another machine cannot be looked at, so
 * its claim does not hold. The holder also clears away what a killed predecessor left half-written (`*.partial`).
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { expected, InputError } from "../base";
import { cannotWrite, makeFolder, partialPath, removeIfEmpty } from "../files";

/** A claimed run folder. */
export interface RunLock {
  /** whether the folder held a run, finished or broken off, when it was claimed */
  readonly resumed: boolean;
  /** Gives the folder back; takes it away again if nothing was put there. */
  release(): void;
}

const NAME = "RUNNING";

interface Holder {
  pid: number;
  /** start of the process in the system's own count, where it tells: a number that is used again is another process */
  start: string | null;
  host: string;
}

/**
 * Claims a run folder, made if absent, before anything is loaded.
 *
 * @param resume whether a run in it is to be continued
 * @throws InputError "run-busy" (another process trains in it), "run-exists" (it has a run and resume is off), "out-folder"
 */
export function claimRun(out: string, resume: boolean): RunLock {
  if (out === "") throw new InputError("run-folder", expected("a folder", "out", out));
  const made = makeFolder(out, "the run folder");
  const lock = path.join(out, NAME);
  const brokenOff = takeOver(lock, out);
  const resumed = brokenOff || hasRun(out);
  const release = (): void => {
    fs.rmSync(lock, { force: true });
    const events = path.join(out, "events.jsonl");
    if (fs.statSync(events, { throwIfNoEntry: false })?.size === 0) fs.rmSync(events);
    removeIfEmpty(made);
  };
  try {
    putClaim(lock);
  } catch (error) {
    removeIfEmpty(made);
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw busy(out, "another process");
    throw cannotWrite(out, "the run folder", error);
  }
  if (!resume && hasRun(out)) {
    release();
    throw new InputError(
      "run-exists",
      expected("a folder without a run", "out", out, "Resume it (--resume), or choose another folder."),
    );
  }
  if (resume) clearPartials(out);
  return { resumed, release };
}

/** Puts the claim there whole, if there is none: one that is read while it is written would look like a killed process's. */
function putClaim(lock: string): void {
  const partial = partialPath(lock);
  try {
    fs.writeFileSync(partial, JSON.stringify(self()));
    fs.linkSync(partial, lock);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes(code)) throw error;
    fs.writeFileSync(lock, JSON.stringify(self()), { flag: "wx" }); // a file system without hard links
  } finally {
    fs.rmSync(partial, { force: true });
  }
}

/** Checkpoints, recorded steps or an adapter: what a new run would spoil. */
function hasRun(out: string): boolean {
  const events = fs.statSync(path.join(out, "events.jsonl"), { throwIfNoEntry: false });
  return (events?.size ?? 0) > 0 || ["checkpoints", "adapter"].some((name) => fs.existsSync(path.join(out, name)));
}

/** Removes the claim of a process that is gone; true if there was one. @throws InputError "run-busy" */
function takeOver(lock: string, out: string): boolean {
  if (!fs.existsSync(lock)) return false;
  let holder: Partial<Holder> | null = null;
  try {
    holder = JSON.parse(fs.readFileSync(lock, "utf8")) as Partial<Holder>;
  } catch {
    // Killed while it wrote the claim: nobody holds it.
  }
  if (holder?.host === os.hostname() && typeof holder.pid === "number" && lives(holder.pid, holder.start ?? null))
    throw busy(out, `process ${holder.pid}`);
  fs.rmSync(lock, { force: true });
  return true;
}

function busy(out: string, holder: string): InputError {
  return new InputError(
    "run-busy",
    expected("a folder that no other process trains in", "out", out, `It is held by ${holder}. Wait for it to end.`),
  );
}

function self(): Holder {
  return { pid: process.pid, start: startOf(process.pid), host: os.hostname() };
}

function lives(pid: number, start: string | null): boolean {
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

function clearPartials(out: string): void {
  for (const folder of [out, path.join(out, "adapter"), path.join(out, "checkpoints")]) {
    if (!fs.existsSync(folder)) continue;
    for (const name of fs.readdirSync(folder)) {
      if (/\.\d+-\d+\.partial$/.test(name)) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
    }
  }
}
