/**
 * One folder per run, complete alone: `runs/<yyyymmdd-hhmmss>-<slug>-s<seed>/` with meta.json and a DONE or FAILED marker.
 *
 * "Ran" and "valid" are separate: no marker means the run is still going or was killed; DONE means it finished; FAILED
 * means it ended with an error, which the marker tells. Times are UTC. The caller gives the time, so tests can too.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected, InputError } from "../base";
import { parseJsonStrict, writeFailure, writeFileAtomic, writeJsonAtomic, writing } from "../files";

/** "open": no marker yet, running or killed. */
export type RunStatus = "open" | "done" | "failed";

/** A run folder on disk; holds no state of its own besides the path. */
export interface RunFolder {
  /** Absolute path. */
  readonly path: string;
  /** Folder name: `<yyyymmdd-hhmmss>-<slug>-s<seed>`. */
  readonly id: string;
  /** Absolute path of a file in the folder. */
  file(...parts: string[]): string;
  /** Merges fields into meta.json, atomically; a field given again is replaced. */
  writeMeta(fields: Record<string, unknown>): void;
  /** meta.json, or {} before the first write. @throws DataError if damaged */
  readMeta(): Record<string, unknown>;
  status(): RunStatus;
  /** Text of the FAILED marker, or null. */
  failure(): string | null;
  /** Writes DONE (and takes FAILED away: a resumed run may succeed). */
  markDone(): void;
  /** Writes FAILED with the reason (and takes DONE away). */
  markFailed(reason: string): void;
}

const RUN_ID = /^\d{8}-\d{6}-[a-z0-9]+(?:-[a-z0-9]+)*-s\d+$/;
const SLUG = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** `yyyymmdd-hhmmss` in UTC. */
export function runStamp(time: Date): string {
  const digits = time.toISOString().replace(/[-:T]/g, "");
  return `${digits.slice(0, 8)}-${digits.slice(8, 14)}`;
}

/** Lower-case letters, digits and single hyphens from any text; "run" if nothing is left. */
export function slugify(text: string): string {
  const slug = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 48)
    .replace(/-+$/, "");
  return slug === "" ? "run" : slug;
}

/**
 * Makes a new run folder. If the name is taken, the stamp moves on to the next free second: a folder is never shared.
 *
 * @param options.root folder that holds all runs; made if absent
 * @param options.slug short name, `[a-z0-9-]` (see `slugify`)
 * @param options.seed the run's seed, integer >= 0
 * @param options.time start of the run
 * @throws InputError "run-slug", "seed"; DataError "run-folder-taken" after 60 taken seconds
 *
 * @example
 * const run = createRunFolder({ root: "runs", slug: "train-strict", seed: 1, time: new Date() });
 */
export function createRunFolder(options: { root: string; slug: string; seed: number; time: Date }): RunFolder {
  const { root, slug, seed, time } = options;
  if (!SLUG.test(slug))
    throw new InputError("run-slug", expected("lower-case letters, digits and hyphens", "slug", slug));
  if (!Number.isSafeInteger(seed) || seed < 0) throw new InputError("seed", expected("an integer >= 0", "seed", seed));
  writing(root, () => fs.mkdirSync(root, { recursive: true }));
  for (let second = 0; second < 60; second++) {
    const id = `${runStamp(new Date(time.getTime() + second * 1000))}-${slug}-s${seed}`;
    try {
      fs.mkdirSync(path.join(root, id)); // fails if it exists: the one atomic claim
      return folderAt(path.resolve(root, id));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw writeFailure(path.join(root, id), error);
    }
  }
  throw new DataError(
    "run-folder-taken",
    `Expected a free run name for ${slug} in ${root} but 60 seconds of names are taken.`,
  );
}

/**
 * An existing run folder.
 *
 * @throws DataError "run-folder-missing" if there is no such folder
 */
export function openRunFolder(folder: string): RunFolder {
  // existsSync first: a path through a file makes statSync throw.
  if (!fs.existsSync(folder))
    throw new DataError("run-folder-missing", `Expected a run folder at ${folder} but there is none.`);
  if (!fs.statSync(folder).isDirectory())
    throw new DataError("run-folder-missing", `Expected a run folder at ${folder} but it is a file. Name its folder.`);
  return folderAt(path.resolve(folder));
}

/** How far below a folder of runs another is looked for: runs/batch, runs/2026/batch. */
const DEPTH = 3;

/**
 * All run folders in `root` and in the folders below it, oldest first: runs/ also finds what lies in runs/batch. What a run
 * holds itself is not entered; an absent root holds none.
 * @example
 * runFoldersBelow("runs").at(-1); // the newest run of the project
 */
export function runFoldersBelow(root: string, depth: number = DEPTH): RunFolder[] {
  if (!fs.existsSync(root) || !fs.statSync(root).isDirectory()) return [];
  const names = fs
    .readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith(".") && entry.name !== "node_modules")
    .map(({ name }) => name);
  const runs = names.flatMap((name) => {
    const place = path.resolve(root, name);
    if (RUN_ID.test(name)) return [folderAt(place)];
    return depth > 0 ? runFoldersBelow(place, depth - 1) : [];
  });
  return runs.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

function folderAt(folder: string): RunFolder {
  const done = path.join(folder, "DONE");
  const failed = path.join(folder, "FAILED");
  const meta = path.join(folder, "meta.json");
  const readMeta = (): Record<string, unknown> =>
    fs.existsSync(meta) ? (parseJsonStrict(fs.readFileSync(meta, "utf8"), meta) as Record<string, unknown>) : {};
  return {
    path: folder,
    id: path.basename(folder),
    file: (...parts) => path.join(folder, ...parts),
    readMeta,
    writeMeta: (fields) => writeJsonAtomic(meta, { ...readMeta(), ...fields }),
    status: () => (fs.existsSync(failed) ? "failed" : fs.existsSync(done) ? "done" : "open"),
    failure: () => (fs.existsSync(failed) ? fs.readFileSync(failed, "utf8").trim() : null),
    markDone: () => {
      writeFileAtomic(done, "");
      fs.rmSync(failed, { force: true });
    },
    markFailed: (reason) => {
      writeFileAtomic(failed, `${reason.trim()}\n`);
      fs.rmSync(done, { force: true });
    },
  };
}
