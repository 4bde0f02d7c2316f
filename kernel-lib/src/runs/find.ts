/**
 * Finds earlier runs by what they were made from, so that a cell or batch that is run again goes on instead of starting over.
 *
 * Reads meta.json of the run folders under a root; changes nothing. Failed runs are never taken up again.
 */
import { existsSync } from "node:fs";
import * as path from "node:path";
import { PROJECT_FOLDER } from "../base";
import { protocolHash, shippedProtocols } from "../study";
import { identityDifferences, type RunIdentity } from "./identity";
import type { RunMeta } from "./meta";
import { openRunFolder, type RunFolder, runFoldersBelow } from "./run-folder";

/**
 * Where a notebook keeps its runs: the batch's folder when it runs in one, else `runs/` of the project. Everything that looks for
 * runs there also finds those of batches below it, such as runs/batch.
 * @param batchDir the notebook's parameter, relative to the project; "" outside a batch
 * @returns an absolute path; nothing is made
 * @example
 * const root = runsFolder(batchDir);
 */
export function runsFolder(batchDir: string): string {
  return path.resolve(PROJECT_FOLDER, batchDir === "" ? "runs" : batchDir);
}

/** What a run is looked up by: fields of its meta.json, or everything that decides its bytes. */
export interface RunMatch extends Partial<Omit<RunMeta, "identity">> {
  /** the run's whole identity: every part must be the same */
  identity?: RunIdentity;
}

/**
 * The newest run in `root` or below that matches, or null: done, or open in `root` itself. An open run further below belongs to
 * a batch, which may be at work on it; a failed one to nobody.
 * @param root folder that holds run folders; may not exist yet
 * @returns the run's folder, to ask for its status, its meta.json and its files
 * @throws DataError "json-syntax" where a run's meta.json is damaged
 * @example
 * const earlier = findRun("runs", { kind: "train", seed: 1, modelHash: model.hash });
 */
export function findRun(root: string, match: RunMatch): RunFolder | null {
  const own = path.resolve(root);
  const admits = (folder: RunFolder): boolean =>
    folder.status() === "done" || (folder.status() === "open" && path.dirname(folder.path) === own);
  return matchingRuns(root, match, admits)[0] ?? null;
}

/**
 * The finished runs in `root` and below that match, newest first.
 * @returns run folders; none is no error
 * @example
 * finishedRuns("runs", { kind: "train" }).map(({ id }) => id);
 */
export function finishedRuns(root: string, match: RunMatch = {}): RunFolder[] {
  return matchingRuns(root, match, (folder) => folder.status() === "done");
}

function matchingRuns(
  root: string,
  { identity, ...match }: RunMatch,
  admits: (folder: RunFolder) => boolean,
): RunFolder[] {
  const fits = (folder: RunFolder): boolean => {
    if (!admits(folder) || !existsSync(folder.file("meta.json"))) return false;
    const meta = folder.readMeta();
    return (
      (identity === undefined || isSame(meta.identity as RunIdentity | undefined, identity)) &&
      Object.entries(match).every(([field, value]) => JSON.stringify(meta[field]) === JSON.stringify(value))
    );
  };
  return runFoldersBelow(root).reverse().filter(fits);
}

/** A run of an older version tells too little of itself to be gone on with. */
function isSame(recorded: RunIdentity | undefined, wanted: RunIdentity): boolean {
  if (recorded === undefined || Object.keys(recorded).length !== Object.keys(wanted).length) return false;
  return Object.keys(wanted).every((part) => part in recorded) && identityDifferences(recorded, wanted).length === 0;
}

/** The runs that belong to one adapter. */
export interface AdapterRuns {
  /** the run that trained it, or null if it is not under this root */
  training: string | null;
  /** finished evaluations of it, newest of each kind */
  evaluations: string[];
  /** evaluations, then training: the order of a report */
  all: string[];
}

/**
 * The finished runs under `root` that trained or measured an adapter, the newest of each kind and protocol.
 * @param adapterHash sha256 of the adapter's tensors, as in meta.json
 * @returns paths of run folders; none is no error
 * @example
 * writeReport(runsOfAdapter("runs", adapter.hash).all);
 */
export function runsOfAdapter(root: string, adapterHash: string): AdapterRuns {
  const done = finishedRuns(root, { adapterHash }).reverse();
  // An adapter may have been asked by several protocols; each is an evaluation of its own.
  const newest = new Map(
    done.map((folder) => {
      const { kind, protocol, protocolHash: hash } = folder.readMeta();
      return [kind === "train" ? "train" : `${String(kind)} ${String(hash ?? protocol)}`, folder.path] as const;
    }),
  );
  const training = newest.get("train") ?? null;
  const evaluations = [
    "detection",
    "side-effects",
    "chats",
    "identity",
    "self-prediction",
    "self-report",
    "probe",
  ].flatMap((kind) => [...newest].filter(([key]) => key.startsWith(`${kind} `)).map(([, path]) => path));
  return { training, evaluations, all: training === null ? evaluations : [...evaluations, training] };
}

/**
 * The runs of an adapter, then those of the newest adapters that the other shipped protocols trained on the same base model:
 * what a report shows side by side. Protocols are told by hash: one that was changed is not the shipped one of its name.
 * @param adapterHash sha256 of the adapter's tensors, as in meta.json
 * @returns paths of run folders, most important first
 * @example
 * writeReport(runsSideBySide("runs", adapter.hash));
 */
export function runsSideBySide(root: string, adapterHash: string): string[] {
  const own = runsOfAdapter(root, adapterHash);
  const meta = own.training === null ? null : openRunFolder(own.training).readMeta();
  if (meta === null) return own.all;
  const shipped = shippedProtocols().map(protocolHash);
  const others = shipped
    .filter((hash) => hash !== meta.protocolHash)
    .reverse()
    .flatMap((hash) => {
      const match = { kind: "train", protocolHash: hash, modelHash: String(meta.modelHash) };
      const other = finishedRuns(root, match)[0]?.readMeta();
      return other === undefined ? [] : runsOfAdapter(root, String(other.adapterHash)).all;
    });
  return [...own.all, ...others];
}
