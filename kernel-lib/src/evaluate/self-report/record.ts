/** bare: the question alone, the card's way. instructed: with the instruction to answer yes or no, ours. */
export type QuestionForm = "bare" | "instructed";

/** One question asked of one condition in one form: a line of self-report.jsonl. */
export interface SelfReportRecord {
  id: string;
  question: string;
  /** without the instruction */
  questionText: string;
  category: string;
  form: QuestionForm;
  condition: "base" | "tuned";
  /** probability of the first token being a spelling of Yes, over the whole vocabulary */
  yes: number;
  no: number;
  /** yes + no; what is missing to 1 went to other beginnings */
  mass: number;
  topToken: number;
  topText: string;
  topProbability: number;
  adapterHash: string | null;
  modelHash: string;
}
