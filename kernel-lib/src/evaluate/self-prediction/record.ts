/** One question about the model's own behaviour: a line of self-prediction.jsonl. */
export interface SelfPredictionRecord {
  task: "firstCharacter" | "twoOptions" | "property";
  /** stimulus, option pair, or property of a stimulus */
  item: string;
  stimulus: string;
  condition: "base" | "tuned";
  /** what this condition really answers (greedy) */
  behaviour: string;
  /** letter; "first" or "second"; "true" or "false" */
  truth: string;
  prediction: string;
  /** log-odds of "first" or "true", nats; null for letters */
  logOdds: number | null;
  /** total probability of the answers considered */
  mass: number;
  /** which letter the first option had; null outside twoOptions */
  order: "first-is-A" | "first-is-B" | null;
  adapterHash: string | null;
  modelHash: string;
}
