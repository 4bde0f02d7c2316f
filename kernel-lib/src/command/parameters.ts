/**
 * `-p NAME VALUE` as notebook parameters: JSON where it is JSON, else the text itself.
 *
 * `-p seed 3` is a number, `-p tiers '["held_out_random"]'` a list, `-p modelName data/lab-model` text. Dotted names below
 * `protocol.` are collected into one parameter, `protocolChanges`: `-p protocol.training.optimizer.lr 2e-4` gives
 * {"training.optimizer.lr": 0.0002}. What a notebook could not compute with (NaN, Infinity, digits lost) is refused here.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { expected, InputError, PROJECT_FOLDER } from "../base";

/** The parameter that changes of a protocol are collected in. */
export const CHANGES = "protocolChanges";

const NAME = /^[A-Za-z_$][\w$]*$/;
const CHANGE = /^protocol\.([A-Za-z_$][\w$-]*(?:\.(?:[A-Za-z_$][\w$-]*|\d+))*)$/;

/**
 * The parameters of a command line.
 *
 * @param pairs name and text of each `-p`
 * @throws InputError "parameter" naming the parameter
 * @example
 * parametersOf([["seed", "3"], ["protocol.training.epochs", "2"]]); // { seed: 3, protocolChanges: { "training.epochs": 2 } }
 */
export function parametersOf(pairs: readonly (readonly [string, string])[]): Record<string, unknown> {
  const parameters: Record<string, unknown> = {};
  const changes: Record<string, unknown> = {};
  for (const [name, text] of pairs) {
    const field = CHANGE.exec(name)?.[1];
    if (field === undefined && !NAME.test(name)) {
      const remedy = 'Give a nested value as JSON: -p NAME \'{"a": {"b": 1}}\'.';
      throw new InputError(
        "parameter",
        expected('a name, or "protocol." and a field of the protocol,', "-p", name, remedy),
      );
    }
    const target = field === undefined ? parameters : changes;
    const key = field ?? name;
    if (Object.hasOwn(target, key))
      throw new InputError("parameter", `Expected -p ${name} once but received it twice.`);
    target[key] = parameterValue(name, text);
  }
  if (Object.keys(changes).length === 0) return parameters;
  const given = parameters[CHANGES] ?? {};
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new InputError("parameter", expected("an object", `-p ${CHANGES}`, JSON.stringify(given)));
  const twice = Object.keys(changes).find((key) => Object.hasOwn(given, key));
  if (twice !== undefined)
    throw new InputError("parameter", `Expected -p protocol.${twice} once but ${CHANGES} has it too.`);
  return { ...parameters, [CHANGES]: { ...given, ...changes } };
}

function parameterValue(name: string, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text) as unknown;
  } catch {
    const trimmed = text.trim();
    if (/^[[{"]/.test(trimmed)) throw refused(name, "valid JSON, or text that does not begin like it,", text);
    if (/^[+-]?(nan|inf(inity)?)$/i.test(trimmed)) throw refused(name, "a finite number", text);
    return placed(text);
  }
  checkNumbers(name, value, text);
  return typeof value === "string" ? placed(value) : value;
}

/** JSON reads 1e999 as Infinity and rounds whole numbers beyond 2^53, without a word. */
function checkNumbers(name: string, value: unknown, text: string): void {
  if (typeof value === "number" && !(Math.abs(value) <= Number.MAX_SAFE_INTEGER))
    throw refused(name, 'numbers within +-(2^53 - 1) (or text: "..."),', text);
  if (typeof value === "object" && value !== null)
    for (const item of Object.values(value)) checkNumbers(name, item, text);
}

function refused(name: string, what: string, text: string): InputError {
  return new InputError("parameter", expected(what, `-p ${name}`, text.length > 80 ? `${text.slice(0, 80)}...` : text));
}

/** Text that is written like a path and leads to something, from here or from the project, as an absolute path. */
function placed(text: string): string {
  if (!text.includes("/") && !/\.(ya?ml|json|jsonl|safetensors|gguf)$/.test(text)) return text;
  const found = [path.resolve(text), path.resolve(PROJECT_FOLDER, text)].find((place) => fs.existsSync(place));
  return found ?? text;
}
