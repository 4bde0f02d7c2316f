// The notebooks that ship: one shape, no outputs, no lines that run off the screen, and code that fits the library's types.
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const ROOT = resolve(__dirname, "..", "..");
const FOLDER = join(ROOT, "notebooks");
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".ipynb"));
/** JupyterLab at 1400 pixels shows about this many characters of a code line. */
const LONGEST_CODE_LINE = 140;

interface Cell {
  cell_type: string;
  id: string;
  metadata: { tags?: string[] };
  source: string[];
  outputs?: unknown[];
  execution_count?: number | null;
}

const cellsOf = (name: string): Cell[] =>
  (JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as { cells: Cell[] }).cells;
const code = (name: string): Cell[] => cellsOf(name).filter(({ cell_type }) => cell_type === "code");

/** Messages of the compiler for all cells of a notebook, in order, as one module of this project. */
function complaints(name: string): string[] {
  const file = join(ROOT, "test", `${name}.ts`);
  const text = code(name)
    .map(({ source }) => source.join(""))
    .join("\n")
    .replace('from "steerlab"', 'from "../kernel-lib/src/index"');
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
    skipLibCheck: true,
    noEmit: true,
    types: ["node"],
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.readFile = (path) => (path === file ? text : readFile(path));
  host.getSourceFile = (path, version, ...rest) =>
    path === file ? ts.createSourceFile(path, text, version) : getSourceFile(path, version, ...rest);
  const program = ts.createProgram([file], options, host);
  return program.getSemanticDiagnostics(program.getSourceFile(file)).map(({ messageText, start }) => {
    const line = text.slice(0, start).split("\n").length - 1;
    return `${text.split("\n")[line]}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
}

describe.each(NAMES)("%s", (name) => {
  it("says question, reads, writes and minutes first, has one cell of parameters and declares a result", () => {
    const [head] = cellsOf(name);
    for (const word of ["# ", "**Question**", "**Reads**", "**Writes**", "**Minutes**"])
      expect(head.source.join("")).toContain(word);
    expect(code(name).filter(({ metadata }) => metadata.tags?.includes("parameters"))).toHaveLength(1);
    expect(code(name).some(({ source }) => source.join("").includes("lab.declareResult("))).toBe(true);
  });

  it("is committed without outputs, with different cell names and short lines", () => {
    expect(code(name).every(({ outputs, execution_count }) => outputs?.length === 0 && execution_count === null)).toBe(
      true,
    );
    const ids = cellsOf(name).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const long = code(name).flatMap(({ source }) => source.filter((line) => line.length > LONGEST_CODE_LINE));
    expect(long).toEqual([]);
  });

  it("takes changes of its protocol, names the training it measures, and leaves the model open to go on", () => {
    const [parameters, all] = [
      code(name).filter(({ metadata }) => metadata.tags?.includes("parameters")),
      code(name),
    ].map((cells) => cells.flatMap(({ source }) => source).join(""));
    expect(all).not.toMatch(/loadProtocol\(|\.dispose\(/);
    if (all.includes("protocolOf(")) expect(parameters).toContain("let protocolChanges: Record<string, unknown> = {};");
    if (/lab\.evaluate[A-Z]/.test(all)) {
      expect(all).toMatch(/const trained = lab\.adapterRun\(/);
      expect(all).toMatch(/\.\.\.trained\.numbers,\s*"evaluation seed": /);
    }
  });

  it("fits the library's types", () => {
    expect(complaints(name)).toEqual([]);
  }, 120_000);
});
