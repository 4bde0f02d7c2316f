/**
 * What a batch remembers of each notebook, and the judgement of a finished one.
 *
 * "Ran" means: every cell was executed and none raised. "Valid" means more: nothing failed in the background, the
 * notebook declared its result, names no problem, and its run folder is marked DONE. The two are never mixed up.
 */

import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { cellsNotRun, declaredResult, errorsOf, type NotebookFile } from "../../notebook";
import { failureFromLog, type PapermillOutcome } from "./papermill";

/** One notebook of a batch. */
export interface NotebookRecord {
  /** File name without extension, such as "01-train". */
  name: string;
  notebook: string;
  /** "ran": to the end; "failed": a cell raised or the kernel died; "skipped": not started; "stopped": by the user. */
  status: "ran" | "failed" | "skipped" | "stopped";
  /** The result can be used. */
  valid: boolean;
  /** Why it is not valid; empty if it is. */
  problems: string[];
  /** null: not run. */
  seconds: number | null;
  numbers: Record<string, number | string | null>;
  /** Run folder, absolute, or null. */
  run: string | null;
  /** Run folders of further measurements, absolute; absent in records of older versions. */
  beside?: string[];
  /** File names in the batch folder; null if there is none. */
  outputNotebook: string | null;
  html: string | null;
  /** What decided the result and was known before it ran, by name (batch/unchanged.ts). */
  deciders: Record<string, string>;
  /** Files that it read, relative to the batch folder, with a fingerprint each. */
  reads: Record<string, string>;
  /** What it left: hash of the executed notebook, names in its run folder; null if it did not run. */
  made: { notebook: string; run: string[] } | null;
  /** True if this record was taken over from an earlier run of the same batch. */
  reused: boolean;
}

function runFolder(run: string | null, base: string): string | null {
  if (run === null) return null;
  return isAbsolute(run) ? run : resolve(base, run);
}

function runProblems(folder: string | null): string[] {
  if (folder === null) return [];
  if (!existsSync(folder)) return [`its run folder ${folder} does not exist`];
  if (existsSync(join(folder, "FAILED"))) return ["its run folder is marked FAILED"];
  return existsSync(join(folder, "DONE")) ? [] : ["its run folder is not marked DONE"];
}

/** The judgement of a notebook that papermill has left behind. */
export function judge(
  file: NotebookFile,
  base: string,
  { exitCode, log }: Pick<PapermillOutcome, "exitCode" | "log"> = { exitCode: 0, log: "" },
): Pick<NotebookRecord, "status" | "valid" | "problems" | "numbers" | "run" | "beside"> {
  const errors = errorsOf(file);
  const notRun = cellsNotRun(file);
  const result = declaredResult(file);
  const run = runFolder(result?.run ?? null, base);
  const problems = errors.map(({ ename, evalue }) => `${ename ?? "Error"}: ${evalue ?? ""}`);
  if (errors.length === 0 && exitCode !== 0) problems.push(failureFromLog(log));
  if (notRun > 0) problems.push(`${notRun} ${notRun === 1 ? "cell was" : "cells were"} not run`);
  const ran = problems.length === 0;
  if (result !== null) problems.push(...result.problems, ...runProblems(run));
  else if (ran) problems.push("it declares no result (declareResult in its last cell)");
  return {
    status: ran ? "ran" : "failed",
    valid: problems.length === 0,
    problems,
    numbers: result?.numbers ?? {},
    run,
    beside: (result?.beside ?? []).flatMap((folder) => runFolder(folder, base) ?? []),
  };
}
