/** `steerlab batch`, `steerlab lab`, `steerlab kernel install`: notebooks headless, in JupyterLab, and their kernel. */
import * as path from "node:path";
import { InputError } from "../base";
import { kernelInstall, startLab } from "../notebook";
import { slugify } from "../runs";
import { DEFAULT_NOTEBOOKS, runBatch } from "./batch";
import { flagsOf } from "./flags";

export const BATCH_HELP = `steerlab batch [--notebook NAME ...] [--out DIR] [-p NAME VALUE ...]

Runs notebooks headless and renders each to HTML, with an index page; exits with 1 unless every notebook is valid.

  --notebook NAME   a file of notebooks/ or a path; repeat for several (default: ${DEFAULT_NOTEBOOKS.join(", ")})
  --out DIR         folder for everything (default: runs/batch); an existing one is continued: valid notebooks are kept
  --fresh           run everything again, in a new folder beside --out
  -p NAME VALUE     a parameter, given to every notebook that declares it; VALUE is JSON or plain text
`;

/** Runs the command; the exit status says whether every notebook is valid. */
export async function batch(args: readonly string[]): Promise<void> {
  const { notebooks, parameters, rest } = splitRepeated(args);
  const flags = flagsOf("batch", rest, ["out"], ["fresh"]);
  const stamp = flags.fresh === "true" ? `-${slugify(new Date().toISOString().slice(0, 19))}` : "";
  const outDir = `${flags.out ?? path.join("runs", "batch")}${stamp}`;
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const title = notebooks.length === 0 ? "steerlab: train, sweep, side effects" : "steerlab notebooks";
  const { ok } = await runBatch({
    notebooks: notebooks.length === 0 ? undefined : notebooks,
    parameters,
    outDir,
    title,
    signal: stop.signal,
  });
  if (!ok) process.exitCode = 1;
}

/** Takes `--notebook NAME` and `-p NAME VALUE` out of the arguments; both may repeat. */
function splitRepeated(args: readonly string[]): {
  notebooks: string[];
  parameters: Record<string, unknown>;
  rest: string[];
} {
  const notebooks: string[] = [];
  const parameters: Record<string, unknown> = {};
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--notebook") {
      if (args[i + 1] === undefined)
        throw new InputError("bad-flag", "Expected a name after --notebook but received none.");
      notebooks.push(args[++i]);
    } else if (args[i] === "-p" || args[i] === "--parameter") {
      const [name, value] = [args[i + 1], args[i + 2]];
      if (value === undefined)
        throw new InputError(
          "bad-flag",
          `Expected NAME VALUE after ${args[i]} but received ${JSON.stringify(name ?? "")}.`,
        );
      parameters[name] = parameterValue(value);
      i += 2;
    } else rest.push(args[i]);
  }
  return { notebooks, parameters, rest };
}

/** JSON where it is JSON, else the text itself: `-p seed 3` is a number, `-p model data/lab-model` text. */
function parameterValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

export const LAB_HELP = `steerlab lab [JUPYTER ARGUMENTS]

Opens JupyterLab on notebooks/ with the kernel "TypeScript (steerlab)". Arguments go to jupyter lab.
`;

/** Runs JupyterLab in the foreground. */
export async function lab(args: readonly string[]): Promise<void> {
  process.exitCode = await startLab([...args]);
}

export const KERNEL_HELP = `steerlab kernel install [--user | --prefix DIR]

Writes the kernelspec "TypeScript (steerlab)" for a Jupyter of your own.

  --user        for this user (default)
  --prefix DIR  into an environment, such as that of conda
`;

/** Writes the kernelspec and prints its place. */
export function kernel(args: readonly string[]): void {
  const [verb, ...rest] = args;
  if (verb !== "install")
    throw new InputError(
      "bad-flag",
      `Expected "install" after steerlab kernel but received ${JSON.stringify(verb ?? "")}.`,
    );
  const flags = flagsOf("kernel", rest, ["prefix"], ["user"]);
  if (flags.user === "true" && flags.prefix !== undefined)
    throw new InputError("bad-flag", "Expected --user or --prefix but received both.");
  const written = kernelInstall(flags.prefix === undefined ? { user: true } : { prefix: flags.prefix });
  process.stdout.write(`${written}\n`);
}
