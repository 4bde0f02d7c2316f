/**
 * Which training an evaluation measures: chosen among those that fit, named with run, seed, protocol and date.
 *
 * No figure of an adapter stands without the run that trained it. Reads run folders; changes nothing.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { inspect } from "node:util";
import { DataError, PROJECT_FOLDER } from "../base";
import { findRun, finishedRuns, type RunMatch } from "./find";
import { shortName } from "./meta";
import { runOrigin, startedAt, trainingTitle } from "./origin";
import { openRunFolder, type RunFolder, runFoldersBelow } from "./run-folder";

/** Other trainings named in one line. */
const SHOWN = 3;

/** How one training is chosen where several fit. */
export interface AdapterChoice {
  /** a run's name, a run's folder, an adapter's folder or a hub name; "" (default): the newest that fits */
  adapterName?: string;
  /** training seed; null (default): any */
  trainSeed?: number | null;
  /** searched for a hint where none fits; default: the project's runs/ */
  elsewhere?: string;
}

/**
 * An adapter and the run that trained it. Shown as the last value of a cell, it says both.
 *
 * @example
 * const trained = adapterRun("runs", { modelHash: model.hash });
 * const { adapter: folder } = trained;
 */
export class AdapterRun {
  constructor(
    /** folder or hub name, for `model.attach` */
    readonly adapter: string,
    /** the training run; null where no run of ours lies around the adapter */
    readonly run: RunFolder | null,
    /** other finished trainings that fit as well, newest first */
    readonly others: readonly RunFolder[],
  ) {}

  /** What a result must say of the adapter that it measures; null is unknown. */
  get numbers(): Record<"adapter run" | "trained by" | "training seed" | "trained on", string | number | null> {
    if (this.run === null)
      return { "adapter run": shortName(this.adapter), "trained by": null, "training seed": null, "trained on": null };
    const { id, label, meta } = runOrigin(this.run);
    return {
      "adapter run": id,
      "trained by": label,
      "training seed": meta.seed ?? null,
      "trained on": startedAt(meta),
    };
  }

  [inspect.custom](): string {
    if (this.run === null)
      return `adapter ${shortName(this.adapter)}: trained by no run of ours, so seed and date are unknown`;
    const line = `adapter of ${trainingTitle(runOrigin(this.run))}`;
    const count = this.others.length;
    if (count === 0) return line;
    const shown = this.others.slice(0, SHOWN).map((run) => `${run.id} (seed ${String(run.readMeta().seed)})`);
    const more = count > SHOWN ? ` and ${count - SHOWN} more` : "";
    return `${line}\nthe newest of ${count + 1} that fit; set adapterName or trainSeed for another: ${shown.join(", ")}${more}`;
  }
}

/**
 * The finished training under `root` that an evaluation measures: the named one, else the newest that matches.
 *
 * @param match further fields of the run's meta.json, such as `modelHash` and `protocolHash`
 * @returns the adapter's folder and the run it came from
 * @throws DataError "no-adapter" saying what to run first, or where one lies that fits
 * @example
 * const trained = adapterRun("runs", { modelHash: model.hash, protocolHash: protocolHash(protocol) }, { trainSeed: 2 });
 * const adapter = await model.attach(trained.adapter);
 */
export function adapterRun(root: string, match: RunMatch, choice: AdapterChoice = {}): AdapterRun {
  const { adapterName = "", trainSeed = null } = choice;
  if (adapterName !== "") return namedAdapter(root, adapterName);
  const wanted = { ...match, kind: "train", ...(trainSeed === null ? {} : { seed: trainSeed }) };
  const [newest, ...others] = finishedRuns(root, wanted);
  if (newest === undefined) throw noAdapter(root, wanted, choice);
  return new AdapterRun(newest.file("adapter"), newest, others);
}

/** A run by name or folder stands for its adapter; anything else is an adapter itself, perhaps in a run's folder. */
function namedAdapter(root: string, name: string): AdapterRun {
  const isFolder = fs.statSync(name, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const run = isFolder ? runAround(name) : (runFoldersBelow(root).find(({ id }) => id === name) ?? null);
  const isRun = run !== null && (!isFolder || run.path === path.resolve(name));
  return new AdapterRun(isRun ? run.file("adapter") : name, run, []);
}

/** The training run that a folder is, or that it lies in (adapter, checkpoints/step-000200). */
function runAround(folder: string): RunFolder | null {
  const places = ["", "..", path.join("..", "..")].map((step) => path.resolve(folder, step));
  const found = places.find((place) => fs.existsSync(path.join(place, "meta.json")));
  const run = found === undefined ? null : openRunFolder(found);
  return run?.readMeta().kind === "train" ? run : null;
}

function noAdapter(root: string, wanted: RunMatch, choice: AdapterChoice): DataError {
  const seed = choice.trainSeed === undefined || choice.trainSeed === null ? "" : ` with seed ${choice.trainSeed}`;
  const elsewhere = finishedRuns(choice.elsewhere ?? path.join(PROJECT_FOLDER, "runs"), wanted)[0];
  const open = findRun(root, wanted);
  const [found, remedy] =
    open !== null
      ? [`found only one that was stopped half-way (${open.id})`, "Run 01-train again to finish it"]
      : elsewhere !== undefined
        ? [`found one only in ${path.dirname(elsewhere.path)}`, `Set adapterName to ${JSON.stringify(elsewhere.path)}`]
        : ["found none", "Run 01-train first"];
  return new DataError(
    "no-adapter",
    `Expected a finished training run of this model and protocol${seed} in ${root} but ${found}. ${remedy}, or name an adapter in the parameter adapterName.`,
  );
}
