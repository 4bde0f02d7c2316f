/**
 * One table a command: its help, its checks, its messages and the types of its values all come from there.
 *
 * Reading is node's own `parseArgs`; what it only reports as tokens (what is unknown, repeated, missing, out of place) is
 * said here in one sentence, and nothing starts.
 */
import { parseArgs } from "node:util";
import { expected, InputError } from "../base";

interface FlagBase {
  /** what the help says; lines after the first are indented under it */
  about: string;
}
/** Takes any text. */
export interface TextFlag extends FlagBase {
  kind: "text";
  /** stands for the value in the help */
  value: string;
  required?: true;
  /** may be given several times */
  many?: true;
}
/** Takes a whole number. */
export interface WholeFlag extends FlagBase {
  kind: "whole";
  least: number;
  most?: number;
}
/** Takes one of a few words. */
export interface ChoiceFlag extends FlagBase {
  kind: "choice";
  choices: readonly string[];
}
/** Takes nothing. */
export interface SwitchFlag extends FlagBase {
  kind: "switch";
}
/** Takes NAME VALUE or NAME=VALUE, several times; also spelt with its first letter: `-p`. */
export interface PairFlag extends FlagBase {
  kind: "pairs";
}

/** What one flag takes. */
export type Flag = TextFlag | WholeFlag | ChoiceFlag | SwitchFlag | PairFlag;

/** What a command takes. */
export interface CommandTable {
  /** one line of `steerlab --help` */
  about: string;
  /** after the command's name: "RUN [RUN ...] [--out FILE]" */
  usage: string;
  /** what the command does, in whole sentences */
  text: string;
  /** what stands without a flag, or null */
  operands: { name: string; least: number } | null;
  flags: Readonly<Record<string, Flag>>;
}

type ValueOf<F> = F extends { kind: "switch" }
  ? boolean
  : F extends { kind: "pairs" }
    ? [name: string, value: string][]
    : F extends { kind: "whole" }
      ? number | undefined
      : F extends { kind: "choice"; choices: readonly (infer C)[] }
        ? C | undefined
        : F extends { many: true }
          ? string[]
          : F extends { required: true }
            ? string
            : string | undefined;

/** The checked values of a command line, by flag. */
export type FlagValues<T extends CommandTable> = { [N in keyof T["flags"]]: ValueOf<T["flags"][N]> };

/** A command line, read. */
export interface Arguments<T extends CommandTable> {
  flags: FlagValues<T>;
  operands: string[];
}

/** The help of a command, from its table. */
export function helpOf(command: string, { usage, text, flags }: CommandTable): string {
  const lines = Object.entries(flags).map(([name, flag]) => [spelling(name, flag), flag.about] as const);
  const width = Math.max(0, ...lines.map(([left]) => left.length)) + 2;
  const shown = lines.map(
    ([left, about]) => `  ${left.padEnd(width)}${about.replaceAll("\n", `\n${" ".repeat(width + 2)}`)}`,
  );
  return [
    `steerlab ${command}${usage === "" ? "" : ` ${usage}`}\n`,
    text,
    ...(shown.length > 0 ? ["", ...shown] : []),
    "",
  ].join("\n");
}

function spelling(name: string, flag: Flag): string {
  switch (flag.kind) {
    case "text":
      return `--${name} ${flag.value}`;
    case "whole":
      return `--${name} N`;
    case "choice":
      return flag.choices.length > 1 ? `--${name} NAME` : `--${name} ${flag.choices[0]}`;
    case "switch":
      return `--${name}`;
    case "pairs":
      return `-${name[0]} NAME VALUE`;
  }
}

/**
 * Reads a command line by its table.
 *
 * @throws InputError "bad-flag" (unknown, without value, twice, of the wrong kind), "bad-operand", "missing-flag"
 * @example
 * const { flags, operands } = parseArguments("report", REPORT, ["runs/a", "--out", "a.html"]);
 */
export function parseArguments<T extends CommandTable>(
  command: string,
  table: T,
  args: readonly string[],
): Arguments<T> {
  const given = new Map<string, string[]>();
  const operands: string[] = [];
  const refuse = (sentence: string): never => {
    throw new InputError("bad-flag", `${sentence} Run "steerlab ${command} --help" for the flags of this command.`);
  };
  let skipTo = 0;
  for (const token of tokensOf(table, args)) {
    if (token.index < skipTo || token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      operands.push(token.value);
      continue;
    }
    const { name, rawName, value } = token;
    const flag = Object.hasOwn(table.flags, name) ? table.flags[name] : undefined;
    if (flag === undefined) return refuse(unknown(rawName, table));
    const earlier = given.get(name) ?? [];
    if (flag.kind === "switch") {
      if (value !== undefined) refuse(`Expected ${rawName} without a value but received ${JSON.stringify(value)}.`);
      given.set(name, [...earlier, "true"]);
      continue;
    }
    const next = args[token.index + 1];
    if (value === undefined || (token.inlineValue !== true && value.startsWith("-")))
      return refuse(
        `Expected a value for ${rawName} but received ${next === undefined ? "none" : "one that starts with a dash"}; write ${rawName}=VALUE.`,
      );
    let whole = value;
    if (flag.kind === "pairs" && !value.includes("=")) {
      const at = token.index + (token.inlineValue === true ? 1 : 2);
      if (args[at] === undefined || args[at].startsWith("--"))
        refuse(`Expected NAME VALUE after ${rawName} but received ${JSON.stringify(value)} alone.`);
      whole = `${value}=${args[at]}`;
      skipTo = at + 1;
    }
    given.set(name, [...earlier, whole]);
  }
  checkOperands(command, table, operands);
  const flags = Object.fromEntries(
    Object.entries(table.flags).map(([name, flag]) => [name, checkedValue(command, name, flag, given.get(name) ?? [])]),
  );
  return { flags: flags as FlagValues<T>, operands };
}

/** "help" or "version" if a command line asks for that instead of the work. */
export function wantsText(table: CommandTable, args: readonly string[]): "help" | "version" | null {
  for (const token of tokensOf(table, args)) {
    if (token.kind === "option-terminator") return null;
    if (token.kind === "option" && (token.name === "help" || token.rawName === "-h")) return "help";
    if (token.kind === "option" && token.name === "version") return "version";
  }
  return null;
}

/** The tokens of node's reader, which is told what takes a value and leaves the judgement to us. */
function tokensOf(table: CommandTable, args: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries(table.flags).map(([name, flag]) => {
      const type: "boolean" | "string" = flag.kind === "switch" ? "boolean" : "string";
      return [name, { type, multiple: true, ...(flag.kind === "pairs" ? { short: name[0] } : {}) }];
    }),
  );
  return parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true }).tokens;
}

function unknown(rawName: string, { flags }: CommandTable): string {
  const names = Object.keys(flags).map((name) => `--${name}`);
  if (names.length === 0) return `Expected no flags but received ${rawName}.`;
  return `Expected one of ${names.join(", ")} but received ${rawName}.`;
}

function checkOperands(command: string, { operands: wanted, usage }: CommandTable, operands: readonly string[]): void {
  if (wanted === null && operands.length > 0) {
    throw new InputError(
      "bad-operand",
      `Expected flags only but received ${JSON.stringify(operands[0])}. Usage: steerlab ${command} ${usage}`.trimEnd(),
    );
  }
  if (wanted !== null && operands.length < wanted.least)
    throw new InputError(
      "bad-operand",
      `Expected at least ${wanted.least} ${wanted.name} for "steerlab ${command}" but received none.`,
    );
}

function checkedValue(command: string, name: string, flag: Flag, given: readonly string[]): unknown {
  if (flag.kind === "pairs")
    return given.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)]);
  if (flag.kind === "text" && flag.many === true) return [...given];
  if (given.length > 1)
    throw new InputError("bad-flag", `Expected --${name} once but received it ${given.length} times.`);
  const [text] = given;
  if (flag.kind === "switch") return text !== undefined;
  if (flag.kind === "text" && flag.required === true && (text ?? "") === "") {
    throw new InputError(
      "missing-flag",
      `Expected --${name} for "steerlab ${command}" but received none. Run "steerlab ${command} --help".`,
    );
  }
  if (text === undefined) return undefined;
  if (flag.kind === "whole") return wholeNumber(name, flag, text);
  if (flag.kind === "choice" && !flag.choices.includes(text))
    throw new InputError("bad-flag", `${expected(`one of ${flag.choices.join(", ")}`, `--${name}`, text)}`);
  return text;
}

function wholeNumber(name: string, { least, most }: WholeFlag, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least && value <= (most ?? value)) return value;
  const range = most === undefined ? `>= ${least}` : `${least}..${most}`;
  throw new InputError("bad-flag", expected(`a whole number ${range}`, `--${name}`, text));
}
