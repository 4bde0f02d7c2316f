/** One trial of held-out vectors with what the model answers and what two yardsticks see in the base model's state. */
import type { TrialRecord } from "../../study";
import type { ProbeScores } from "./fit";

/** One line of probe.jsonl: `logOdds` is the model's own answer. */
export interface ProbeRecord extends TrialRecord, ProbeScores {}
