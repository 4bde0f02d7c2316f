/** What a batch will run: notebooks found by name or path, each with the parameters that it declares. */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { expected, InputError, PROJECT_FOLDER } from "../../base";
import { type NotebookFile, parametersSource, readNotebook } from "../../notebook";

/** One notebook of a batch, before it runs. */
export interface Job {
  name: string;
  path: string;
  file: NotebookFile;
  parameters: Record<string, unknown>;
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
      expected("a parameter that a notebook declares", "-p", name, `${choice.join("; ")}.`),
    );
  }
  const names = files.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new InputError("notebook-path", expected("different file names", "notebooks", twice));
  const all: Record<string, unknown> = { ...parameters, batchDir: outDir };
  return files.map(({ declared, ...job }) => ({
    ...job,
    parameters: Object.fromEntries(Object.entries(all).filter(([name]) => declared.includes(name))),
  }));
}
