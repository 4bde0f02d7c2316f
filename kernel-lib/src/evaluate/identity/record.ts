import type { IdentityQuestion } from "../../study";
import type { AnswerReading } from "./classify";

/** One sampled answer; a line of identity.jsonl. */
export interface IdentityRecord extends AnswerReading {
  id: string;
  question: string;
  /** as it was asked; absent in records of older versions */
  questionText?: string;
  questionKind: IdentityQuestion["kind"];
  condition: "base" | "tuned";
  sample: number;
  seed: number;
  text: string;
  adapterHash: string | null;
  modelHash: string;
}
