/** One side-effect question asked of one condition: a line of side-effects.jsonl. */
export interface SideEffectRecord {
  id: string;
  question: string;
  /** as it was asked; absent in records of older versions */
  questionText?: string;
  category: string;
  /** base, base-again (another batch split), tuned, or the name of a twin */
  condition: string;
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
