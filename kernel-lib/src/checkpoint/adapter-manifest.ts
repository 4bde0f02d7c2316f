/**
 * steerlab.json beside an adapter: the questions, labels and protocol it was trained on, so that nobody asks it another.
 *
 * The manifest travels with the weights. An adapter from elsewhere has none, and then nothing is known: null.
 */
import { DataError, expected } from "../base";
import { parseJsonStrict } from "../files";

/** What an adapter carries about its own training. Unknown is null. */
export interface AdapterManifest {
  format: 1;
  /** detection questions seen in training, as text */
  questions: string[];
  /** the two answers, positive first, exactly as tokenised (" yes", " no") */
  labels: [string, string];
  /** text the answer follows ("The answer is"), or null */
  answerPrefix: string | null;
  /** content hash of the resolved protocol */
  protocolHash: string | null;
  /** `checkpointHash` of the base model */
  baseModelHash: string | null;
  /** optimizer step of these weights: a checkpoint is never just "best" */
  step: number | null;
  /** figures measured at that step, by name */
  metrics: Record<string, number | null>;
  /** training seed */
  seed: number | null;
}

/** File name of the manifest in an adapter folder. */
export const MANIFEST_NAME = "steerlab.json";

/**
 * Reads the text of a manifest.
 *
 * @throws DataError "manifest-field" naming the field; "json-syntax", "json-duplicate-key"
 */
export function parseManifest(text: string, name: string = MANIFEST_NAME): AdapterManifest {
  const fields = parseJsonStrict(text, name) as Record<string, unknown>;
  const check = (field: string, what: string, good: (value: unknown) => boolean): void => {
    const value = fields?.[field];
    if (!good(value))
      throw new DataError("manifest-field", expected(what, `${field} in ${name}`, JSON.stringify(value) ?? "nothing"));
  };
  const isText = (value: unknown): boolean => typeof value === "string";
  const orNull = (good: (value: unknown) => boolean) => (value: unknown) => value === null || good(value);
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  check("format", "1 (this version's format)", (value) => value === 1);
  check("questions", "a list of texts", (value) => Array.isArray(value) && value.every(isText));
  check(
    "labels",
    "two different texts",
    (value) => Array.isArray(value) && value.length === 2 && value.every(isText) && value[0] !== value[1],
  );
  check("answerPrefix", "a text or null", orNull(isText));
  check("protocolHash", "a text or null", orNull(isText));
  check("baseModelHash", "a text or null", orNull(isText));
  check("step", "a count or null", orNull(isCount));
  check("seed", "a count or null", orNull(isCount));
  check("metrics", "an object of numbers", (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    return Object.values(value).every((item) => item === null || typeof item === "number");
  });
  return fields as unknown as AdapterManifest;
}
