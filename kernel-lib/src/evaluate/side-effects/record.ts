/**
 * How a side-effect question is asked. single-turn: alone. after-clean and after-steered: as a later turn on the cache of a held-out
 * context, which was read as it is, or steered with a held-out vector.
 */
export type EffectFormat = "single-turn" | "after-clean" | "after-steered";

/** One side-effect question asked of one condition: a line of side-effects.jsonl. */
export interface SideEffectRecord {
  id: string;
  question: string;
  /** as it was asked; absent in records of older versions */
  questionText?: string;
  category: string;
  /** base, base-again (another batch split), reworded (base, a paraphrase), tuned, or the name of a twin */
  condition: string;
  /** absent in records of older versions, which asked single turns only */
  format?: EffectFormat;
  /** of the cache; null in a single turn */
  context?: string | null;
  /** of the steering of the cache; null where it is clean */
  vector?: string | null;
  range?: string | null;
  strength?: number | null;
  /** where the world settles the answer */
  expected: "yes" | "no" | null;
  /** probability of the first token being a spelling of Yes, over the whole vocabulary */
  yes: number;
  no: number;
  /** yes + no */
  mass: number;
  /** log yes - log no, nats; null where one of them underflows */
  logOdds: number | null;
  topToken: number;
  topText: string;
  topProbability: number;
  adapterHash: string | null;
  modelHash: string;
}

/** Records of single turns, which the headline figures are made of. */
export function singleTurns(records: readonly SideEffectRecord[]): SideEffectRecord[] {
  return records.filter(({ format }) => (format ?? "single-turn") === "single-turn");
}
