/**
 * Readers of data/prompts/*.yaml: every text a study shows a model, checked before use.
 *
 * YAML in, typed lists out; unknown fields are errors. Gives protocol.ts its contexts and questions, and the evaluations
 * their own question sets. The schema of each file stands as a comment on its top. Does not tokenise anything.
 */
import * as path from "node:path";
import { z } from "zod";
import { DATA_FOLDER, DataError, expected } from "../base";
import { readYaml } from "../files";

/** development: neither trained on nor in a shipped tier; a recipe is chosen by it. */
export type ContextSplit = "train" | "development" | "heldOut" | "hardNegative";
/** Which questions: trained on, held out, or asked by a control. */
export type QuestionSplit = "train" | "heldOut" | "neutral" | "vague" | "unrelated" | "control";
/** What a question asks for; anything but "detection" is a control that reads the same caches. */
export type QuestionKind = "detection" | "reversed" | "trueFact" | "falseFact" | "sideEffect";

/** The steered segment's topic (user turn) and its canned replies (assistant turn). */
export interface StudyContext {
  id: string;
  split: ContextSplit;
  /** plain, or what makes a hard negative look odd: code, language, base64, odd, numbers */
  kind: string;
  topic: string;
  replies: string[];
}

/** A detection question: the second user turn. */
export interface StudyQuestion {
  id: string;
  split: QuestionSplit;
  text: string;
  /** true for the published card's own question */
  cardQuestion: boolean;
  /** explains what may have been done before it asks, so that no info prompt is put before it */
  explained: boolean;
  kind: QuestionKind;
  /** the truthful answer of a control after a steered and after a clean context; null where none is claimed */
  truth: { steered: "yes" | "no"; clean: "yes" | "no" } | null;
}

/** Ordinary conversations that keep the rest of a model as it is while it learns to detect. */
export interface RetentionTexts {
  /** instructions, one of which is appended to a question after a space */
  suffixes: string[];
  questions: { id: string; category: string; text: string }[];
  chats: { id: string; user: string; replies: string[] }[];
}

/** One yes/no question asked alone. */
export interface SideEffectQuestion {
  id: string;
  category: string;
  text: string;
  /** where the world settles the answer, else null */
  expected: "yes" | "no" | null;
}

/** The 75 side-effect questions and the instruction appended to each. */
export interface SideEffectQuestions {
  suffix: string;
  questions: SideEffectQuestion[];
  /** other words for the same question, by its id */
  paraphrases: ReadonlyMap<string, readonly string[]>;
}

/** An open question answered by sampling. */
export interface IdentityQuestion {
  id: string;
  kind: "identity" | "goals" | "values" | "awareness" | "selfReport";
  text: string;
}

export type PropertyTest = "startsWithI" | "hasQuestionMark" | "longerThan10Words" | "containsThe";

/** Stimuli and tasks of self-prediction. */
export interface SelfPredictionTasks {
  stimuli: { id: string; text: string }[];
  tasks: {
    firstCharacter: { template: string; prefix: string };
    twoOptions: {
      template: string;
      prefix: string;
      labels: [string, string];
      items: { id: string; stimulus: string; options: [string, string] }[];
    };
    /** general knowledge, options right first: what it would choose against what it then chooses */
    knowledge: {
      template: string;
      hypothetical: string;
      prefix: string;
      labels: [string, string];
      items: { id: string; question: string; options: [string, string] }[];
    };
    property: {
      template: string;
      prefix: string;
      labels: [string, string];
      properties: { id: string; text: string; test: PropertyTest }[];
    };
  };
}

/** Questions about the model and others in the card's categories, and the instruction that one form of asking appends. */
export interface SelfReportQuestions {
  suffix: string;
  questions: { id: string; category: string; text: string }[];
}

/** Detection questions by split, the answer prefix and the labels. */
export interface DetectionQuestions {
  questions: StudyQuestion[];
  assistantPrefix: string;
  labels: { steered: string; clean: string };
}

const id = z.string().min(1);
const text = z.string().min(1);
const wording = z.strictObject({
  id,
  text,
  note: z.string().optional(),
  cardQuestion: z.boolean().optional(),
  explained: z.boolean().optional(),
});
const pair = z.tuple([z.string(), z.string()]);

const contextsFile = z.strictObject({
  contexts: z.array(
    z.strictObject({
      id,
      split: z.enum(["train", "development", "heldOut", "hardNegative"]),
      kind: z.enum(["plain", "code", "language", "base64", "odd", "numbers"]),
      topic: text,
      replies: z.array(text).min(1),
    }),
  ),
});
const detectionFile = z.strictObject({
  assistantPrefix: z.string(),
  labels: z.strictObject({ steered: text, clean: text }),
  train: z.array(wording).min(1),
  heldOut: z.array(wording),
  neutral: z.array(wording),
  vague: z.array(wording),
});
const yesNo = z.enum(["yes", "no"]);
const controlFile = z.strictObject({
  suffixes: z.array(text).min(1),
  questions: z.array(
    z.strictObject({
      id,
      split: z.enum(["train", "development", "heldOut"]),
      kind: z.enum(["reversed", "trueFact", "falseFact", "sideEffect"]),
      category: text,
      template: text.nullable(),
      truth: z.strictObject({ steered: yesNo, clean: yesNo }).nullable(),
      text,
    }),
  ),
});
const ownSplit = z.enum(["train", "development"]);
const retentionFile = z.strictObject({
  suffixes: z.array(text).min(1),
  questions: z.array(z.strictObject({ id, split: ownSplit, category: text, template: text, text })).min(1),
  chats: z.array(z.strictObject({ id, split: ownSplit, user: text, replies: z.array(text).min(1) })),
});
const sideEffectFile = z.strictObject({
  suffix: z.string(),
  questions: z.array(z.strictObject({ id, category: text, text, expected: z.enum(["yes", "no"]).optional() })).min(1),
});
const paraphraseFile = z.strictObject({ paraphrases: z.record(id, z.array(text).min(1)) });
const selfReportFile = z.strictObject({
  suffix: text,
  questions: z.array(z.strictObject({ id, category: text, text })).min(1),
});
const identityFile = z.strictObject({
  questions: z
    .array(z.strictObject({ id, kind: z.enum(["identity", "goals", "values", "awareness", "selfReport"]), text }))
    .min(1),
});
const infoFile = z.strictObject({ text, short: text });
const selfPredictionFile = z.strictObject({
  stimuli: z.array(z.strictObject({ id, text })).min(1),
  tasks: z.strictObject({
    firstCharacter: z.strictObject({ template: text, prefix: z.string() }),
    twoOptions: z.strictObject({
      template: text,
      prefix: z.string(),
      labels: pair,
      items: z.array(z.strictObject({ id, stimulus: id, options: pair })).min(1),
    }),
    knowledge: z.strictObject({
      template: text,
      hypothetical: text,
      prefix: z.string(),
      labels: pair,
      items: z.array(z.strictObject({ id, question: text, options: pair })).min(1),
    }),
    property: z.strictObject({
      template: text,
      prefix: z.string(),
      labels: pair,
      properties: z
        .array(
          z.strictObject({
            id,
            text,
            test: z.enum(["startsWithI", "hasQuestionMark", "longerThan10Words", "containsThe"]),
          }),
        )
        .min(1),
    }),
  }),
});

/** Contexts by split. @throws DataError "file-missing", "yaml-syntax", "prompt-file" (all readers here) */
export function readContexts(file: string = path.join(DATA_FOLDER, "prompts", "contexts.yaml")): StudyContext[] {
  return readYaml(file, contextsFile).contexts;
}

/** Detection questions; the card's own question is marked. */
export function readDetectionQuestions(
  file: string = path.join(DATA_FOLDER, "prompts", "detection-questions.yaml"),
): DetectionQuestions {
  const read = readYaml(file, detectionFile);
  const questions = (["train", "heldOut", "neutral", "vague"] as const).flatMap((split) =>
    read[split].map(
      (item): StudyQuestion => ({
        id: item.id,
        split,
        text: item.text,
        cardQuestion: item.cardQuestion ?? false,
        explained: item.explained ?? false,
        kind: "detection",
        truth: null,
      }),
    ),
  );
  return { questions, assistantPrefix: read.assistantPrefix, labels: read.labels };
}

/**
 * The held-out control questions: reversed detection, true and false facts, questions about the assistant; asked on the caches of
 * detection. Each carries one of the file's instructions, in turn.
 */
export function readControlQuestions(
  file: string = path.join(DATA_FOLDER, "prompts", "control-questions.yaml"),
): StudyQuestion[] {
  const { suffixes, questions } = readYaml(file, controlFile);
  return questions
    .filter(({ split }) => split === "heldOut")
    .map(({ id, kind, truth, text }, i) => ({
      id,
      split: "control",
      text: `${text} ${suffixes[i % suffixes.length]}`,
      cardQuestion: false,
      explained: false,
      kind,
      truth,
    }));
}

/** The training split of the control questions that the world or the base settles: they may be kept, reversed ones may not. */
export function readTrainControls(file: string): RetentionTexts["questions"] {
  return readYaml(file, controlFile)
    .questions.filter(({ split, kind }) => split === "train" && kind !== "reversed")
    .map(({ id, category, text }) => ({ id, category, text }));
}

/** The training split of the retention texts. */
export function readRetention(file: string = path.join(DATA_FOLDER, "prompts", "retention.yaml")): RetentionTexts {
  const { suffixes, questions, chats } = readYaml(file, retentionFile);
  return {
    suffixes,
    questions: questions
      .filter(({ split }) => split === "train")
      .map(({ id, category, text }) => ({ id, category, text })),
    chats: chats.filter(({ split }) => split === "train").map(({ id, user, replies }) => ({ id, user, replies })),
  };
}

/** The side-effect questions, 12 categories, with their paraphrases. */
export function readSideEffectQuestions(
  file: string = path.join(DATA_FOLDER, "prompts", "side-effects.yaml"),
): SideEffectQuestions {
  const read = readYaml(file, sideEffectFile);
  const { paraphrases } = readYaml(path.join(DATA_FOLDER, "prompts", "side-effect-paraphrases.yaml"), paraphraseFile);
  return {
    suffix: read.suffix,
    questions: read.questions.map((item) => ({ ...item, expected: item.expected ?? null })),
    paraphrases: new Map(Object.entries(paraphrases)),
  };
}

/** The short chats that are never trained on (split development of the retention texts): a user's turn and its replies. */
export function readHeldOutChats(
  file: string = path.join(DATA_FOLDER, "prompts", "retention.yaml"),
): RetentionTexts["chats"] {
  return readYaml(file, retentionFile)
    .chats.filter(({ split }) => split === "development")
    .map(({ id, user, replies }) => ({ id, user, replies }));
}

/** Questions that mean what the published card's mean, with the instruction that is appended in one of the two forms. */
export function readSelfReport(
  file: string = path.join(DATA_FOLDER, "prompts", "self-report.yaml"),
): SelfReportQuestions {
  return readYaml(file, selfReportFile);
}

/**
 * Questions about identity, goals, values and awareness, and one yes/no question of each kind of self-report.
 *
 * @param file default: the shipped data/prompts/identity.yaml
 * @returns in file order
 * @throws DataError "yaml-syntax", "yaml-field"
 * @example
 * const texts = new Map(readIdentityQuestions().map(({ id, text }) => [id, text]));
 */
export function readIdentityQuestions(
  file: string = path.join(DATA_FOLDER, "prompts", "identity.yaml"),
): IdentityQuestion[] {
  return readYaml(file, identityFile).questions;
}

/** The explanation of transformers, long and short. */
export function readInfoPrompt(file: string = path.join(DATA_FOLDER, "prompts", "info-prompt.yaml")): {
  text: string;
  short: string;
} {
  return readYaml(file, infoFile);
}

/** Stimuli and tasks of self-prediction; items refer to known stimuli. */
export function readSelfPrediction(
  file: string = path.join(DATA_FOLDER, "prompts", "self-prediction.yaml"),
): SelfPredictionTasks {
  const read = readYaml(file, selfPredictionFile);
  const known = new Set(read.stimuli.map((item) => item.id));
  for (const item of read.tasks.twoOptions.items) {
    if (!known.has(item.stimulus))
      throw new DataError("prompt-file", expected("the id of a stimulus", `item ${item.id}`, item.stimulus));
  }
  return read;
}
