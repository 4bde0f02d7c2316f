/** `steerlab batch`, `steerlab lab`, `steerlab kernel install`: notebooks headless, in JupyterLab, and their kernel. */
import * as path from "node:path";
import { AbortedError, InputError } from "../base";
import { kernelInstall, startLab } from "../notebook";
import { slugify } from "../runs";
import { runBatch } from "./batch";
import { parseArguments } from "./flags";
import { parametersOf } from "./parameters";
import { BATCH, KERNEL } from "./tables";

/** Runs the command; the exit status says whether every notebook is valid. @throws AbortedError saying how to go on */
export async function batch(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags } = parseArguments("batch", BATCH, args);
  const stamp = flags.fresh ? `-${slugify(new Date().toISOString().slice(0, 19))}` : "";
  const outDir = `${flags.out ?? path.join("runs", "batch")}${stamp}`;
  const notebooks = flags.notebook.length === 0 ? undefined : flags.notebook;
  const title = notebooks === undefined ? "steerlab: train, sweep, side effects" : "steerlab notebooks";
  const parameters = parametersOf(flags.parameter);
  const startSeconds = flags["start-timeout"];
  const { ok } = await runBatch({ notebooks, parameters, outDir, title, signal, startSeconds });
  if (signal?.aborted === true) throw new AbortedError();
  if (!ok) process.exitCode = 1;
}

/** Runs JupyterLab in the foreground; a signal closes it in order. */
export async function lab(args: readonly string[], signal?: AbortSignal): Promise<void> {
  process.exitCode = await startLab([...args], signal);
  if (signal?.aborted === true) throw new AbortedError();
}

/** Writes the kernelspec and prints its place. */
export function kernel(args: readonly string[]): void {
  const { flags, operands } = parseArguments("kernel", KERNEL, args);
  if (operands.length !== 1 || operands[0] !== "install")
    throw new InputError(
      "bad-operand",
      `Expected "install" after steerlab kernel but received ${JSON.stringify(operands.join(" "))}.`,
    );
  if (flags.user && flags.prefix !== undefined)
    throw new InputError("bad-flag", "Expected --user or --prefix but received both.");
  const written = kernelInstall(flags.prefix === undefined ? { user: true } : { prefix: flags.prefix });
  process.stdout.write(`${written}\n`);
}
