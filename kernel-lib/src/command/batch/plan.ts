/**
 * What a batch will run: notebooks found by name or path, each with the parameters that it declares. One that is given is told to
 * the notebooks that declare it; which do not is said, so that nobody takes their figures for changed ones.
 */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { expected, InputError, PROJECT_FOLDER } from "../../base";
import { canonicalJson } from "../../files";
import { type NotebookFile, parametersSource, readNotebook } from "../../notebook";
import { openRunFolder } from "../../runs";
import { type Protocol, protocolOf } from "../../study";
import { CHANGES } from "../parameters";
import type { NotebookRecord } from "./records";

/** One notebook of a batch, before it runs. */
export interface Job {
  name: string;
  path: string;
  file: NotebookFile;
  parameters: Record<string, unknown>;
  /** names that its parameters cell declares */
  declared: readonly string[];
}

/** Absolute path of a notebook given by path or by name. @throws InputError "notebook-path" */
export function notebookPath(given: string): string {
  const named = join(PROJECT_FOLDER, "notebooks", given.endsWith(".ipynb") ? given : `${given}.ipynb`);
  const found = [resolve(given), named].find((path) => path.endsWith(".ipynb") && existsSync(path));
  if (found !== undefined) return found;
  const remedy = `Looked for ${resolve(given)} and ${named}.`;
  throw new InputError("notebook-path", expected("an existing .ipynb file", "a notebook", given, remedy));
}

/** Names that the parameters cell declares, in order; `batchDir` is the batch's own. */
function declaredNames(file: NotebookFile): string[] {
  const found = parametersSource(file).matchAll(/(?:^|;|\s)(?:const|let|var)\s+([A-Za-z_$][\w$]*)/g);
  return [...found].map(([, name]) => name);
}

/**
 * The jobs in the order given.
 *
 * @param parameters given to every notebook that declares them
 * @throws InputError "notebook-path"; "parameter" with the names that the notebooks declare
 */
export function planJobs(
  notebooks: readonly string[],
  parameters: Readonly<Record<string, unknown>>,
  outDir: string,
): Job[] {
  const files = notebooks.map(notebookPath).map((path) => {
    const file = readNotebook(path);
    return { path, name: basename(path, ".ipynb"), file, declared: declaredNames(file) };
  });
  for (const name of Object.keys(parameters)) {
    if (files.some(({ declared }) => declared.includes(name))) continue;
    const choice = files.map((job) => {
      const names = job.declared.filter((declared) => declared !== "batchDir");
      return `${job.name} declares ${names.length === 0 ? "none" : names.join(", ")}`;
    });
    throw new InputError(
      "parameter",
      expected("a parameter that a notebook declares", "-p", asTyped(name), `${choice.join("; ")}.`),
    );
  }
  checkProtocol(parameters);
  const names = files.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new InputError("notebook-path", expected("different file names", "notebooks", twice));
  const all: Record<string, unknown> = { ...parameters, batchDir: outDir };
  return files.map((job) => ({
    ...job,
    parameters: Object.fromEntries(Object.entries(all).filter(([name]) => job.declared.includes(name))),
  }));
}

/**
 * Whether the protocol can be read and changed as the parameters say, before a kernel is started for it. Notebooks have different
 * protocols by default: a change has to fit one of the shipped ones.
 */
function checkProtocol({ protocolName, [CHANGES]: changes }: Readonly<Record<string, unknown>>): void {
  if (protocolName === undefined && changes === undefined) return;
  const made = (name: string): Protocol => protocolOf(name, (changes ?? {}) as Record<string, unknown>);
  if (typeof protocolName === "string" && protocolName !== "") {
    made(protocolName);
    return;
  }
  try {
    made("card");
  } catch {
    made("strict");
  }
}

/** Changes of a protocol are collected in one parameter, which nobody typed. */
const asTyped = (name: string): string => (name === CHANGES ? "protocol.FIELD" : name);

/** A line for each parameter given that some of the notebooks do not take. */
export function notTaken(jobs: readonly Job[], parameters: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(parameters).flatMap((name) => {
    const [taken, left] = [true, false].map((takes) =>
      jobs.filter(({ declared }) => declared.includes(name) === takes).map((job) => job.name),
    );
    return left.length === 0 ? [] : [`-p ${asTyped(name)} is for ${taken.join(", ")}; not for ${left.join(", ")}`];
  });
}

/** Parameters that choose a training or a sweep by hand. */
const CHOOSING = ["trainSeed", "adapterName", "runName"];

/**
 * The job as it runs after those it builds on: it measures the training of this batch, and opens its sweep, not a newer one that
 * lies in the same folder. What was chosen by hand stays, and another protocol is looked for as in a notebook.
 */
export function afterNeeded(job: Job, needed: readonly NotebookRecord[]): Job {
  const { declared, parameters } = job;
  if (CHOOSING.some((name) => name in parameters)) return job;
  const runs = needed.flatMap(({ run, deciders }) =>
    run !== null && existsSync(run) && isOfStudy(parameters, deciders["its parameters"]) ? [openRunFolder(run)] : [],
  );
  const [training, sweep] = ["train", "detection"].map((kind) => runs.find((run) => run.readMeta().kind === kind));
  const found = { trainSeed: training?.readMeta().seed, runName: sweep?.id };
  const given = Object.entries(found).filter(([name, value]) => declared.includes(name) && value !== undefined);
  return { ...job, parameters: { ...parameters, ...Object.fromEntries(given) } };
}

/** Whether a notebook was run with the same protocol as is asked for now. */
function isOfStudy(parameters: Readonly<Record<string, unknown>>, earlier: string | undefined): boolean {
  const before = JSON.parse(earlier ?? "{}") as Record<string, unknown>;
  return ["protocolName", CHANGES].every(
    (name) => canonicalJson(parameters[name] ?? null) === canonicalJson(before[name] ?? null),
  );
}
