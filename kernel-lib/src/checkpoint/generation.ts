/**
 * generation_config.json: the ids that end an answer, and what it asks of sampling that sampling here does not do.
 */
import { parseJsonStrict } from "../files";
import { isObject } from "./fields";

/**
 * Token ids that end a turn or text; the first file that gives any wins, as in transformers.
 * @param sources text (or null if absent) and name of each file, generation_config.json before config.json
 */
export function stopIds(sources: readonly (readonly [text: string | null, name: string])[]): number[] {
  for (const [text, name] of sources) {
    if (text === null) continue;
    const fields = parseJsonStrict(text, name);
    const value = isObject(fields) ? (fields.eos_token_id ?? null) : null;
    const list = Array.isArray(value) ? value : value === null ? [] : [value];
    if (list.length > 0 && list.every((id) => Number.isInteger(id) && (id as number) >= 0)) return list as number[];
  }
  return [];
}

/** Settings of sampling that are not implemented, with the value at which each does nothing. */
const NOT_APPLIED: Record<string, unknown> = {
  repetition_penalty: 1,
  top_k: 0,
  min_p: 0,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  no_repeat_ngram_size: 0,
  num_beams: 1,
  bad_words_ids: null,
  suppress_tokens: null,
  sequence_bias: null,
};

/** One sentence naming what a generation_config.json asks for and sampling here leaves out; none if it asks for nothing of the kind. */
export function samplingNotes(text: string, name: string): string[] {
  const fields = parseJsonStrict(text, name);
  if (!isObject(fields)) return [];
  const left = Object.entries(NOT_APPLIED)
    .filter(([field, inert]) => (fields[field] ?? inert) !== inert)
    .map(([field]) => `${field} ${JSON.stringify(fields[field])?.slice(0, 30)}`);
  if (left.length === 0) return [];
  return [`${name} asks for ${left.join(", ")}; sampling here has temperature and topP only, as its caller sets them.`];
}
