/**
 * Whether a notebook need not run again: all that decides its result is as it was, and all that it made is still there.
 *
 * Decides: its text and parameters, the library (sources as compiled, addon, kernel), the notebooks it builds on, and every
 * file that it read, which the kernel notes while it runs (jupyter/preload/reads.cjs): protocol, prompts, weights, adapter.
 * Made: the executed notebook with all cells, its page, its run folder with what lay in it.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { LIBRARY_FOLDER, LIBRARY_VERSION, PROJECT_FOLDER } from "../../base";
import { canonicalJson, sha256 } from "../../files";
import { type NotebookFile, readNotebook } from "../../notebook";
import type { Job } from "./plan";
import { judge, type NotebookRecord } from "./records";

/** Files up to this size are compared by content; larger ones by size, time and place on the disk, as weights are. */
const CONTENT_BYTES = 4 << 20;

/** What decides a notebook's result and is known before it runs, by name. */
export function decidersOf(job: Job, needed: ReadonlyArray<NotebookRecord>): Record<string, string> {
  const { batchDir: _place, ...parameters } = job.parameters;
  return {
    "the notebook": sha256(readFileSync(job.path)),
    "its parameters": canonicalJson(parameters),
    "the library": libraryHash(),
    ...Object.fromEntries(
      needed.map((record) => [`${record.name}, which it builds on`, sha256(canonicalJson(record.made))]),
    ),
  };
}

let library: string | null = null;

/** Version and bytes of what runs: the compiled library, the addon, the kernel's own files. */
function libraryHash(): string {
  if (library !== null) return library;
  const hash = createHash("sha256").update(LIBRARY_VERSION);
  const roots = [
    [join(LIBRARY_FOLDER, "dist"), /\.js$/],
    [join(LIBRARY_FOLDER, "jupyter"), /\.cjs$/],
    [join(PROJECT_FOLDER, "gpu-native", "build"), /^[^/\\]+\.(node|so|dll|dylib)$/],
  ] as const;
  for (const [root, wanted] of roots) {
    if (!existsSync(root)) continue;
    for (const name of (readdirSync(root, { recursive: true }) as string[]).sort())
      if (wanted.test(name))
        hash
          .update(name)
          .update("\0")
          .update(readFileSync(join(root, name)));
  }
  library = hash.digest("hex");
  return library;
}

function regularFile(file: string): Stats | null {
  try {
    const entry = statSync(file);
    return entry.isFile() ? entry : null;
  } catch {
    return null; // looked for and not found, or no longer there
  }
}

/** Content of a small file, else size, time and inode; "absent" without one. */
function fingerprint(file: string): string {
  const entry = regularFile(file);
  if (entry === null) return "absent";
  if (entry.size <= CONTENT_BYTES) return sha256(readFileSync(file));
  return `${entry.size} bytes, inode ${entry.ino}, ${entry.mtimeMs}`;
}

/**
 * What a notebook read, from the kernel's notes: path to fingerprint. What it wrote itself while it ran is its result, and
 * not read from outside.
 *
 * @param notes the file that the kernel wrote, one path a line
 * @param started when the notebook started, milliseconds
 * @param folder of the batch, which paths are stored relative to
 * @param needed notebooks that it builds on: of what lies in the batch's folder, their runs alone are inputs. A search for
 *   earlier runs looks into the others too, and what they hold may change without touching this one.
 */
export function readsOf(
  notes: string,
  started: number,
  folder: string,
  needed: ReadonlyArray<NotebookRecord>,
): Record<string, string> {
  if (!existsSync(notes)) return {};
  const files = [...new Set(readFileSync(notes, "utf8").split("\n"))].filter((file) => file !== "").sort();
  const before = files.filter((file) => {
    const entry = isInput(file) ? regularFile(file) : null;
    if (entry === null || entry.mtimeMs >= started) return false;
    return !below(file, folder) || needed.some(({ run }) => run !== null && below(file, run));
  });
  return Object.fromEntries(before.map((file) => [relative(folder, file), fingerprint(file)]));
}

function below(file: string, folder: string): boolean {
  return file.startsWith(folder + sep);
}

/** Programs are not inputs: ours are hashed as the library, others come with the environment. */
function isInput(file: string): boolean {
  const own = [join(LIBRARY_FOLDER, "dist"), join(LIBRARY_FOLDER, "jupyter"), join(PROJECT_FOLDER, ".git")];
  const program = own.some((root) => below(file, root)) || /[\\/](node_modules|\.venv)[\\/]/.test(file);
  return !program && !/^\/(proc|sys|dev)\//.test(file);
}

/** What a notebook left: hash of its executed copy, and the names in its run folder. */
export function madeBy(outputNotebook: string, run: string | null): NotebookRecord["made"] {
  const names = run !== null && existsSync(run) ? (readdirSync(run, { recursive: true }) as string[]) : [];
  return { notebook: sha256(readFileSync(outputNotebook)), run: names.sort() };
}

/**
 * Why a notebook must run again although an earlier batch made it; null if it need not.
 *
 * @param folder of the batch
 */
export function whyAgain(
  old: NotebookRecord,
  job: Job,
  needed: ReadonlyArray<NotebookRecord>,
  folder: string,
): string | null {
  if (!old.valid) return "it was not valid";
  const now = decidersOf(job, needed);
  const before = old.deciders ?? {};
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const changed = names.filter((name) => before[name] !== now[name]);
  const reads = Object.entries(old.reads ?? {}).filter(([file, was]) => fingerprint(resolve(folder, file)) !== was);
  changed.push(...reads.map(([file]) => shown(resolve(folder, file))));
  if (changed.length > 0) {
    const more = changed.length > 3 ? ` and ${changed.length - 3} more` : "";
    return `changed: ${changed.slice(0, 3).join(", ")}${more}`;
  }
  return outputFault(old, job, folder);
}

function shown(file: string): string {
  const inProject = relative(PROJECT_FOLDER, file);
  return inProject.startsWith("..") ? file : inProject;
}

/** What is wrong with the outputs of an earlier run, or null. */
function outputFault(old: NotebookRecord, job: Job, folder: string): string | null {
  const { outputNotebook, html, run } = old;
  if (outputNotebook === null || html === null) return "its results are missing";
  let file: NotebookFile;
  try {
    file = readNotebook(join(folder, outputNotebook));
  } catch {
    return `${outputNotebook} is missing or damaged`;
  }
  if (!hasCellsOf(file, job.file)) return `${outputNotebook} lacks cells`;
  const { problems } = judge(file, dirname(job.path));
  if (problems.length > 0) return problems[0];
  if ((regularFile(join(folder, html))?.size ?? 0) === 0) return `${html} is missing`;
  const lost = (old.made?.run ?? []).find((name) => run !== null && !existsSync(join(run, name)));
  return lost === undefined ? null : `${lost} is missing in its run folder`;
}

/** Whether every cell of a notebook stands, in order, in its executed copy (which has one more, with the parameters). */
function hasCellsOf(executed: NotebookFile, source: NotebookFile): boolean {
  const text = ({ source: lines }: NotebookFile["cells"][number]): string => [lines].flat().join("");
  let at = 0;
  for (const cell of executed.cells) if (at < source.cells.length && text(cell) === text(source.cells[at])) at += 1;
  return at === source.cells.length;
}
