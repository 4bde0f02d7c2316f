/**
 * Whose numbers these are: the run that trained an adapter, by which protocol, with which seed, when.
 *
 * Read from run folders; no figure of a report, notebook or index stands without it.
 */
import { existsSync } from "node:fs";
import { loadProtocol, olderProtocolLabel } from "../study";
import type { RunMeta } from "./meta";
import { listRunFolders, type RunFolder } from "./run-folder";

/** What a run's title is made of. */
export interface RunOrigin {
  id: string;
  /** what its protocol is called, changes included */
  label: string;
  meta: Partial<RunMeta>;
}

/** A run folder's origin; an older run, which records no label, is named by whether its protocol is a shipped one. */
export function runOrigin(folder: RunFolder): RunOrigin {
  const meta = folder.readMeta() as Partial<RunMeta>;
  const file = folder.file("protocol.yaml");
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

/** "2030-01-02 03:04 UTC"; "" where the run does not say. */
export function startedAt({ started }: Partial<RunMeta>): string {
  return started === undefined ? "" : `${started.slice(0, 10)} ${started.slice(11, 16)} UTC`;
}

/** The newest finished run under `root` that trained the adapter of that hash, or null. */
export function trainingRunOf(root: string, adapterHash: string): RunFolder | null {
  const isSource = (folder: RunFolder): boolean => {
    const { kind, adapterHash: hash } = folder.readMeta();
    return kind === "train" && hash === adapterHash && folder.status() === "done";
  };
  return listRunFolders(root).reverse().find(isSource) ?? null;
}

/**
 * Which run trained an adapter, in words for a notebook; says so where no run under `root` did.
 * @param adapterHash sha256 of the adapter's tensors
 * @example
 * console.log(adapterOrigin("runs", adapter.hash)); // "adapter 0123456789ab of run 2030... (strict, training seed 1, ...)"
 */
export function adapterOrigin(root: string, adapterHash: string): string {
  const run = trainingRunOf(root, adapterHash);
  const from = run === null ? `, trained by no run in ${root}` : ` of ${trainingTitle(runOrigin(run))}`;
  return `adapter ${adapterHash.slice(0, 12)}${from}`;
}
