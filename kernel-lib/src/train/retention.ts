/**
 * Retention examples: ordinary questions and chats among the training examples, so that the rest of the model stays as it was.
 *
 * Three kinds by the protocol's shares: a question as a first turn, a question after a steered or clean context, a short chat. By form
 * "distribution" the base model's own distribution is kept where the answer begins (chats: at every token of the reply); the base
 * reads the same tokens with the same steering. By form "answers" the label is the base's own yes or no to the question alone.
 */
import { InputError, expected, type Random } from "../base";
import type { Row } from "../engine";
import type { BoundStudy, RetentionTexts } from "../study";
import type { SteeringEntry, TrainExample } from "./example-lines";

/** What retention draws from; base answers only where the form needs them. */
export interface RetentionSource {
  texts: RetentionTexts;
  /** does the base say yes, by question id */
  saysYes: ReadonlyMap<string, boolean>;
}

const ROWS_PER_PASS = 48;

/** Texts of a protocol with retention, null without. Form "answers" asks the base each question once. */
export async function retentionSource(study: BoundStudy): Promise<RetentionSource | null> {
  const { training, retention: texts } = study.protocol;
  if (training.retention.share === 0) return null;
  const saysYes = new Map<string, boolean>();
  if (training.retention.form === "distribution") return { texts, saysYes };
  const [yes, no] = [study.labels.steered, study.labels.clean];
  for (let at = 0; at < texts.questions.length; at += ROWS_PER_PASS) {
    const questions = texts.questions.slice(at, at + ROWS_PER_PASS);
    const rows = questions.map(
      ({ text }): Row => ({ tokens: firstTurn(study, `${text} ${texts.suffixes[0]}`, true), wanted: [yes, no] }),
    );
    const results = await study.model.engine.forward(rows, { report: "last" });
    for (const [i, { positions }] of results.entries()) {
      const [{ logprobs }] = positions;
      saysYes.set(questions[i].id, logprobs[0] > logprobs[1]);
    }
  }
  if (new Set(saysYes.values()).size < 2)
    throw new InputError(
      "label-balance",
      expected("both yes and no", "the base model's answers to the retention questions", "one of them only"),
    );
  return { texts, saysYes };
}

/** One example. @param steering of the context, for questions on caches; [] = clean */
export function drawRetention(
  study: BoundStudy,
  source: RetentionSource,
  id: string,
  rng: Random,
  steering: readonly SteeringEntry[],
): TrainExample {
  const { retention, trainReplies } = study.protocol.training;
  const { form, weight, onCaches, chats } = retention;
  const place = rng.uniform();
  if (place < chats) return chatExample(study, source.texts, id, rng, weight);
  const isOnCache = place < chats + onCaches;
  const question = pickQuestion(source, form, rng);
  const text = `${question.text} ${rng.pick(source.texts.suffixes)}`;
  const asked = isOnCache
    ? {
        context: [...study.contextTokens(rng.pick(study.contexts("train")), rng.integer(trainReplies))],
        question: [...study.laterTurn(text)],
        steering: steering.length === 0 ? null : steering.length === 1 ? steering[0] : [...steering],
      }
    : // Half of the first turns are compared before any prefix, where side effects are measured.
      { ...splitFirst(firstTurn(study, text, form === "answers" || rng.uniform() < 0.5)), steering: null };
  return form === "distribution"
    ? { id, ...asked, positions: 1, weight }
    : {
        id,
        ...asked,
        labels: [study.labels.steered, study.labels.clean],
        target: source.saysYes.get(question.id) === true ? 0 : 1,
        weight,
      };
}

/** By form "answers" as many yes as no, so that retention teaches no answer. */
function pickQuestion(
  { texts, saysYes }: RetentionSource,
  form: string,
  rng: Random,
): RetentionTexts["questions"][number] {
  if (form === "distribution") return rng.pick(texts.questions);
  const wanted = rng.uniform() < 0.5;
  return rng.pick(texts.questions.filter(({ id }) => saysYes.get(id) === wanted));
}

/** A user's turn and a reply; compared at every token of the reply. */
function chatExample(study: BoundStudy, texts: RetentionTexts, id: string, rng: Random, weight: number): TrainExample {
  const { user, replies } = rng.pick(texts.chats);
  const { model, protocol } = study;
  const turns = [
    { role: "system", content: protocol.conversation.system },
    { role: "user", content: user },
  ] as const;
  const context = model.encodeChat(turns, { answerPrefix: "" }).ids;
  const whole = model.encodeChat(turns, { answerPrefix: rng.pick(replies).trim() }).ids;
  const shared = whole.findIndex((token, i) => token !== context[i]);
  const { context: before, question } = splitFirst(whole, Math.min(shared, whole.length - 1));
  return { id, context: before, question, steering: null, positions: question.length, weight };
}

function firstTurn({ model, protocol }: BoundStudy, content: string, withPrefix: boolean): Int32Array {
  const { system, assistantPrefix } = protocol.conversation;
  const turns = [
    { role: "system", content: system },
    { role: "user", content },
  ] as const;
  return model.encodeChat(turns, { answerPrefix: withPrefix ? assistantPrefix : "" }).ids;
}

/** Cuts tokens where the part that learns begins; default: the last eight, enough for the instruction and what opens the answer. */
function splitFirst(
  tokens: Int32Array,
  at = Math.max(1, tokens.length - 8),
): { context: number[]; question: number[] } {
  return { context: [...tokens.subarray(0, at)], question: [...tokens.subarray(at)] };
}
