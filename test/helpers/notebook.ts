// Notebooks made in the test that uses them, and the project's papermill to run them.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ROOT = resolve(__dirname, "..", "..");
export const VENV_BIN = join(ROOT, ".venv", "bin");

export interface TestCell {
  code?: string;
  markdown?: string;
  tags?: string[];
}

export interface NotebookOutput {
  output_type: string;
  name?: string;
  text?: string | string[];
  ename?: string;
  evalue?: string;
  traceback?: string[];
  data?: Record<string, unknown>;
}

export interface NotebookFile {
  cells: Array<{
    cell_type: string;
    source: string | string[];
    outputs?: NotebookOutput[];
    execution_count?: number | null;
    metadata: { tags?: string[] };
  }>;
  metadata: Record<string, unknown>;
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "steerlab-test-"));
}

/** Notebook JSON with our kernel's metadata. */
export function notebook(cells: TestCell[]): object {
  return {
    cells: cells.map(({ code, markdown, tags }, i) => {
      const common = { id: `cell-${i}`, metadata: tags === undefined ? {} : { tags } };
      if (markdown !== undefined) return { ...common, cell_type: "markdown", source: markdown };
      return { ...common, cell_type: "code", source: code ?? "", execution_count: null, outputs: [] };
    }),
    metadata: {
      kernelspec: { name: "steerlab", display_name: "TypeScript (steerlab)", language: "typescript" },
      language_info: { name: "typescript" },
    },
    nbformat: 4,
    nbformat_minor: 5,
  };
}

export function writeNotebook(folder: string, name: string, cells: TestCell[]): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(notebook(cells)));
  return path;
}

export function readNotebook(path: string): NotebookFile {
  return JSON.parse(readFileSync(path, "utf8")) as NotebookFile;
}

export function textOf(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join("") : (value ?? "");
}

/** All stream text of a notebook, in order. */
export function streamText(file: NotebookFile, name = "stdout"): string {
  const outputs = file.cells.flatMap((cell) => cell.outputs ?? []);
  return outputs
    .filter((output) => output.name === name)
    .map((output) => textOf(output.text))
    .join("");
}

export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end. */
export function command(
  program: string,
  args: string[],
  options: { cwd?: string; input?: string } = {},
): Promise<CommandResult> {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { cwd: options.cwd ?? ROOT, stdio: ["pipe", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("error", failed);
    child.on("close", (status) => done({ status, stdout, stderr }));
    child.stdin.end(options.input ?? "");
  });
}

export interface KernelMessage {
  type: string;
  content: Record<string, unknown>;
}

export interface KernelRun {
  cells: Array<{ reply: Record<string, unknown> & { status: string }; messages: KernelMessage[]; seconds: number }>;
  late: KernelMessage[];
  /** "busy" and "idle" of all requests, in order. */
  statuses: string[];
  info: { language_info: { version: string }; status: string };
  shutdownSeconds: number;
}

/** Runs cells on a fresh kernel in `cwd` (see drive_kernel.py). */
export async function driveKernel(job: object): Promise<KernelRun> {
  const script = join(ROOT, "test", "helpers", "drive_kernel.py");
  const { status, stdout, stderr } = await command(join(VENV_BIN, "python"), [script], { input: JSON.stringify(job) });
  if (status !== 0) throw new Error(`drive_kernel.py failed: ${stderr}`);
  return JSON.parse(stdout) as KernelRun;
}

/** Result of a cell's last expression, or null. */
export function resultOf(cell: KernelRun["cells"][number]): string | null {
  const found = cell.messages.find(({ type }) => type === "execute_result")?.content.data;
  return (found as { "text/plain": string } | undefined)?.["text/plain"] ?? null;
}

/** Content of a cell's error message; empty if it ended well. */
export function errorOf(cell: KernelRun["cells"][number]): { ename?: string; evalue?: string; traceback?: string[] } {
  return cell.messages.find(({ type }) => type === "error")?.content ?? {};
}

/** What a cell printed. */
export function printed(cell: KernelRun["cells"][number], name = "stdout"): string {
  const streams = cell.messages.filter(({ type, content }) => type === "stream" && content.name === name);
  return streams.map(({ content }) => textOf(content.text as string)).join("");
}

/** Stock papermill of the project's environment. */
export function papermill(args: string[], cwd?: string): Promise<CommandResult> {
  return command(join(VENV_BIN, "papermill"), args, { cwd });
}

/** The system's Chromium, or null; tests skip by name without it. */
export function chromiumPath(): string | null {
  return (
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path)) ??
    null
  );
}
