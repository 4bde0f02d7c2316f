/**
 * Side effects: 75 yes/no questions that have nothing to do with the task, asked of base and tuned model, as single turns and on
 * clean and steered caches.
 *
 * Measured is the first token of the answer: total probability of the spellings {Yes, yes, with and without space} and of No
 * likewise, over the whole vocabulary, hence with mass. Base is asked twice at different batch splits (A/A noise row), and in other
 * words. Twins: pass further adapters by name. Plan: side-effects/plan.ts, metrics: side-effects/metrics.ts.
 */
import { expected, InputError } from "../base";
import type { Adapter, Row, StudyModel } from "../engine";
import { contentHash } from "../files";
import { findMetrics, quote } from "../runs";
import { bindStudy, type BoundStudy, type Protocol, readSideEffectQuestions, type SideEffectQuestion } from "../study";
import { askFirstTokens } from "./first-token";
import { adapterOf, baseAndTuned, type EvaluateOptions, type EvaluationRun, runEvaluation } from "./runner";
import { NOISE, planSideEffects, type PlannedQuestion, REWORDED } from "./side-effects/plan";
import type { SideEffectRecord } from "./side-effects/record";
import type { Summary } from "./summaries";

const BATCH = 75;
/** Another split of the same questions, for the A/A row. */
const NOISE_BATCH = 7;

/** Options of `evaluateSideEffects`. */
export interface SideEffectOptions extends EvaluateOptions {
  /** control adapters by name, each compared with the base; two or more whose names begin with "no-steer" show the noise of training seeds */
  twins?: Readonly<Record<string, Adapter>>;
  /** default: the shipped 75 */
  questions?: readonly SideEffectQuestion[];
  /** appended to each question after a space; default: the shipped instruction */
  suffix?: string;
  /** records of another run; what is planned here under the same id is not asked again */
  reuse?: ReadonlyMap<string, SideEffectRecord>;
}

/**
 * Measures side effects: one record per question, condition and format, metrics with paired differences to the base.
 *
 * @param protocol its system text, seed, held-out contexts and vectors are used
 * @returns records of first-token probabilities (0..1), and shifts with intervals by category and question
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
  const { questions = shipped.questions, suffix = shipped.suffix, twins = {}, reuse } = options;
  const { paraphrases } = shipped;
  const { conditions, adapters } = baseAndTuned(options.adapter);
  const reserved = Object.keys(twins).find((name) => ["base", NOISE, REWORDED, "tuned"].includes(name));
  if (reserved !== undefined) throw new InputError("twin-name", expected("another name", "twins", reserved));
  const bound = { ...adapters, ...twins };
  return runEvaluation(
    study,
    {
      kind: "side-effects",
      adapters: bound,
      parts: { questions: contentHash({ questions, suffix, paraphrases: [...paraphrases] }) },
      plan: planSideEffects(study, { questions, paraphrases, suffix }, conditions, Object.keys(twins)),
      reuse,
      batch: BATCH,
      batches: splitNoise,
      ask: (items, _, signal) => askQuestions(model, bound, items, signal),
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

/** One engine call of one condition; each cache is read once, its questions continue it. */
async function askQuestions(
  model: StudyModel,
  adapters: Readonly<Record<string, Adapter>>,
  items: readonly PlannedQuestion[],
  signal?: AbortSignal,
): Promise<SideEffectRecord[]> {
  const caches = [...new Set(items.flatMap(({ cache }) => cache ?? []))];
  const adapter = adapterOf(adapters, items[0].condition);
  const prefixes = caches.map(({ tokens, steering }): Row => ({ tokens, steering, adapter, report: false }));
  const rows = items.map(({ tokens, cache }): Row => {
    const parent = cache === null ? null : caches.indexOf(cache);
    return { tokens, parent, adapter };
  });
  const answers = await askFirstTokens(model, rows, { prefixes, signal });
  return answers.map(({ yes, no, mass, ...top }, i) => {
    const { id, condition, question, format, cache } = items[i];
    const logOdds = Math.log(yes) - Math.log(no);
    return {
      id,
      question: question.id,
      questionText: question.text,
      category: question.category,
      condition,
      format,
      context: cache?.context ?? null,
      vector: cache?.vector ?? null,
      range: cache?.range ?? null,
      strength: cache?.strength ?? null,
      expected: question.expected,
      yes,
      no,
      mass,
      logOdds: Number.isFinite(logOdds) ? logOdds : null,
      ...top,
      adapterHash: adapter?.hash ?? null,
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
