/**
 * The notebook file format (nbformat 4) as far as reports read it, and the questions asked of it.
 *
 * A file on disk in, cells with joined text and outputs out. Knows our own additions: the `steerlab` metadata of a
 * notebook and the result that a notebook declares (display.ts). Writes nothing.
 */

import { readFileSync } from "node:fs";
import { DataError } from "../../base";
import { RESULT_MIME } from "../display";

/** One output of a code cell. */
export interface NotebookOutput {
  output_type: string;
  name?: string;
  text?: string | string[];
  ename?: string;
  evalue?: string;
  traceback?: string[];
  data?: Record<string, unknown>;
}

/** One cell. */
export interface NotebookCell {
  cell_type: string;
  source: string | string[];
  execution_count?: number | null;
  outputs?: NotebookOutput[];
  metadata?: { tags?: string[]; papermill?: { exception?: boolean | null; duration?: number | null } };
}

/** A notebook file. */
export interface NotebookFile {
  cells: NotebookCell[];
  metadata: {
    steerlab?: { needs?: string[]; minutes?: number };
    papermill?: { duration?: number | null; parameters?: Record<string, unknown>; start_time?: string };
    [key: string]: unknown;
  };
}

/** What a notebook says it produced; see `declareResult`. */
export interface DeclaredResult {
  /** Short name to value; null is unknown. */
  numbers: Record<string, number | string | null>;
  /** Run folder that holds the records, or null. */
  run: string | null;
  /** Run folders of further measurements. */
  beside: string[];
  /** Reasons why the result must not be trusted; empty if none. */
  problems: string[];
}

/** nbformat stores text as a string or as lines. */
export function joined(text: string | string[] | undefined): string {
  return Array.isArray(text) ? text.join("") : (text ?? "");
}

/** Reads a notebook. @throws DataError "notebook" if the file is missing or not a notebook of format 4 */
export function readNotebook(path: string): NotebookFile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new DataError("notebook", `Expected a readable notebook but ${path} is not: ${(cause as Error).message}.`, {
      cause,
    });
  }
  const file = parsed as Partial<NotebookFile> & { nbformat?: number };
  if (!Array.isArray(file.cells) || file.nbformat !== 4) {
    throw new DataError("notebook", `Expected nbformat 4 for ${path} but received ${String(file.nbformat)}.`);
  }
  return { cells: file.cells, metadata: file.metadata ?? {} };
}

/** All error outputs, in order. */
export function errorsOf(file: NotebookFile): NotebookOutput[] {
  return file.cells.flatMap((cell) => (cell.outputs ?? []).filter(({ output_type }) => output_type === "error"));
}

/** The result the notebook declared last, or null. */
export function declaredResult(file: NotebookFile): DeclaredResult | null {
  const outputs = file.cells.flatMap((cell) => cell.outputs ?? []);
  const found = outputs.map((output) => output.data?.[RESULT_MIME]).filter((data) => data !== undefined);
  const last = found.at(-1) as (Partial<DeclaredResult> & { order?: string[] }) | undefined;
  if (last === undefined) return null;
  const given = last.numbers ?? {};
  const names = [...new Set([...(last.order ?? []), ...Object.keys(given)])].filter((name) => name in given);
  return {
    numbers: Object.fromEntries(names.map((name) => [name, given[name]])),
    run: last.run ?? null,
    beside: last.beside ?? [],
    problems: last.problems ?? [],
  };
}

/** Code cells with code in them that have not been run. */
export function cellsNotRun(file: NotebookFile): number {
  const code = file.cells.filter(({ cell_type, source }) => cell_type === "code" && joined(source).trim() !== "");
  return code.filter(({ execution_count }) => execution_count === null || execution_count === undefined).length;
}

/** Text of the first level-one heading, or null. */
export function headingOf(file: NotebookFile): string | null {
  for (const cell of file.cells) {
    if (cell.cell_type !== "markdown") continue;
    const match = /^#\s+(.+)$/m.exec(joined(cell.source));
    if (match !== null) return match[1].trim();
  }
  return null;
}

/** Source of the cell tagged `parameters`, or "". */
export function parametersSource(file: NotebookFile): string {
  const cell = file.cells.find(({ metadata }) => metadata?.tags?.includes("parameters") ?? false);
  return joined(cell?.source);
}
