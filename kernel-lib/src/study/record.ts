/**
 * A trial: one question asked of one (steered or clean) cache; and its record: the trial with what the model answered.
 *
 * Every field a table may group by stands in the trial itself, so metrics are queries over records and nothing is looked
 * up later. Unknown or not applicable is null.
 */
import type { ContextSplit, QuestionKind, QuestionSplit } from "./prompts";
import type { VectorSplit } from "./types";

/** A trial to run. */
export interface Trial {
  /** 16 hex digits of the hash of everything that decides the answer besides the adapter, and the tier */
  id: string;
  tier: string;
  /** tuned: adapter active on context and question; base: no adapter */
  condition: "tuned" | "base";
  infoPrompt: boolean;
  target: "steered" | "clean";
  context: string;
  contextSplit: ContextSplit;
  contextKind: string;
  /** index of the canned reply */
  reply: number;
  question: string;
  /** as it was asked; null in records of older versions */
  questionText: string | null;
  questionSplit: QuestionSplit;
  /** absent in records of older versions, which asked for detection only */
  questionKind?: QuestionKind;
  /** the truthful answer to a control on this cache; null where none is claimed */
  truth?: "yes" | "no" | null;
  vector: string | null;
  vectorSplit: VectorSplit | null;
  /** concept category */
  category: string | null;
  /** name of the layer range */
  range: string | null;
  layerStart: number | null;
  layerEnd: number | null;
  /** in the protocol's unit */
  strength: number | null;
  /** root mean square over the range's layers of the L2 length added */
  magnitude: number | null;
  /** root mean square over the range's layers of (length added / mean residual norm) */
  relativeStrength: number | null;
}

/** A trial and its answer; one line of trials.jsonl. */
export interface TrialRecord extends Trial {
  /** natural logprob of the steered label over the whole vocabulary */
  logprobSteered: number;
  logprobClean: number;
  /** P(steered label), renormalised over the two labels */
  probability: number;
  /** total probability of the two labels */
  mass: number;
  /** logprobSteered - logprobClean, nats */
  logOdds: number;
  saysSteered: boolean;
  adapter: string | null;
  adapterHash: string | null;
  modelHash: string;
}
