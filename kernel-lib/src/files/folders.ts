/**
 * Folders for outputs, made before long work so that a place that cannot be written is refused at once, and taken away again
 * when nothing was put there.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { cannotWrite, destinationOf } from "./destination";

/** Makes a folder and its missing parents, one by one: mkdir's own recursion never returns on some virtual file systems. */
export function makeMissing(folder: string): string[] {
  const missing: string[] = [];
  for (let at = path.resolve(folder); !fs.existsSync(at); at = path.dirname(at)) missing.unshift(at);
  const made: string[] = [];
  try {
    for (const at of missing) {
      try {
        fs.mkdirSync(at);
        made.push(at);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code !== "EEXIST" || !fs.existsSync(at)) throw error; // another process made it first: as good
      }
    }
  } catch (error) {
    removeIfEmpty(made);
    throw error;
  }
  return made;
}

/**
 * Makes a folder and its missing parents, and proves that a file can be put there.
 *
 * @param name the flag or option it came from, for the error sentence
 * @returns the folders that were made, outermost first
 * @throws InputError "out-folder"
 */
export function makeFolder(folder: string, name: string): string[] {
  let made: string[] = [];
  try {
    made = makeMissing(folder);
    if (!fs.statSync(folder).isDirectory()) throw new Error("a file is there");
    // Asking for permission is not enough: to root everything is allowed, also where the file system makes no files.
    const trial = path.join(folder, `.${process.pid}.partial`);
    fs.writeFileSync(trial, "");
    fs.rmSync(trial);
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

/**
 * Refuses a file that could not be written at the end of the work, before the work: makes its folder and tries it out.
 *
 * @param name the flag or option it came from
 * @returns the folders that were made, outermost first
 * @throws InputError "out-kind", "out-folder"
 */
export function prepareFile(target: string, name: string): string[] {
  const { how, file } = destinationOf(target, name);
  if (how === "through") {
    try {
      fs.accessSync(file, fs.constants.W_OK);
    } catch (error) {
      throw cannotWrite(target, name, error);
    }
    return [];
  }
  return makeFolder(path.dirname(file), name);
}
