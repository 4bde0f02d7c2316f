/** Paths on the command line, read the way they are meant: a run folder for its adapter, a folder of runs for its runs. */
import * as fs from "node:fs";
import * as path from "node:path";
import { expected, InputError } from "../base";
import { destinationOf } from "../files";
import { openRunFolder, type RunFolder, runFoldersBelow, runOrigin, trainingRunOf, trainingTitle } from "../runs";

/** Trainings named in one refusal. */
const SHOWN = 4;

/**
 * What `--adapter` names: a run folder stands for the adapter that it trained, so does a folder with one training in it or below;
 * anything else is taken as it is.
 *
 * @throws InputError "adapter-place" saying where the adapter is, if it is not there, or which there are, if there are several
 */
export function adapterPlace(given: string, flag = "--adapter"): string {
  const has = (...names: string[]): boolean => fs.existsSync(path.join(given, ...names));
  const isFolder = fs.existsSync(given) && fs.statSync(given).isDirectory(); // statSync throws on a path through a file
  if (!isFolder || has("adapter_config.json")) return given;
  if (has("adapter", "adapter_config.json")) return path.join(given, "adapter");
  const refuse = (remedy: string): never => {
    throw new InputError("adapter-place", expected("an adapter or the run that trained it", flag, given, remedy));
  };
  const steps = has("checkpoints")
    ? fs.readdirSync(path.join(given, "checkpoints")).filter((name) => /^step-\d+$/.test(name))
    : [];
  const newest = steps.sort().at(-1);
  if (newest !== undefined)
    refuse(`The run has not ended; its newest checkpoint is ${path.join(given, "checkpoints", newest)}.`);
  if (has("meta.json")) {
    const { kind, adapterHash } = openRunFolder(given).readMeta();
    const training =
      adapterHash === undefined ? null : trainingRunOf(path.dirname(path.resolve(given)), String(adapterHash));
    const measured = training === null ? "" : ` What it measured was trained by ${training.path}.`;
    refuse(`It is a run of kind ${JSON.stringify(kind ?? null)}, which leaves no adapter.${measured}`);
  }
  const trained = runFoldersBelow(given).filter((run) => fs.existsSync(run.file("adapter", "adapter_config.json")));
  if (trained.length > 1) refuse(`It holds ${trained.length} trainings; name one: ${namesOf(given, trained)}.`);
  return trained[0]?.file("adapter") ?? given;
}

/** Newest first, each with protocol, seed and date. */
function namesOf(folder: string, runs: readonly RunFolder[]): string {
  const shown = [...runs].reverse().slice(0, SHOWN);
  const names = shown.map((run) => {
    const title = trainingTitle(runOrigin(run)).replace(/^run \S+ /, "");
    return `${path.join(folder, path.relative(path.resolve(folder), run.path))} ${title}`;
  });
  const more = runs.length - shown.length;
  return `${names.join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
}

/** Runs of a report, most important first, and those that were passed over. */
export interface ReportRuns {
  folders: string[];
  /** runs of a folder of runs that have not ended well */
  left: RunFolder[];
  /** runs that lie within those reported, such as a sweep of imported vectors; a report of their own */
  inner: RunFolder[];
}

/** What is measured comes before what was trained. */
const KINDS = ["detection", "side-effects", "chats", "identity", "self-prediction", "self-report", "probe"];

/**
 * What `report` was given: run folders as they stand, and of a folder all runs in it and in the folders below it that are done,
 * those of the newest adapter first.
 *
 * @throws InputError "run-folder" for anything else
 */
export function reportRuns(given: readonly string[]): ReportRuns {
  const left: RunFolder[] = [];
  const folders = given.flatMap((folder) => {
    if (fs.existsSync(path.join(folder, "meta.json"))) return [folder];
    const runs = runFoldersBelow(folder).filter((run) => fs.existsSync(run.file("meta.json")));
    if (runs.length === 0)
      throw new InputError("run-folder", expected("a run folder with meta.json, or a folder of them", "RUN", folder));
    left.push(...runs.filter((run) => run.status() !== "done"));
    return inOrder(runs.filter((run) => run.status() === "done"));
  });
  if (folders.length === 0)
    throw new InputError("run-folder", expected("at least one finished run", "RUN", given.join(", ")));
  const reported = [...new Set(folders)];
  return { folders: reported, left, inner: reported.flatMap((folder) => runFoldersBelow(folder)) };
}

/** Adapter by adapter, the newest first; of each: evaluations, then the training. `runs` oldest first. */
function inOrder(runs: readonly RunFolder[]): string[] {
  const of = (run: RunFolder): { kind: string; adapter: string } => {
    const { kind, adapterHash } = run.readMeta();
    return { kind: String(kind), adapter: String(adapterHash ?? "") };
  };
  const facts = [...runs].reverse().map((run) => ({ path: run.path, ...of(run) }));
  const adapters = [...new Set(facts.map(({ adapter }) => adapter))].sort(
    (a, b) => Number(a === "") - Number(b === ""),
  );
  const rank = (kind: string): number => (KINDS.includes(kind) ? KINDS.indexOf(kind) : KINDS.length);
  return adapters.flatMap((adapter) =>
    facts
      .filter((run) => run.adapter === adapter)
      .sort((a, b) => rank(a.kind) - rank(b.kind))
      .map((run) => run.path),
  );
}

/** @throws InputError "overwrite" when the output is one of the inputs, by whatever path */
export function refuseToOverwriteInput(out: string, inputs: readonly string[]): void {
  const place = placeOf(destinationOf(out, "--out").file);
  for (const input of inputs) {
    if (placeOf(fs.existsSync(input) ? fs.realpathSync(input) : input) === place) {
      throw new InputError(
        "overwrite",
        `Expected an output file other than the input but --out is ${JSON.stringify(out)}. Choose another name.`,
      );
    }
  }
}

/** Where a path leads through linked folders. */
function placeOf(file: string): string {
  const folder = path.dirname(path.resolve(file));
  return path.join(fs.existsSync(folder) ? fs.realpathSync(folder) : folder, path.basename(file));
}
