/**
 * The `steerlab` command: finds the subcommand, runs it, and turns every failure into one readable line on stderr.
 *
 * Exit status: 0 done, 1 the work failed, 2 the input was refused (nothing started), 130 stopped by the user. Commands load
 * their modules only when called, so that `steerlab --help` needs nothing.
 */
import { AbortedError, InputError, SteerlabError } from "../base";

interface Command {
  about: string;
  load(): { run(args: string[]): Promise<void> | void; help: string };
}

const COMMANDS: Record<string, Command> = {
  score: {
    about: "score a file of steered trials (JSONL in, JSONL out)",
    load: () => {
      const { score, SCORE_HELP } = require("./score") as typeof import("./score");
      return { run: score, help: SCORE_HELP };
    },
  },
  train: {
    about: "train a LoRA adapter on a file of examples",
    load: () => {
      const { train, TRAIN_HELP } = require("./train") as typeof import("./train");
      return { run: train, help: TRAIN_HELP };
    },
  },
  "export-onnx": {
    about: "write a model as a steerable ONNX graph for onnxruntime",
    load: () => {
      const { exportOnnxCommand, EXPORT_ONNX_HELP } = require("./export-onnx") as typeof import("./export-onnx");
      return { run: exportOnnxCommand, help: EXPORT_ONNX_HELP };
    },
  },
  batch: {
    about: "run notebooks headless and render their reports (the main job)",
    load: () => {
      const { batch, BATCH_HELP } = require("./notebooks") as typeof import("./notebooks");
      return { run: batch, help: BATCH_HELP };
    },
  },
  lab: {
    about: "open JupyterLab with the TypeScript kernel",
    load: () => {
      const { lab, LAB_HELP } = require("./notebooks") as typeof import("./notebooks");
      return { run: lab, help: LAB_HELP };
    },
  },
  kernel: {
    about: "install the TypeScript kernel into a Jupyter of your own",
    load: () => {
      const { kernel, KERNEL_HELP } = require("./notebooks") as typeof import("./notebooks");
      return { run: kernel, help: KERNEL_HELP };
    },
  },
  report: {
    about: "rebuild the HTML report of a run folder, without a model",
    load: () => {
      const { report, REPORT_HELP } = require("./report") as typeof import("./report");
      return { run: report, help: REPORT_HELP };
    },
  },
  doctor: {
    about: "say what this machine has, what is missing, and what mends it",
    load: () => {
      const { doctor, DOCTOR_HELP } = require("./doctor") as typeof import("./doctor");
      return { run: doctor, help: DOCTOR_HELP };
    },
  },
};

/** The text of `steerlab --help`. */
export function helpText(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`);
  return `steerlab: steer, remove, ask\n\n${lines.join("\n")}\n\nsteerlab COMMAND --help tells its flags.\n`;
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
  try {
    const command = COMMANDS[name];
    if (command === undefined || !Object.hasOwn(COMMANDS, name)) {
      throw new InputError(
        "unknown-command",
        `Expected one of ${Object.keys(COMMANDS).join(", ")} but received ${JSON.stringify(name)}. Run "steerlab --help".`,
      );
    }
    const { run, help } = command.load();
    if (args.includes("--help") || args.includes("-h")) process.stdout.write(help);
    else await run(args);
  } catch (error) {
    process.stderr.write(`${errorLine(error)}\n`);
    process.exitCode = exitStatus(error);
  }
}

/** One line: known errors as they are, unknown ones with their place so that they can be reported. */
export function errorLine(error: unknown): string {
  if (error instanceof SteerlabError) return `steerlab: ${error.message.replaceAll("\n", " ")} [${error.code}]`;
  const known = error as NodeJS.ErrnoException;
  if (typeof known?.code === "string" && typeof known.message === "string" && known.syscall !== undefined) {
    return `steerlab: ${known.message} [${known.code}]`;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `steerlab: unexpected failure, please report it: ${text}`;
}

function exitStatus(error: unknown): number {
  if (error instanceof AbortedError) return 130;
  return error instanceof InputError ? 2 : 1;
}
