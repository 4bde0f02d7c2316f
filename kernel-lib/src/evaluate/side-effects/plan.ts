/**
 * What is asked of whom: 75 questions as single turns, their paraphrases (base only), and both again on caches.
 *
 * A dozen held-out contexts, each read clean and steered with a held-out vector of its own, in a cell of its own; every question goes
 * to two of them, another pair for each, so that questions and contexts are crossed. Ids are hashes of what decides the answer besides
 * the adapter, so that another run's base rows can stand for this one's.
 */
import { random } from "../../base";
import type { Row } from "../../engine";
import { directionHash } from "../../steering";
import type { BoundStudy, SideEffectQuestion } from "../../study";
import { type Planned, recordId } from "../runner";
import type { EffectFormat } from "./record";

/** A context with its steering; what questions continue. */
export interface EffectCache {
  context: string;
  tokens: Int32Array;
  steering: NonNullable<Row["steering"]>;
  vector: string | null;
  range: string | null;
  strength: number | null;
}

/** One question to ask. */
export interface PlannedQuestion extends Planned {
  question: SideEffectQuestion;
  format: EffectFormat;
  /** null: a single turn */
  cache: EffectCache | null;
  tokens: Int32Array;
}

/** Base asked again in batches of another size. */
export const NOISE = "base-again";
/** Base asked in other words. */
export const REWORDED = "reworded";

const CACHES = 12;
const CACHES_OF_A_QUESTION = 2;

/** What `planSideEffects` plans from. */
export interface EffectQuestions {
  questions: readonly SideEffectQuestion[];
  paraphrases: ReadonlyMap<string, readonly string[]>;
  suffix: string;
}

/**
 * Every question of every condition.
 *
 * @param twins names of control adapters, asked single turns only
 */
export function planSideEffects(
  study: BoundStudy,
  { questions, paraphrases, suffix }: EffectQuestions,
  conditions: readonly string[],
  twins: readonly string[],
): PlannedQuestion[] {
  const asked = (question: SideEffectQuestion): string => `${question.text} ${suffix}`.trim();
  const single = (condition: string, question: SideEffectQuestion): PlannedQuestion =>
    planned(study, condition, question, "single-turn", null, firstTurn(study, asked(question)));
  const turns = questions.map((question) => study.laterTurn(asked(question), ""));
  const formats = [
    { format: "after-clean", caches: effectCaches(study, false) },
    { format: "after-steered", caches: effectCaches(study, true) },
  ] as const;
  const after = (condition: string): PlannedQuestion[] =>
    formats.flatMap(({ format, caches }) =>
      caches.flatMap((cache, c) =>
        questions.flatMap((question, q) =>
          cachesOf(q, caches.length).includes(c) ? [planned(study, condition, question, format, cache, turns[q])] : [],
        ),
      ),
    );
  const reworded = questions.flatMap((question) =>
    (paraphrases.get(question.id) ?? []).map((text): SideEffectQuestion => ({ ...question, text })),
  );
  const singles = (condition: string): PlannedQuestion[] => questions.map((question) => single(condition, question));
  const [base, ...adapters] = conditions;
  return [
    ...singles(base),
    ...after(base),
    ...singles(NOISE),
    ...adapters.flatMap((condition) => [...singles(condition), ...after(condition)]),
    ...twins.flatMap(singles),
    ...reworded.map((question) => single(REWORDED, question)),
  ];
}

/** Places of the caches that question `q` of the list is asked on: a Latin pattern, no two of them equal. */
function cachesOf(q: number, caches: number): number[] {
  const shift = 1 + (Math.floor(q / caches) % Math.max(1, caches - 1));
  return [...new Set(Array.from({ length: CACHES_OF_A_QUESTION }, (_, k) => (q + k * shift) % caches))];
}

/** Contexts, replies, vectors and cells are drawn by the evaluation seed; the clean caches read the same words. */
function effectCaches(study: BoundStudy, isSteered: boolean): EffectCache[] {
  const { evaluation, steering } = study.protocol;
  const { train, heldOut } = steering.vectors;
  const rng = random(evaluation.seed).fork("side-effect caches");
  const held = study.contexts("heldOut");
  const contexts = rng.shuffle(held.length > 0 ? held : study.contexts("train")).slice(0, CACHES);
  const cells = study.ranges.flatMap((range) => steering.magnitudes.map((strength) => ({ range, strength })));
  return contexts.map((context, i): EffectCache => {
    const tokens = study.contextTokens(context, rng.integer(context.replies.length));
    const clean = { context: context.id, tokens, steering: [], vector: null, range: null, strength: null };
    if (!isSteered) return clean;
    const { range, strength } = cells[i % cells.length];
    const { id, direction } = study.randomDirection(heldOut > 0 ? train + (i % heldOut) : i % train);
    const push = study.steering(direction, range, strength);
    return { ...clean, steering: push, vector: id, range: range.name, strength };
  });
}

function planned(
  study: BoundStudy,
  condition: string,
  question: SideEffectQuestion,
  format: EffectFormat,
  cache: EffectCache | null,
  tokens: Int32Array,
): PlannedQuestion {
  const push = cache?.steering.map((one) => [directionHash(one.direction), ...one.layers, one.magnitude]) ?? [];
  const content = [study.model.hash, question.id, format, [...tokens], cache === null ? [] : [...cache.tokens], push];
  return { id: recordId(condition, JSON.stringify(content)), condition, question, format, cache, tokens };
}

function firstTurn({ model, protocol }: BoundStudy, content: string): Int32Array {
  const turns = [
    { role: "system", content: protocol.conversation.system },
    { role: "user", content },
  ] as const;
  return model.encodeChat(turns, { answerPrefix: "" }).ids;
}
