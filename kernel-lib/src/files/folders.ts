/**
 * Folders for outputs, made before long work so that a place that cannot be written is refused at once, and taken away again
 * when nothing was put there.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { InputError } from "../base";

/**
 * Makes a folder and its missing parents, one by one: mkdir's own recursion never returns on some virtual file systems.
 *
 * @param name the flag or option it came from, for the error sentence
 * @returns the folders that were made, outermost first
 * @throws InputError "out-folder"
 */
export function makeFolder(folder: string, name: string): string[] {
  const missing: string[] = [];
  for (let at = path.resolve(folder); !fs.existsSync(at); at = path.dirname(at)) missing.unshift(at);
  const made: string[] = [];
  try {
    for (const at of missing) {
      fs.mkdirSync(at);
      made.push(at);
    }
    if (!fs.statSync(folder).isDirectory()) throw new Error("a file is there");
    fs.accessSync(folder, fs.constants.W_OK);
  } catch (error) {
    removeIfEmpty(made);
    throw cannotWrite(folder, name, error);
  }
  return made;
}

/** Removes folders that are empty, innermost first; others stay. */
export function removeIfEmpty(made: readonly string[]): void {
  for (const folder of [...made].reverse()) {
    try {
      fs.rmdirSync(folder);
    } catch {
      return; // something is in it by now, so the outer ones are not empty either
    }
  }
}

/** The error for an output that cannot be written. */
export function cannotWrite(target: string, name: string, cause: unknown): InputError {
  const reason = (cause as Error).message.split(",")[0];
  return new InputError(
    "out-folder",
    `Expected a place that can be written for ${name} but received ${JSON.stringify(target)} (${reason}). Choose another.`,
    { cause },
  );
}
