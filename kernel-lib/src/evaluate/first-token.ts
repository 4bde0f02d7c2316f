/**
 * The first token of an answer: total probability of the spellings of yes and of no over the whole vocabulary, hence with mass.
 *
 * One way of asking for side effects and self-reports; the tokens end where the answer begins.
 */
import { expected, InputError } from "../base";
import { type Row, type StudyModel, totalProbability } from "../engine";

/** Spellings that count as an answer, where the tokenizer has them as one token. */
const SPELLINGS = { yes: ["Yes", "yes", " Yes", " yes"], no: ["No", "no", " No", " no"] };

/** Probabilities (0..1) of an answer's first token. */
export interface FirstToken {
  yes: number;
  no: number;
  /** of both together */
  mass: number;
  /** the likeliest token of all */
  topToken: number;
  topText: string;
  topProbability: number;
}

/** Ids of the single-token spellings of an answer. @throws InputError "label-tokens" if there is none */
function spellingIds(model: StudyModel, answer: "yes" | "no"): number[] {
  const ids = SPELLINGS[answer]
    .map((text) => model.tokenizer.encode(text))
    .filter((tokens) => tokens.length === 1)
    .map((tokens) => tokens[0]);
  if (ids.length === 0)
    throw new InputError("label-tokens", expected(`a single-token spelling of ${answer}`, "the tokenizer", "none"));
  return [...new Set(ids)];
}

/**
 * Asks rows in one engine call.
 *
 * @param questions one row per answer; `parent` counts in `prefixes`
 * @param prefixes rows that are only read, such as caches shared by questions
 * @returns one entry per question
 * @throws InputError "label-tokens"
 */
export async function askFirstTokens(
  model: StudyModel,
  questions: readonly Row[],
  options: { prefixes?: readonly Row[]; signal?: AbortSignal } = {},
): Promise<FirstToken[]> {
  const { prefixes = [], signal } = options;
  const [yesIds, noIds] = [spellingIds(model, "yes"), spellingIds(model, "no")];
  const rows = questions.map((row): Row => ({ ...row, wanted: [...yesIds, ...noIds] }));
  const results = await model.engine.forward([...prefixes, ...rows], { report: "last", topK: 1, signal });
  return results.slice(prefixes.length).map(({ positions: [{ logprobs, top }] }) => {
    const yes = totalProbability(logprobs.subarray(0, yesIds.length));
    const no = totalProbability(logprobs.subarray(yesIds.length));
    return {
      yes,
      no,
      mass: Math.min(1, yes + no),
      topToken: top[0].token,
      topText: model.tokenizer.decode([top[0].token]),
      topProbability: Math.exp(top[0].logprob),
    };
  });
}
