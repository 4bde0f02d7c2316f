/** One question about the model's own behaviour: a line of self-prediction.jsonl. */
export interface SelfPredictionRecord {
  id: string;
  /** "behaviour": what the condition does, which the other tasks are about; absent in runs of older versions */
  task: "behaviour" | "firstCharacter" | "twoOptions" | "knowledge" | "property";
  /** stimulus, option pair, or property of a stimulus */
  item: string;
  stimulus: string;
  condition: "base" | "tuned";
  /** what this condition really answers (greedy) */
  behaviour: string;
  /** null for behaviour, and where it does not begin with a letter; letter; "first" or "second"; "true" or "false" */
  truth: string | null;
  prediction: string | null;
  /** log-odds of "first" or "true", nats; null for letters */
  logOdds: number | null;
  /** total probability of the answers considered; null for behaviour */
  mass: number | null;
  /** which letter the first option had; null outside twoOptions */
  order: "first-is-A" | "first-is-B" | null;
  adapterHash: string | null;
  modelHash: string;
}
