/**
 * Notebooks headless, one after another: each in a kernel of its own, each saved and rendered, with an index.
 *
 * notebooks/*.ipynb -> papermill -> <out>/<name>.ipynb -> <out>/<name>.html -> <out>/index.html and batch.json.
 * A notebook that declares a `batchDir` parameter receives the batch's folder: it writes its run to batchDir/<name> and
 * finds what earlier ones made there. `metadata.steerlab.needs` names notebooks that must be valid first,
 * `metadata.steerlab.minutes` how long one usually takes. "Ran" and "valid" are judged apart (batch/records.ts).
 */

import { makeFolder, writeFileAtomic, writeJsonAtomic } from "../files";
import { type NotebookFile, notebookToHtml, readNotebook, venvProgram } from "../notebook";
import { indexPage } from "./batch/index-page";
import { failureFromLog, type PapermillOutcome, type RunningState, runPapermill } from "./batch/papermill";
import { afterNeeded, type Job, notTaken, planJobs } from "./batch/plan";
import { judge, type NotebookRecord } from "./batch/records";
import { batchReporter, type BatchReporter } from "./batch/reporter";
import { decidersOf, madeBy, readsOf, whyAgain } from "./batch/unchanged";
import { DEFAULT_NOTEBOOKS } from "./tables";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/** Options of `runBatch`. */
export interface BatchOptions {
  /** Paths of notebooks, or names of files in notebooks/. Default: the main job. */
  notebooks?: ReadonlyArray<string>;
  /** Given to every notebook that declares them; a name that no notebook declares is an error. */
  parameters?: Record<string, unknown>;
  /** Folder for everything; made if needed. An existing one is continued: valid, unchanged notebooks are kept. */
  outDir: string;
  /** Title of the index page. */
  title?: string;
  /** Seconds that a kernel may take to start; default 300. */
  startSeconds?: number;
  /** Stops the batch after saving what is there. */
  signal?: AbortSignal;
  /** Where progress goes, default stderr. */
  stream?: { write(text: string): unknown; isTTY?: boolean; columns?: number };
}

/** What `runBatch` returns. */
export interface NotebookBatch {
  records: NotebookRecord[];
  /** Absolute path of the index page. */
  index: string;
  /** True if every notebook is valid. */
  ok: boolean;
}

/**
 * Runs notebooks and renders them; never throws because of a failing notebook, that is in the records.
 *
 * @returns records in order, the index page, and whether all are valid (an exit code should say so)
 * @throws InputError "notebook-path" or "parameter" before anything runs; DeviceError "environment" without .venv
 * @example
 * const { ok, index } = await runBatch({ outDir: "runs/tonight", parameters: { seed: 7 } });
 */
export async function runBatch(options: BatchOptions): Promise<NotebookBatch> {
  venvProgram("papermill");
  const outDir = resolve(options.outDir);
  const jobs = planJobs(options.notebooks ?? DEFAULT_NOTEBOOKS, options.parameters ?? {}, outDir);
  makeFolder(outDir, "--out");
  const stream = options.stream ?? process.stderr;
  for (const line of notTaken(jobs, options.parameters ?? {})) stream.write(`${line}\n`);
  const reporter = batchReporter(stream, jobs.map(expectedSeconds));
  const before = readRecords(outDir);
  // Notebooks of this folder that were not asked for now stay: others may build on them, and the index shows them.
  const kept = before.filter(
    ({ name, outputNotebook }) =>
      !jobs.some((job) => job.name === name) && outputNotebook !== null && existsSync(join(outDir, outputNotebook)),
  );
  const records: NotebookRecord[] = [];
  for (const [i, job] of jobs.entries()) {
    reporter.start(i, job.name);
    const record = await runJob(job, [...kept, ...records], before, outDir, options, reporter);
    records.push(record);
    reporter.end(record);
    const all = [...kept, ...records].sort((a, b) => (a.name < b.name ? -1 : 1));
    writeJsonAtomic(join(outDir, "batch.json"), all);
    writeFileAtomic(join(outDir, "index.html"), indexPage(all, outDir, options.title ?? "Notebook batch"));
  }
  const index = join(outDir, "index.html");
  const ok = records.every(({ valid }) => valid);
  reporter.finish(records, index);
  return { records, index, ok };
}

function expectedSeconds({ file }: Job): number | null {
  const minutes = file.metadata.steerlab?.minutes;
  return typeof minutes === "number" && minutes > 0 ? minutes * 60 : null;
}

function readRecords(outDir: string): NotebookRecord[] {
  try {
    return JSON.parse(readFileSync(join(outDir, "batch.json"), "utf8")) as NotebookRecord[];
  } catch {
    // A first run has none, and a damaged one only means that notebooks run again.
    return [];
  }
}

async function runJob(
  planned: Job,
  records: ReadonlyArray<NotebookRecord>,
  before: ReadonlyArray<NotebookRecord>,
  outDir: string,
  options: BatchOptions,
  reporter: BatchReporter,
): Promise<NotebookRecord> {
  const needs = planned.file.metadata.steerlab?.needs ?? [];
  const needed = records.filter(({ name }) => needs.includes(name));
  const job = afterNeeded(planned, needed);
  const blank: NotebookRecord = {
    ...{ name: job.name, notebook: relative(outDir, job.path), status: "skipped", valid: false, problems: [] },
    ...{ seconds: null, numbers: {}, run: null, outputNotebook: null, html: null, reused: false },
    ...{ deciders: decidersOf(job, needed), reads: {}, made: null },
  };
  if (options.signal?.aborted === true) return { ...blank, problems: ["not started: the batch was stopped"] };
  const broken = needed.filter(({ valid }) => !valid).map(({ name }) => name);
  if (broken.length > 0) return { ...blank, problems: [`not started: it builds on ${broken.join(", ")}, not valid`] };
  const old = before.find(({ name }) => name === job.name);
  const why = old === undefined ? null : whyAgain(old, job, needed, outDir);
  if (old !== undefined && why === null) return { ...old, reused: true };
  if (old?.valid === true && why !== null) reporter.again(why);
  return { ...blank, ...(await execute(job, needed, outDir, options, (state) => reporter.running(state))) };
}

async function execute(
  job: Job,
  needed: ReadonlyArray<NotebookRecord>,
  outDir: string,
  { signal, startSeconds }: BatchOptions,
  onState: (state: RunningState) => void,
): Promise<Partial<NotebookRecord>> {
  const outputNotebook = `${job.name}.ipynb`;
  const output = join(outDir, outputNotebook);
  const progressFile = join(outDir, `.${job.name}.progress.json`);
  const readsFile = join(outDir, `.${job.name}.reads`);
  for (const file of [output, readsFile]) rmSync(file, { force: true });
  const started = Date.now();
  const start = performance.now();
  const { path: notebook, parameters } = job;
  const files = { notebook, output, progressFile, readsFile };
  const outcome = await runPapermill({ ...files, parameters, startSeconds, onState, signal });
  const reads = readsOf(readsFile, started, outDir, needed);
  rmSync(readsFile, { force: true });
  const seconds = (performance.now() - start) / 1000;
  const file = executedNotebook(output);
  if (file === null) return { ...failedEarly(outcome), seconds };
  const judged = judge(file, dirname(job.path), outcome);
  const html = `${job.name}.html`;
  const headerHtml = '<p><a href="index.html">All notebooks of this batch</a></p>';
  const page = notebookToHtml(file, { headerHtml, footer: `Made from ${outputNotebook} by steerlab batch.` });
  writeFileAtomic(join(outDir, html), page);
  if (outcome.stopped) return { status: "stopped", problems: ["stopped on request"], seconds, outputNotebook, html };
  return { ...judged, seconds, outputNotebook, html, reads, made: madeBy(output, judged.run) };
}

/** What papermill left; null if nothing or only a part could be written, of which its log tells. */
function executedNotebook(output: string): NotebookFile | null {
  try {
    return existsSync(output) ? readNotebook(output) : null;
  } catch {
    return null;
  }
}

function failedEarly(outcome: PapermillOutcome): Partial<NotebookRecord> {
  if (outcome.stopped) return { status: "stopped", problems: ["stopped on request"] };
  return { status: "failed", problems: [failureFromLog(outcome.log)] };
}
