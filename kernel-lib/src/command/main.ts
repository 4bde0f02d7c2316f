/**
 * The `steerlab` command: finds the subcommand, runs it, and turns every failure into one readable line on stderr.
 *
 * Exit status: 0 done, 1 the work failed, 2 the input was refused (nothing started), 130 or 143 stopped by Ctrl-C or SIGTERM.
 * Commands load their modules only when called, so that `steerlab --help` needs nothing.
 */
import { AbortedError, InputError, LIBRARY_VERSION, SteerlabError } from "../base";
import { type CommandTable, helpOf, wantsText } from "./flags";
import { type SignalWatch, stopOnSignals } from "./signals";
import { BATCH, DOCTOR, EXPORT_ONNX, KERNEL, LAB, PACK, PUBLISH, REPORT, SCORE, TRAIN, TWINS } from "./tables";

type Run = (args: readonly string[], signal: AbortSignal) => Promise<void> | void;

interface Command {
  table: CommandTable;
  load(): Promise<Run>;
  /** how to go on after Ctrl-C, where the command itself does not say it */
  goOn: string;
}

const AGAIN = "Nothing was written; run the same again.";

const COMMANDS: Record<string, Command> = {
  score: { table: SCORE, load: async () => (await import("./score")).score, goOn: AGAIN },
  train: { table: TRAIN, load: async () => (await import("./train")).train, goOn: AGAIN },
  twins: {
    table: TWINS,
    load: async () => (await import("./twins")).twins,
    goOn: "Run the same again to go on: what is finished is kept.",
  },
  "export-onnx": {
    table: EXPORT_ONNX,
    load: async () => (await import("./export-onnx")).exportOnnxCommand,
    goOn: AGAIN,
  },
  batch: {
    table: BATCH,
    load: async () => (await import("./notebooks")).batch,
    goOn: "Run the same again to go on: finished notebooks are kept.",
  },
  lab: {
    table: LAB,
    load: async () => (await import("./notebooks")).lab,
    goOn: "Saved notebooks and runs stay; start it again with: steerlab lab",
  },
  kernel: { table: KERNEL, load: async () => (await import("./notebooks")).kernel, goOn: AGAIN },
  report: { table: REPORT, load: async () => (await import("./report")).report, goOn: AGAIN },
  pack: { table: PACK, load: async () => (await import("./pack")).pack, goOn: "Run the same again." },
  publish: {
    table: PUBLISH,
    load: async () => (await import("./publish")).publish,
    goOn: "Run the same again: what storage has is not sent twice.",
  },
  doctor: {
    table: DOCTOR,
    load: async () => (await import("./doctor")).doctor,
    goOn: "Nothing was changed.",
  },
};

/** The text of `steerlab --help`. */
export function helpText(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { table }]) => `  ${name.padEnd(width)}  ${table.about}`);
  return `steerlab: steer, remove, ask\n\n${lines.join("\n")}\n\nsteerlab COMMAND --help tells its flags; steerlab --version the version.\n`;
}

/**
 * Runs one command line and sets `process.exitCode`.
 * @param argv arguments after the program's name
 */
export async function main(argv: readonly string[]): Promise<void> {
  const [name, ...args] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(helpText());
    return;
  }
  if (name === "--version") {
    process.stdout.write(`steerlab ${LIBRARY_VERSION}\n`);
    return;
  }
  const watch = stopOnSignals();
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : null;
  try {
    if (command === null) {
      throw new InputError(
        "unknown-command",
        `Expected one of ${Object.keys(COMMANDS).join(", ")} but received ${JSON.stringify(name)}. Run "steerlab --help".`,
      );
    }
    const text = wantsText(command.table, args);
    if (text === "help") process.stdout.write(helpOf(name, command.table));
    else if (text === "version") process.stdout.write(`steerlab ${LIBRARY_VERSION}\n`);
    else await (await command.load())(args, watch.signal);
  } catch (error) {
    process.stderr.write(`${errorLine(error, command?.goOn)}\n`);
    process.exitCode = exitStatus(error, watch);
  } finally {
    watch.release();
  }
}

/** One line: known errors as they are, unknown ones with their place so that they can be reported. */
export function errorLine(error: unknown, goOn = ""): string {
  if (error instanceof SteerlabError) {
    const way = error instanceof AbortedError && error.message === new AbortedError().message ? ` ${goOn}` : "";
    return `steerlab: ${error.message.replaceAll("\n", " ")}${way} [${error.code}]`;
  }
  const known = error as NodeJS.ErrnoException;
  if (typeof known?.code === "string" && typeof known.message === "string" && known.syscall !== undefined) {
    return `steerlab: ${known.message} [${known.code}]`;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `steerlab: unexpected failure, please report it: ${text}`;
}

function exitStatus(error: unknown, watch: SignalWatch): number {
  if (error instanceof AbortedError) return watch.status() ?? 130;
  return error instanceof InputError ? 2 : 1;
}
