/**
 * Side effects: 75 yes/no questions that have nothing to do with the task, asked of base and tuned model.
 *
 * Measured is the first token of the answer: total probability of the spellings {Yes, yes, with and without space} and of No
 * likewise, over the whole vocabulary, hence with mass. Base is asked twice at different batch splits (A/A noise row). Twins:
 * pass further adapters by name. Metrics: side-effects/metrics.ts.
 */
import { expected, InputError } from "../base";
import { type Adapter, type Row, type StudyModel, totalProbability } from "../engine";
import { contentHash } from "../files";
import { findMetrics, quote } from "../runs";
import { bindStudy, type BoundStudy, type Protocol, readSideEffectQuestions, type SideEffectQuestion } from "../study";
import {
  adapterOf,
  baseAndTuned,
  type EvaluateOptions,
  type EvaluationRun,
  type Planned,
  recordId,
  runEvaluation,
} from "./runner";
import type { SideEffectRecord } from "./side-effects/record";
import type { Summary } from "./summaries";

/** Spellings that count as an answer, where the tokenizer has them as one token. */
const SPELLINGS = { yes: ["Yes", "yes", " Yes", " yes"], no: ["No", "no", " No", " no"] };
const BATCH = 75;
/** Another split of the same questions, for the A/A row. */
const NOISE_BATCH = 7;
const NOISE = "base-again";

/** Options of `evaluateSideEffects`. */
export interface SideEffectOptions extends EvaluateOptions {
  /** control adapters by name, each compared with the base; two or more whose names begin with "no-steer" show the noise of training seeds */
  twins?: Readonly<Record<string, Adapter>>;
  /** default: the shipped 75 */
  questions?: readonly SideEffectQuestion[];
  /** appended to each question after a space; default: the shipped instruction */
  suffix?: string;
}

interface PlannedQuestion extends Planned {
  question: SideEffectQuestion;
}

/**
 * Measures side effects: one record per question and condition, metrics with paired differences to the base.
 *
 * @param protocol its system text and seed are used
 * @throws InputError "label-tokens", "twin-name"; DataError "run-mismatch"; AbortedError when stopped
 * @example
 * const effects = await evaluateSideEffects(model, "strict", { adapter });
 * effects.find({ name: "deltaYes", condition: "tuned-base", group: {} });
 */
export async function evaluateSideEffects(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: SideEffectOptions,
): Promise<EvaluationRun<SideEffectRecord>> {
  const study = await bindStudy(model, protocol);
  const shipped = readSideEffectQuestions();
  const { questions = shipped.questions, suffix = shipped.suffix, twins = {} } = options;
  const { conditions, adapters } = baseAndTuned(options.adapter);
  const reserved = Object.keys(twins).find((name) => ["base", NOISE, "tuned"].includes(name));
  if (reserved !== undefined) throw new InputError("twin-name", expected("another name", "twins", reserved));
  const asked = { model, suffix, system: study.protocol.conversation.system, adapters: { ...adapters, ...twins } };
  const all = ["base", NOISE, ...conditions.slice(1), ...Object.keys(twins)];
  return runEvaluation(
    study,
    {
      kind: "side-effects",
      adapters: asked.adapters,
      parts: { questions: contentHash({ questions, suffix }) },
      plan: all.flatMap((condition) =>
        questions.map((question): PlannedQuestion => ({ id: recordId(condition, question.id), condition, question })),
      ),
      batch: BATCH,
      batches: splitNoise,
      ask: (items, _, signal) => askQuestions(asked, items, signal),
      describe,
    },
    options,
  );
}

/** By condition; the noise row in batches of another size. */
function* splitNoise(missing: readonly PlannedQuestion[], batch: number): Generator<readonly PlannedQuestion[]> {
  for (const condition of new Set(missing.map((item) => item.condition))) {
    const items = missing.filter((item) => item.condition === condition);
    const size = condition === NOISE ? Math.min(NOISE_BATCH, batch) : batch;
    for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
  }
}

/** Ids of the single-token spellings of an answer. @throws InputError "label-tokens" if there is none */
export function spellingIds(model: StudyModel, answer: "yes" | "no"): number[] {
  const ids = SPELLINGS[answer]
    .map((text) => model.tokenizer.encode(text))
    .filter((tokens) => tokens.length === 1)
    .map((tokens) => tokens[0]);
  if (ids.length === 0)
    throw new InputError("label-tokens", expected(`a single-token spelling of ${answer}`, "the tokenizer", "none"));
  return [...new Set(ids)];
}

async function askQuestions(
  asked: { model: StudyModel; system: string; suffix: string; adapters: Readonly<Record<string, Adapter>> },
  items: readonly PlannedQuestion[],
  signal?: AbortSignal,
): Promise<SideEffectRecord[]> {
  const { model, system, suffix, adapters } = asked;
  const [yesIds, noIds] = [spellingIds(model, "yes"), spellingIds(model, "no")];
  const rows = items.map(({ question, condition }): Row => {
    const turns = [
      { role: "system", content: system },
      { role: "user", content: `${question.text} ${suffix}`.trim() },
    ] as const;
    const tokens = model.encodeChat(turns, { answerPrefix: "" }).ids;
    return { tokens, adapter: adapterOf(adapters, condition), wanted: [...yesIds, ...noIds] };
  });
  const results = await model.engine.forward(rows, { report: "last", topK: 1, signal });
  return results.map(({ positions: [{ logprobs, top }] }, i) => {
    const { id, condition, question } = items[i];
    const yes = totalProbability(logprobs.subarray(0, yesIds.length));
    const no = totalProbability(logprobs.subarray(yesIds.length));
    const logOdds = Math.log(yes) - Math.log(no);
    return {
      id,
      question: question.id,
      questionText: question.text,
      category: question.category,
      condition,
      expected: question.expected,
      yes,
      no,
      mass: Math.min(1, yes + no),
      logOdds: Number.isFinite(logOdds) ? logOdds : null,
      topToken: top[0].token,
      topText: model.tokenizer.decode([top[0].token]),
      topProbability: Math.exp(top[0].logprob),
      adapterHash: adapterOf(adapters, condition)?.hash ?? null,
      modelHash: model.hash,
    };
  });
}

function describe({ metrics }: Summary): string[] {
  const lines = (name: string): string[] =>
    findMetrics(metrics, { name, condition: "tuned-base" })
      .filter(({ group }) => "category" in group && !("question" in group))
      .map((metric) => `${String(metric.group.category).padEnd(22)} ${quote(metric)}`);
  return [
    "share of answers that turned, tuned - base",
    ...lines("answerFlips"),
    "change of P(Yes), tuned - base",
    ...lines("deltaYes"),
  ];
}
