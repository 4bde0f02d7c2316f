/**
 * What meta.json of every run says about where its numbers come from: model, protocol, machine, versions, seeds, command.
 *
 * Written once at the start of a run through the run folder; reports read it. No environment variables and no home paths
 * go in, so nothing secret can.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { LIBRARY_VERSION, PROJECT_FOLDER } from "../base";
import type { StudyModel } from "../engine";
import type { RunIdentity } from "./identity";
import { type Protocol, protocolHash, protocolLabel } from "../study";

/** Fields of meta.json that reports rely on. */
export interface RunMeta {
  /** train, detection, side-effects, chats, identity, self-prediction, self-report or probe */
  kind: string;
  /** everything that decides the run's bytes; {} in runs of older versions */
  identity: RunIdentity;
  protocol: string;
  /** what the protocol is called: its changes too, if it is not a shipped one */
  protocolLabel: string;
  protocolHash: string;
  twinOf: string | null;
  seed: number;
  model: string;
  modelHash: string;
  isLabModel: boolean;
  layers: number;
  hiddenSize: number;
  templateHash: string;
  tokenizerHash: string;
  adapter: string | null;
  adapterHash: string | null;
  backend: string;
  dtype: string;
  device: string;
  /** ISO 8601, UTC */
  started: string;
  library: string;
  node: string;
  commit: string | null;
  command: string;
  /** (L) mean residual norms that relative strengths refer to; null where nothing was steered */
  residualNorms: number[] | null;
}

/** The meta record of a run on `model` by `protocol`. */
export function runMeta(
  identity: RunIdentity,
  model: StudyModel,
  protocol: Protocol,
  run: { seed: number; time: Date; norms: Float64Array | null; adapter?: { name: string; hash: string } | null },
): RunMeta {
  const { engine } = model;
  return {
    kind: String(identity.kind),
    identity,
    protocol: protocol.name,
    protocolLabel: protocolLabel(protocol),
    protocolHash: protocolHash(protocol),
    twinOf: protocol.twinOf?.name ?? null,
    seed: run.seed,
    model: shortName(model.name),
    modelHash: model.hash,
    isLabModel: model.isLabModel,
    layers: engine.config.num_hidden_layers,
    hiddenSize: engine.config.hidden_size,
    templateHash: model.chatTemplate.hash,
    tokenizerHash: model.tokenizer.hash,
    adapter: run.adapter?.name ?? null,
    adapterHash: run.adapter?.hash ?? null,
    backend: engine.backend,
    dtype: engine.dtype,
    device: engine.description,
    started: run.time.toISOString(),
    library: LIBRARY_VERSION,
    node: process.version,
    commit: commitOf(PROJECT_FOLDER),
    command: process.argv
      .slice(1, 3)
      .map((part) => path.basename(part))
      .join(" "),
    residualNorms: run.norms === null ? null : [...run.norms],
  };
}

/** The last part of a folder path, or a hub name as it stands: no absolute paths in records. */
export function shortName(name: string): string {
  return path.isAbsolute(name) ? path.basename(name) : name;
}

/** The commit checked out at `root`, read from git's files; null outside a checkout. */
function commitOf(root: string): string | null {
  const git = path.join(root, ".git");
  try {
    const head = fs.readFileSync(path.join(git, "HEAD"), "utf8").trim();
    const ref = /^ref: (.+)$/.exec(head)?.[1];
    return ref === undefined ? head : fs.readFileSync(path.join(git, ref), "utf8").trim();
  } catch {
    return null; // not a checkout, a packed ref or a worktree: unknown
  }
}
