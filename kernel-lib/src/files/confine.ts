/**
 * Keeps paths that come from outside (an index file, a hub listing, a run id) inside one folder.
 *
 * A path is refused when its text leaves the folder (absolute, `..`, backslash, NUL) and when a link on disk would. Both
 * are needed: the first guards files not yet there, the second guards files that are.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../base";

/** True if `inner` is `outer` or lies below it; both absolute. */
function isWithin(inner: string, outer: string): boolean {
  const relative = path.relative(outer, inner);
  return relative === "" || (!path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..");
}

/**
 * The absolute path of `relative` below `root`, proven to stay below it.
 *
 * @param root an existing folder
 * @param relative a path with forward slashes, from an untrusted source
 * @param name what the path is, for the error sentence
 * @param options.linksMayLeaveTo folders that links may lead into besides `root` (a hub cache's blobs)
 * @throws DataError "path-escape" if the text or a link leaves the folder
 *
 * @example
 * confinePath("/models/a", "model-00001-of-00002.safetensors", "weight_map entry");
 */
export function confinePath(
  root: string,
  relative: string,
  name: string,
  options: { linksMayLeaveTo?: readonly string[] } = {},
): string {
  const refuse = (why: string): never => {
    throw new DataError("path-escape", expected("a relative path inside its folder", name, relative, why));
  };
  if (relative === "") refuse("It is empty.");
  if (/[\0\\]/.test(relative)) refuse("Backslashes and NUL are not allowed.");
  if (path.isAbsolute(relative) || /^[A-Za-z]:/.test(relative)) refuse("It is absolute.");
  if (relative.split("/").some((part) => part === ".." || part === ".")) refuse("It has a '.' or '..' part.");

  const realRoot = fs.realpathSync(root);
  const target = path.join(realRoot, relative);
  // Resolve the deepest part that exists: a new file below a link that leads out must be refused before it is written.
  let probe = target;
  while (!existsAsEntry(probe)) probe = path.dirname(probe);
  let real: string;
  try {
    real = fs.realpathSync(probe);
  } catch {
    return refuse("It is a link that leads nowhere.");
  }
  const homes = [
    realRoot,
    ...(options.linksMayLeaveTo ?? []).filter((home) => fs.existsSync(home)).map((home) => fs.realpathSync(home)),
  ];
  if (!homes.some((home) => isWithin(real, home))) refuse("A link leads out of the folder.");
  return target;
}

/** True if anything, even a dangling link, is at `file`. */
function existsAsEntry(file: string): boolean {
  return fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}
