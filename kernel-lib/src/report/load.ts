/** A run folder as the report reads it: whatever is there, absent parts empty. No model is needed. */
import { existsSync } from "node:fs";
import {
  type ChatRecord,
  type IdentityRecord,
  readRecords,
  type SelfPredictionRecord,
  type SelfReportRecord,
  type SideEffectRecord,
  subjectOf,
  summariseAll,
} from "../evaluate";
import { packedOr } from "../files";
import { type AimResult, type Metric, openRunFolder, type RunMeta, type RunStatus } from "../runs";
import { loadProtocol, type Protocol, olderProtocolLabel, type TierView, tierViews, type TrialRecord } from "../study";
import { readEvents, type StepChoice, type TrainEvent } from "../train";

/** Everything of one run. */
export interface LoadedRun {
  id: string;
  status: RunStatus;
  failure: string | null;
  meta: Partial<RunMeta>;
  /** what its protocol is called, changes included */
  label: string;
  protocol: Protocol | null;
  events: TrainEvent[];
  /** whose weights a training run left, where a rule could stop it early; else null */
  choice: StepChoice | null;
  records: TrialRecord[];
  sideEffects: SideEffectRecord[];
  chats: ChatRecord[];
  identity: IdentityRecord[];
  selfPrediction: SelfPredictionRecord[];
  selfReport: SelfReportRecord[];
  /** recomputed from the records, so that a report never quotes a stale summary */
  metrics: readonly Metric[];
  aims: readonly AimResult[];
}

/**
 * Reads a run folder.
 *
 * @param folder a run folder of any kind; parts that it lacks are empty
 * @returns records, events and metrics; metrics are made anew from the records
 * @throws DataError "run-folder-missing", "jsonl-line"
 * @example
 * const { metrics } = loadRun(sweep.folder);
 */
export function loadRun(folder: string): LoadedRun {
  const run = openRunFolder(folder);
  const file = packedOr(run.file("protocol.yaml"));
  const protocol = existsSync(file) ? loadProtocol(file) : null;
  const meta = run.readMeta() as Partial<RunMeta> & { choice?: StepChoice };
  const records = {
    detection: readRecords(run.path, "detection"),
    "side-effects": readRecords(run.path, "side-effects"),
    chats: readRecords(run.path, "chats"),
    identity: readRecords(run.path, "identity"),
    "self-prediction": readRecords(run.path, "self-prediction"),
    "self-report": readRecords(run.path, "self-report"),
    probe: readRecords(run.path, "probe"),
  };
  return {
    id: run.id,
    status: run.status(),
    failure: run.failure(),
    meta,
    label: meta.protocolLabel ?? (protocol === null ? "no protocol" : olderProtocolLabel(protocol)),
    protocol,
    events: readEvents(run.file("events.jsonl")),
    choice: meta.choice ?? null,
    records: records.detection,
    sideEffects: records["side-effects"],
    chats: records.chats,
    identity: records.identity,
    selfPrediction: records["self-prediction"],
    selfReport: records["self-report"],
    ...(protocol === null ? { metrics: [], aims: [] } : summariseAll(records, protocol)),
  };
}

/** What to call a run's model: never a lab-model figure without saying so. */
export function modelLabel(run: LoadedRun): string {
  const name = run.meta.model ?? "unknown model";
  return run.meta.isLabModel === true
    ? `${name} (lab model, ${run.meta.layers ?? "?"} layers x ${run.meta.hiddenSize ?? "?"})`
    : name;
}

/** The tiers that a run's tuned model was asked, as they are shown: those of its protocol, in its order, from easy to hard. */
export function askedTiers(run: LoadedRun): TierView[] {
  const asked = new Set(run.records.filter(({ condition }) => condition === "tuned").map(({ tier }) => tier));
  return run.protocol === null ? [] : tierViews(run.protocol).filter(({ name }) => asked.has(name));
}

/** A tier of a run in words, or what else was asked. */
export function titleOfTier(run: LoadedRun, name: string): string {
  return subjectOf(name, run.protocol === null ? [] : tierViews(run.protocol));
}

/** A model's name without owner and "-Instruct", for narrow columns. */
export function shortModel(name: string): string {
  return (name.split("/").pop() as string).replace(/-Instruct$/, "");
}
