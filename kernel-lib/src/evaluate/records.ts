/**
 * Records of a run folder, by kind of evaluation: one file each, one JSON line a record, read back by one verb.
 */
import { existsSync } from "node:fs";
import * as path from "node:path";
import { packedOr, readJsonl } from "../files";
import type { TrialRecord } from "../study";
import type { ChatRecord } from "./chats/record";
import type { IdentityRecord } from "./identity/record";
import type { ProbeRecord } from "./probe/record";
import type { SelfPredictionRecord } from "./self-prediction/record";
import type { SelfReportRecord } from "./self-report/record";
import type { SideEffectRecord } from "./side-effects/record";

/** What a line of each kind holds. */
export interface RecordOf {
  detection: TrialRecord;
  "side-effects": SideEffectRecord;
  chats: ChatRecord;
  identity: IdentityRecord;
  "self-prediction": SelfPredictionRecord;
  "self-report": SelfReportRecord;
  probe: ProbeRecord;
}

/** Kinds of evaluation, in the order of a report. */
export type EvaluationKind = keyof RecordOf;

/** Where the records of each kind lie in a run folder. */
export const RECORD_FILES: Readonly<Record<EvaluationKind, string>> = {
  detection: "trials.jsonl",
  "side-effects": "side-effects.jsonl",
  chats: "chats.jsonl",
  identity: "identity.jsonl",
  "self-prediction": "self-prediction.jsonl",
  "self-report": "self-report.jsonl",
  probe: "probe.jsonl",
};

/** All kinds. */
export const EVALUATION_KINDS: readonly EvaluationKind[] = Object.keys(RECORD_FILES) as EvaluationKind[];

/**
 * Records of one kind in a run folder, in the order of recording; none if there are none. An unfinished last line is left out.
 * A packed run (`packRun`) has them in a .gz file.
 * @throws DataError "jsonl-line" for a damaged line
 * @example
 * const answers = readRecords("runs/20300102-030405-identity-strict-s7", "identity");
 */
export function readRecords<K extends EvaluationKind>(folder: string, kind: K): RecordOf[K][] {
  const file = packedOr(path.join(folder, RECORD_FILES[kind]));
  return existsSync(file) ? readJsonl<RecordOf[K]>(file).records : [];
}
