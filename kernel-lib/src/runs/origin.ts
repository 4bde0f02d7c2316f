/**
 * Whose numbers these are: the run that trained an adapter, by which protocol, with which seed, when.
 *
 * Read from run folders; no figure of a report, notebook or index stands without it.
 */
import { existsSync } from "node:fs";
import { packedOr } from "../files";
import { loadProtocol, olderProtocolLabel } from "../study";
import { finishedRuns } from "./find";
import type { RunMeta } from "./meta";
import type { RunFolder } from "./run-folder";

/** What a run's title is made of. */
export interface RunOrigin {
  id: string;
  /** what its protocol is called, changes included */
  label: string;
  meta: Partial<RunMeta>;
}

/**
 * A run folder's origin; an older run, which records no label, is named by whether its protocol is a shipped one.
 *
 * @returns id, the protocol's label and meta.json
 * @throws DataError "json-syntax" where meta.json is damaged
 * @example
 * const origins = finishedRuns("runs", { kind: "train" }).map(runOrigin);
 */
export function runOrigin(folder: RunFolder): RunOrigin {
  const meta = folder.readMeta() as Partial<RunMeta>;
  const file = packedOr(folder.file("protocol.yaml"));
  const found = (): string =>
    existsSync(file) ? olderProtocolLabel(loadProtocol(file)) : (meta.protocol ?? "no protocol");
  return { id: folder.id, label: meta.protocolLabel ?? found(), meta };
}

/**
 * "run 20300102-030405-train-strict-s1 (strict, training seed 1, 2030-01-02 03:04 UTC)": a training run in a line.
 */
export function trainingTitle({ id, label, meta }: RunOrigin): string {
  const parts = [label, `training seed ${meta.seed ?? "unknown"}`, startedAt(meta)].filter((part) => part !== "");
  return `run ${id} (${parts.join(", ")})`;
}

/**
 * "2030-01-02 03:04 UTC"; "" where the run does not say.
 *
 * @returns UTC, to the minute
 * @example
 * startedAt({ started: "2030-01-02T03:04:05.000Z" }); // 2030-01-02 03:04 UTC
 */
export function startedAt({ started }: Partial<RunMeta>): string {
  return started === undefined ? "" : `${started.slice(0, 10)} ${started.slice(11, 16)} UTC`;
}

/** The newest finished run in `root` or below that trained the adapter of that hash, or null. */
export function trainingRunOf(root: string, adapterHash: string): RunFolder | null {
  return finishedRuns(root, { kind: "train", adapterHash })[0] ?? null;
}
