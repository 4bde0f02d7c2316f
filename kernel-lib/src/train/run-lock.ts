/**
 * One training process per run folder: `RUNNING` names the process that holds it (files/lock.ts says when it is stale).
 *
 * The holder also clears away what a killed predecessor left half-written (`*.partial`).
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { expected, InputError } from "../base";
import { cannotWrite, type LockAttempt, makeFolder, removeIfEmpty, tryLock } from "../files";

/** A claimed run folder. */
export interface RunLock {
  /** whether the folder held a run, finished or broken off, when it was claimed */
  readonly resumed: boolean;
  /** Gives the folder back; takes it away again if nothing was put there. */
  release(): void;
}

const NAME = "RUNNING";

/**
 * Claims a run folder, made if absent, before anything is loaded.
 *
 * @param resume whether a run in it is to be continued
 * @throws InputError "run-busy" (another process trains in it), "run-exists" (it has a run and resume is off), "out-folder"
 */
export function claimRun(out: string, resume: boolean): RunLock {
  if (out === "") throw new InputError("run-folder", expected("a folder", "out", out));
  const made = makeFolder(out, "the run folder");
  const lock = attempt(out, made);
  const resumed = lock.tookOver || hasRun(out);
  const release = (): void => {
    lock.release();
    const events = path.join(out, "events.jsonl");
    if (fs.statSync(events, { throwIfNoEntry: false })?.size === 0) fs.rmSync(events);
    removeIfEmpty(made);
  };
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

/** @throws InputError "run-busy", "out-folder" */
function attempt(out: string, made: readonly string[]): Extract<LockAttempt, { held: true }> {
  let lock: LockAttempt;
  try {
    lock = tryLock(path.join(out, NAME));
  } catch (error) {
    removeIfEmpty(made);
    throw cannotWrite(out, "the run folder", error);
  }
  if (lock.held) return lock;
  const remedy = `It is held by ${lock.holder}. Wait for it to end.`;
  throw new InputError("run-busy", expected("a folder that no other process trains in", "out", out, remedy));
}

/** Checkpoints, recorded steps or an adapter: what a new run would spoil. */
function hasRun(out: string): boolean {
  const events = fs.statSync(path.join(out, "events.jsonl"), { throwIfNoEntry: false });
  return (events?.size ?? 0) > 0 || ["checkpoints", "adapter"].some((name) => fs.existsSync(path.join(out, name)));
}

function clearPartials(out: string): void {
  for (const folder of [out, path.join(out, "adapter"), path.join(out, "checkpoints")]) {
    if (!fs.existsSync(folder)) continue;
    for (const name of fs.readdirSync(folder)) {
      if (/\.\d+-\d+\.partial$/.test(name)) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
    }
  }
}
