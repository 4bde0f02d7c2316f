/** Command-line flags: strict parsing, so that a misspelt or missing flag is one sentence and nothing starts. */
import * as fs from "node:fs";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { InputError } from "../base";
import type { EngineOptions } from "../engine";

/** More threads than any machine has cores: a slip, and more than the system would start. */
const MAX_THREADS = 1024;

/** Flag values by name; boolean flags are "true". */
export type Flags = Record<string, string | undefined>;

/**
 * Parses `--name value` and `--name=value`; every flag at most once, none unknown.
 * @param switches flags that take no value
 * @throws InputError "bad-flag"
 */
export function flagsOf(
  command: string,
  args: readonly string[],
  names: readonly string[],
  switches: readonly string[] = [],
): Flags {
  const options = Object.fromEntries([
    ...names.map((name) => [name, { type: "string", multiple: true }] as const),
    ...switches.map((name) => [name, { type: "boolean" }] as const),
  ]);
  let values: Record<string, unknown>;
  try {
    values = parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const dashed =
      code === "ERR_PARSE_ARGS_INVALID_OPTION_VALUE" ? /'(--[\w-]+)' argument is ambiguous/.exec(message) : null;
    const reason =
      dashed === null
        ? message.split(". To specify")[0]
        : `Expected a value for ${dashed[1]} but received one that starts with a dash, or none; write ${dashed[1]}=VALUE`;
    throw new InputError(
      "bad-flag",
      `${reason.replace(/\.$/, "")}. Run "steerlab ${command} --help" for the flags of this command.`,
    );
  }
  const flags: Flags = {};
  for (const [name, value] of Object.entries(values)) {
    if (Array.isArray(value) && value.length > 1) {
      throw new InputError("bad-flag", `Expected --${name} once but received it ${value.length} times.`);
    }
    flags[name] = Array.isArray(value) ? String(value[0]) : String(value);
  }
  return flags;
}

/** @throws InputError "missing-flag" */
export function required(command: string, flags: Flags, name: string): string {
  const value = flags[name];
  if (value === undefined || value === "") {
    throw new InputError(
      "missing-flag",
      `Expected --${name} for "steerlab ${command}" but received none. Run "steerlab ${command} --help".`,
    );
  }
  return value;
}

/** A whole number >= least (and <= most), or the default. @throws InputError "bad-flag" */
export function wholeNumber(
  flags: Flags,
  name: string,
  otherwise: number,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  const text = flags[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < least || value > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? `>= ${least}` : `${least}..${most}`;
    throw new InputError(
      "bad-flag",
      `Expected a whole number ${range} for --${name} but received ${JSON.stringify(text)}.`,
    );
  }
  return value;
}

/** --backend, --dtype, --threads, --isa. @throws InputError "bad-flag" */
export function backendOptions(flags: Flags): EngineOptions {
  return {
    backend: oneOf(flags, "backend", ["auto", "cpu", "cuda", "onnx"] as const, "auto"),
    dtype: flags.dtype === undefined ? undefined : oneOf(flags, "dtype", ["f32", "bf16", "f64"] as const, "f32"),
    threads: wholeNumber(flags, "threads", 0, 1, MAX_THREADS),
  };
}

/** --other-base: whether an adapter may name another base model. @throws InputError "bad-flag" */
export function otherBase(flags: Flags): "refuse" | "accept" {
  return oneOf(flags, "other-base", ["refuse", "accept"] as const, "refuse");
}

function oneOf<T extends string>(flags: Flags, name: string, allowed: readonly T[], otherwise: T): T {
  const value = flags[name];
  if (value === undefined) return otherwise;
  if (!(allowed as readonly string[]).includes(value)) {
    throw new InputError(
      "bad-flag",
      `Expected one of ${allowed.join(", ")} for --${name} but received ${JSON.stringify(value)}.`,
    );
  }
  return value as T;
}

/** @throws InputError "overwrite" when the output is one of the inputs */
export function refuseToOverwriteInput(out: string, inputs: readonly string[]): void {
  for (const input of inputs) {
    if (placeOf(out) === placeOf(input)) {
      throw new InputError(
        "overwrite",
        `Expected an output file other than the input but --out is ${JSON.stringify(out)}. Choose another name.`,
      );
    }
  }
}

/** Where a path leads through linked folders; a link at its very end is not followed, as writing replaces the link. */
function placeOf(file: string): string {
  const folder = path.dirname(path.resolve(file));
  return path.join(fs.existsSync(folder) ? fs.realpathSync(folder) : folder, path.basename(file));
}
