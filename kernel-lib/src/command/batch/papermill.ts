/**
 * One notebook, run by the project's papermill in a process of its own.
 *
 * Reports which cell runs (from papermill's progress bar) and what the work in it says (from the file that
 * notebook/progress.ts writes). Whether the result may be believed is judged from the saved notebook, not here.
 */

import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { type ProgressState, venvEnvironment, venvProgram } from "../../notebook";

/** What is running right now. */
export interface RunningState {
  /** Cells finished and in all; null before the kernel has started. */
  cells: { done: number; total: number } | null;
  /** Progress of the work in the running cell, or null. */
  work: ProgressState | null;
}

/** How papermill ended. */
export interface PapermillOutcome {
  exitCode: number;
  /** Last lines that papermill wrote, for failures before any cell ran. */
  log: string;
  stopped: boolean;
}

/** One run. */
export interface PapermillJob {
  notebook: string;
  output: string;
  parameters: Record<string, unknown>;
  /** Seconds that the kernel may take to start. */
  startSeconds?: number;
  /** File that the notebook's work writes its progress to. */
  progressFile: string;
  /** File that the kernel notes in what the notebook reads. */
  readsFile: string;
  onState: (state: RunningState) => void;
  signal?: AbortSignal;
}

const POLL_MS = 500;
/** A kernel starts within five, on a busy machine within a hundred; papermill's own limit is 60. */
const START_SECONDS = 300;
const LOG_CHARS = 20_000;
/** Work that is told to stop ends its step and saves; of a large model that takes a while. */
const SAVE_MS = 60_000;
/** papermill needs a moment to shut the kernel down and to save the notebook. */
const STOP_MS = 10_000;

function readWork(path: string): ProgressState | null {
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as ProgressState;
  } catch {
    // Caught between truncation and writing; the next poll sees it.
    return null;
  }
}

/** Cells done and in all from a piece of papermill's log, or null if it says nothing about them. */
export function cellsFromLog(text: string): { done: number; total: number } | null {
  const found = [...text.matchAll(/(\d+)\/(\d+) \[/g)].at(-1);
  return found === undefined ? null : { done: Number(found[1]), total: Number(found[2]) };
}

/** JSON that papermill's YAML reader takes for the same: to it a number with an exponent but no point, 2e-7, is text. */
export function yamlOf(value: unknown): string {
  if (typeof value === "number") return JSON.stringify(value).replace(/^(-?\d+)e/, "$1.0e");
  if (Array.isArray(value)) return `[${value.map(yamlOf).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${yamlOf(item)}`);
  return `{${fields.join(", ")}}`;
}

/** Processes that a process started, where the system tells: the kernel, of a papermill. */
function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const lists = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8"));
    return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
  } catch {
    return []; // no such file system, or the process is gone
  }
}

/** Runs the job to its end. @throws DeviceError "environment" if `.venv` is missing */
export function runPapermill(job: PapermillJob): Promise<PapermillOutcome> {
  const parameters = Object.keys(job.parameters).length === 0 ? [] : ["-y", yamlOf(job.parameters)];
  const args = [job.notebook, job.output, "--progress-bar", "--cwd", dirname(job.notebook), ...parameters];
  args.push("--start-timeout", String(job.startSeconds ?? START_SECONDS));
  const env = { ...venvEnvironment(), STEERLAB_PROGRESS_FILE: job.progressFile, STEERLAB_READS_FILE: job.readsFile };
  rmSync(job.progressFile, { force: true });
  return new Promise((done, failed) => {
    // A group of its own: Ctrl-C in the terminal reaches only us, and papermill gets one interrupt, not two.
    const child = spawn(venvProgram("papermill"), args, { env, stdio: ["ignore", "ignore", "pipe"], detached: true });
    const leave = (): void => {
      child.kill("SIGTERM");
    };
    process.once("exit", leave);
    let log = "";
    let cells: RunningState["cells"] = null;
    let stopped = false;
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (chunk: string) => {
      log = (log + chunk).slice(-LOG_CHARS);
      const seen = cellsFromLog(chunk);
      if (seen !== null && seen.done !== cells?.done) rmSync(job.progressFile, { force: true });
      cells = seen ?? cells;
    });
    const timer = setInterval(() => job.onState({ cells, work: readWork(job.progressFile) }), POLL_MS);
    const stop = (): void => {
      stopped = true;
      // The kernel first: its cell saves and fails, and papermill ends with it. papermill itself would give it 3 seconds.
      const kernels = childrenOf(child.pid as number);
      for (const kernel of kernels) process.kill(kernel, "SIGINT");
      const patience = kernels.length === 0 ? 0 : SAVE_MS;
      setTimeout(() => child.kill("SIGINT"), patience).unref();
      setTimeout(() => child.kill("SIGKILL"), patience + STOP_MS).unref();
    };
    job.signal?.addEventListener("abort", stop, { once: true });
    const finish = (): void => {
      clearInterval(timer);
      process.off("exit", leave);
      job.signal?.removeEventListener("abort", stop);
      rmSync(job.progressFile, { force: true });
    };
    child.on("error", (error) => {
      finish();
      failed(error);
    });
    child.on("close", (code) => {
      finish();
      done({ exitCode: code ?? 1, log, stopped });
    });
  });
}

/** The lines of papermill's log that say why: its own error sentence, or the end of the traceback. */
export function failureFromLog(log: string): string {
  const lines = log.split(/[\r\n]+/).filter((line) => line.trim() !== "" && !/^Executing:/.test(line.trim()));
  const error = lines.findIndex((line) => /^Error: /.test(line));
  const said = (error === -1 ? lines.slice(-4) : lines.slice(error)).join("\n");
  return said === "" ? "papermill ended without a word" : said;
}
