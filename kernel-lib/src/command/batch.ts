/**
 * Notebooks headless, one after another: each in a kernel of its own, each saved and rendered, with an index.
 *
 * notebooks/*.ipynb -> papermill -> <out>/<name>.ipynb -> <out>/<name>.html -> <out>/index.html and batch.json.
 * A notebook that declares a `batchDir` parameter receives the batch's folder: it writes its run to batchDir/<name> and
 * finds what earlier ones made there. `metadata.steerlab.needs` names notebooks that must be valid first,
 * `metadata.steerlab.minutes` how long one usually takes. "Ran" and "valid" are judged apart (batch/records.ts).
 */

import { expected, InputError, PROJECT_FOLDER } from "../base";
import { type NotebookFile, notebookToHtml, parametersSource, readNotebookFile, venvProgram } from "../notebook";
import { indexPage } from "./batch/index-page";
import { failureFromLog, type PapermillOutcome, type RunningState, runPapermill } from "./batch/papermill";
import { judge, type NotebookRecord } from "./batch/records";
import { batchReporter, type BatchReporter } from "./batch/reporter";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";

/** The main job: train, sweep, side effects. */
export const DEFAULT_NOTEBOOKS: ReadonlyArray<string> = ["01-train", "02-concept-sweep", "03-side-effects"];

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

interface Job {
  name: string;
  path: string;
  file: NotebookFile;
  parameters: Record<string, unknown>;
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
  const jobs = planJobs(options, outDir);
  mkdirSync(outDir, { recursive: true });
  const reporter = batchReporter(options.stream ?? process.stderr, jobs.map(expectedSeconds));
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
    writeAtomically(join(outDir, "batch.json"), `${JSON.stringify(all, null, 2)}\n`);
    writeAtomically(join(outDir, "index.html"), indexPage(all, outDir, options.title ?? "Notebook batch"));
  }
  const index = join(outDir, "index.html");
  const ok = records.every(({ valid }) => valid);
  reporter.finish(records, index);
  return { records, index, ok };
}

/** Absolute path of a notebook given by path or by name. */
export function notebookPath(given: string): string {
  const named = join(PROJECT_FOLDER, "notebooks", given.endsWith(".ipynb") ? given : `${given}.ipynb`);
  const found = [resolve(given), named].find((path) => path.endsWith(".ipynb") && existsSync(path));
  if (found !== undefined) return found;
  const remedy = `Looked for ${resolve(given)} and ${named}.`;
  throw new InputError("notebook-path", expected("an existing .ipynb file", "a notebook", given, remedy));
}

function declares(file: NotebookFile, name: string): boolean {
  const source = parametersSource(file);
  return new RegExp(`\\b(?:const|let|var)\\s+${name.replace(/\$/g, "\\$")}(?![\\w$])`).test(source);
}

function planJobs(options: BatchOptions, outDir: string): Job[] {
  const paths = (options.notebooks ?? DEFAULT_NOTEBOOKS).map(notebookPath);
  const files = paths.map((path) => ({ path, name: basename(path, ".ipynb"), file: readNotebookFile(path) }));
  const given = options.parameters ?? {};
  for (const name of Object.keys(given)) {
    if (!/^[A-Za-z_$][\w$]*$/.test(name) || !files.some(({ file }) => declares(file, name))) {
      throw new InputError("parameter", expected("a parameter that a notebook declares", "--parameter", name));
    }
  }
  const names = files.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new InputError("notebook-path", expected("different file names", "notebooks", twice));
  return files.map((job) => {
    const all = { ...given, batchDir: outDir };
    return { ...job, parameters: Object.fromEntries(Object.entries(all).filter(([name]) => declares(job.file, name))) };
  });
}

function expectedSeconds({ file }: Job): number | null {
  const minutes = file.metadata.steerlab?.minutes;
  return typeof minutes === "number" && minutes > 0 ? minutes * 60 : null;
}

/** Hash of all that decides a notebook's result as far as a batch can know: its text, parameters and predecessors. */
function keyOf(job: Job, needed: ReadonlyArray<NotebookRecord>): string {
  const { batchDir: _place, ...parameters } = job.parameters;
  const hash = createHash("sha256").update(readFileSync(job.path));
  return hash.update(JSON.stringify([parameters, needed.map(({ key }) => key)])).digest("hex");
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
  job: Job,
  records: ReadonlyArray<NotebookRecord>,
  before: ReadonlyArray<NotebookRecord>,
  outDir: string,
  options: BatchOptions,
  reporter: BatchReporter,
): Promise<NotebookRecord> {
  const needs = job.file.metadata.steerlab?.needs ?? [];
  const needed = records.filter(({ name }) => needs.includes(name));
  const key = keyOf(job, needed);
  const blank: NotebookRecord = {
    ...{ name: job.name, notebook: relative(outDir, job.path), status: "skipped", valid: false, problems: [] },
    ...{ seconds: null, numbers: {}, run: null, outputNotebook: null, html: null, key, reused: false },
  };
  if (options.signal?.aborted === true) return { ...blank, problems: ["not started: the batch was stopped"] };
  const broken = needed.filter(({ valid }) => !valid).map(({ name }) => name);
  if (broken.length > 0) return { ...blank, problems: [`not started: it builds on ${broken.join(", ")}, not valid`] };
  const kept = before.find((old) => old.name === job.name && old.key === key && old.valid);
  if (kept?.outputNotebook && existsSync(join(outDir, kept.outputNotebook))) return { ...kept, reused: true };
  return { ...blank, ...(await execute(job, outDir, options.signal, (state) => reporter.running(state))) };
}

async function execute(
  job: Job,
  outDir: string,
  signal: AbortSignal | undefined,
  onState: (state: RunningState) => void,
): Promise<Partial<NotebookRecord>> {
  const outputNotebook = `${job.name}.ipynb`;
  const output = join(outDir, outputNotebook);
  const progressFile = join(outDir, `.${job.name}.progress.json`);
  rmSync(output, { force: true });
  const start = performance.now();
  const { path: notebook, parameters } = job;
  const outcome = await runPapermill({ notebook, output, parameters, progressFile, onState, signal });
  const seconds = (performance.now() - start) / 1000;
  if (!existsSync(output)) return { ...failedEarly(outcome), seconds };
  const file = readNotebookFile(output);
  const judged = judge(file, outcome.exitCode, dirname(job.path));
  const html = `${job.name}.html`;
  const headerHtml = '<p><a href="index.html">All notebooks of this batch</a></p>';
  const page = notebookToHtml(file, { headerHtml, footer: `Made from ${outputNotebook} by steerlab batch.` });
  writeAtomically(join(outDir, html), page);
  if (outcome.stopped) return { status: "stopped", problems: ["stopped on request"], seconds, outputNotebook, html };
  if (judged.status === "failed" && judged.problems.length === 0) judged.problems.push(failureFromLog(outcome.log));
  return { ...judged, seconds, outputNotebook, html };
}

function failedEarly(outcome: PapermillOutcome): Partial<NotebookRecord> {
  if (outcome.stopped) return { status: "stopped", problems: ["stopped on request"] };
  return { status: "failed", problems: [failureFromLog(outcome.log)] };
}

function writeAtomically(path: string, text: string): void {
  writeFileSync(`${path}.part`, text);
  renameSync(`${path}.part`, path);
}
