/**
 * The shape of a protocol, checked strictly: an unknown or misspelt field is an error, never ignored.
 *
 * Uses zod inside; no zod type leaves this file. `checkProtocol` also proves what a shape cannot say: labels differ, no
 * trailing space, splits do not share texts, classes are balanced (or the control that unbalances them is named).
 */
import { z } from "zod";
import { expected, InputError } from "../base";
import { PROJECTIONS } from "../checkpoint";
import { checkShape } from "../files";
import { sizingSchema } from "./sizing";
import type { Protocol } from "./types";

const share = z.number().min(0).max(1);
const count = z.number().int().min(0);
const positive = z.number().positive();
const questionSplit = z.enum(["train", "heldOut", "neutral", "vague", "unrelated", "control"]);
const yesNo = z.enum(["yes", "no"]);
const contextSplit = z.enum(["train", "development", "heldOut", "hardNegative"]);
const id = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/);
const projection = z.enum(PROJECTIONS);

const context = z.strictObject({
  id,
  split: contextSplit,
  kind: z.string(),
  topic: z.string().min(1),
  replies: z.array(z.string().min(1)).min(1),
});
// Fields with a default came later: protocols of older runs are read as what they were.
const question = z.strictObject({
  id,
  split: questionSplit,
  text: z.string().min(1),
  cardQuestion: z.boolean(),
  explained: z.boolean().default(false),
  kind: z.enum(["detection", "reversed", "trueFact", "falseFact", "sideEffect"]).default("detection"),
  truth: z.strictObject({ steered: yesNo, clean: yesNo }).nullable().default(null),
});

const tier = z.strictObject({
  name: z.string().regex(/^[a-z0-9_]+$/),
  about: z.string(),
  vectors: z.enum(["train", "heldOut", "concepts", "matched"]).nullable(),
  vectorCount: count,
  contexts: contextSplit,
  replies: z.enum(["all", "train", "heldOut"]),
  contextsPerCell: count.min(1),
  questions: questionSplit,
  questionChoice: z.enum(["first", "draw", "each"]),
  cachesOf: z.string().nullable().default(null),
  magnitudes: z.enum(["trained", "heldOut"]),
  ranges: z.enum(["trained", "halves"]),
  clean: z.union([count, z.literal("balanced"), z.literal("all")]),
  baseline: z.boolean(),
  infoPrompt: z.boolean(),
});

const metric = z.enum([
  "balancedAccuracy",
  "falseAlarmRate",
  "worstWordingFalseAlarmRate",
  "strongestHitRate",
  "weakestHitRate",
  "baselineBalancedAccuracy",
  "selectivity",
  "mass",
  "answerFlips",
  "deltaYes",
  "onlyYesNo",
  "chatDivergence",
]);

const protocolSchema: z.ZodType<Protocol> = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9+~.=-]*$/),
  title: z.string().min(1),
  about: z.string(),
  twinOf: z.strictObject({ name: z.string(), changes: z.record(z.string(), z.unknown()) }).nullable(),
  sizing: sizingSchema.nullable().default(null),
  conversation: z.strictObject({
    system: z.string(),
    assistantPrefix: z.string(),
    labels: z.strictObject({ steered: z.string().min(1), clean: z.string().min(1) }),
    infoPrompt: z.string().nullable(),
  }),
  contexts: z.array(context).min(1),
  questions: z.array(question).min(1),
  retention: z
    .strictObject({
      suffixes: z.array(z.string()),
      questions: z.array(z.strictObject({ id, category: z.string(), text: z.string().min(1) })),
      chats: z.array(z.strictObject({ id, user: z.string().min(1), replies: z.array(z.string().min(1)).min(1) })),
    })
    .default({ suffixes: [], questions: [], chats: [] }),
  steering: z.strictObject({
    ranges: z.union([
      z.literal("thirds"),
      z.array(z.strictObject({ name: z.string().min(1), start: count, end: count })).min(1),
    ]),
    unit: z.enum(["absolute", "relative"]),
    magnitudes: z.array(positive).min(1),
    heldOutMagnitudes: z.array(positive),
    vectors: z.strictObject({ train: count.min(1), heldOut: count, seed: count }),
    concepts: z.enum(["centred", "raw"]).default("raw"),
  }),
  training: z.strictObject({
    examples: count.min(2),
    validationShare: z.number().min(0).max(0.5),
    steeredShare: share,
    questions: questionSplit,
    trainReplies: count.min(1),
    control: z.enum(["none", "no-steer", "flipped", "deny", "corrupt", "unrelated"]),
    corruptShare: share,
    loss: z.enum(["pair", "full", "pair+mass"]),
    massWeight: share,
    retention: z
      .strictObject({
        share: z.number().min(0).max(0.9),
        onCaches: share,
        chats: share,
        form: z.enum(["distribution", "answers"]),
        weight: positive,
      })
      .default({ share: 0, onCaches: 0, chats: 0, form: "distribution", weight: 1 }),
    lora: z.strictObject({
      r: count.min(1).max(512),
      alpha: positive,
      dropout: z.number().min(0).lt(1),
      targetModules: z.array(projection).min(1),
    }),
    optimizer: z.strictObject({
      lr: positive,
      betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
      eps: positive,
      weightDecay: z.number().min(0),
      maxGradNorm: z.number().min(0),
    }),
    warmupSteps: count,
    scheduleEpochs: positive,
    epochs: positive,
    batch: count.min(1),
    validateEvery: count,
    checkpointEvery: count,
    massGuard: share,
    earlyStop: z
      .strictObject({
        metric: z.enum(["validationLoss", "validationAccuracy"]),
        patience: count.min(1),
        minimumSteps: count,
      })
      .nullable()
      .default(null),
  }),
  evaluation: z.strictObject({ seed: count, tiers: z.array(tier).min(1), identitySamples: count, minimumMass: share }),
  aims: z.array(
    z.strictObject({ metric, tier: z.string(), least: z.number().nullable(), most: z.number().nullable() }),
  ),
});

/**
 * Checks a resolved protocol and returns it typed.
 *
 * @throws InputError "protocol-field" naming the field by its dotted path; "protocol-split", "label-balance", "protocol-labels"
 */
export function checkProtocol(value: unknown): Protocol {
  const protocol = checkShape(value, protocolSchema, { code: "protocol-field", whole: "protocol", where: "" });
  checkLabels(protocol);
  checkSplits(protocol);
  checkBalance(protocol);
  checkEarlyStop(protocol);
  return protocol;
}

function checkLabels({ conversation: { labels, assistantPrefix } }: Protocol): void {
  if (labels.steered === labels.clean) {
    throw new InputError("protocol-labels", expected("two different labels", "conversation.labels", labels.steered));
  }
  if (/\s$/.test(assistantPrefix)) {
    throw new InputError(
      "protocol-labels",
      expected(
        "no white space at the end",
        "conversation.assistantPrefix",
        assistantPrefix,
        "The space belongs to the label tokens.",
      ),
    );
  }
}

/** Held-out text that was trained on would make every held-out figure a lie. */
function checkSplits(protocol: Protocol): void {
  const ids = [...protocol.contexts, ...protocol.questions].map((item) => item.id);
  const twice = ids.find((item, i) => ids.indexOf(item) !== i);
  if (twice !== undefined)
    throw new InputError("protocol-split", expected("unique ids", "contexts and questions", twice));
  const overlap = (texts: [string, string][]): void => {
    const seen = new Map<string, string>();
    for (const [text, split] of texts) {
      const other = seen.get(text);
      if (other !== undefined && other !== split) {
        throw new InputError(
          "protocol-split",
          expected(`a text in one split only (it is in ${other} and ${split})`, "protocol", text),
        );
      }
      seen.set(text, split);
    }
  };
  overlap(protocol.questions.map((item) => [item.text, item.split]));
  overlap(protocol.contexts.map((item) => [item.topic, item.split]));
  checkRetention(protocol);
  const { training, steering, evaluation } = protocol;
  const heldOut = steering.heldOutMagnitudes.find((magnitude) => steering.magnitudes.includes(magnitude));
  if (heldOut !== undefined)
    throw new InputError(
      "protocol-split",
      expected("magnitudes in one split only", "steering.heldOutMagnitudes", heldOut),
    );
  const short = protocol.contexts.find((item) => item.split === "train" && item.replies.length < training.trainReplies);
  if (short !== undefined) {
    throw new InputError(
      "protocol-split",
      expected(`at least ${training.trainReplies} replies (training.trainReplies)`, short.id, short.replies.length),
    );
  }
  const needed: [string, boolean][] = [
    [`questions of split ${training.questions}`, protocol.questions.some((item) => item.split === training.questions)],
    ["contexts of split train", protocol.contexts.some((item) => item.split === "train")],
  ];
  for (const item of evaluation.tiers) {
    needed.push([
      `questions of split ${item.questions} (tier ${item.name})`,
      protocol.questions.some((q) => q.split === item.questions),
    ]);
    needed.push([
      `contexts of split ${item.contexts} (tier ${item.name})`,
      protocol.contexts.some((c) => c.split === item.contexts),
    ]);
    if (item.magnitudes === "heldOut")
      needed.push([`steering.heldOutMagnitudes (tier ${item.name})`, steering.heldOutMagnitudes.length > 0]);
  }
  for (const [what, present] of needed) {
    if (!present) throw new InputError("protocol-split", expected(what, "protocol", "none"));
  }
}

/** Retention needs texts, and none of them may be asked in the evaluation. */
function checkRetention({ training: { retention }, retention: texts, questions }: Protocol): void {
  if (retention.share === 0) return;
  if (retention.onCaches + retention.chats > 1)
    throw new InputError(
      "protocol-field",
      expected("training.retention.onCaches + chats <= 1", "protocol", retention.onCaches + retention.chats),
    );
  if (retention.form === "answers" && retention.chats > 0)
    throw new InputError(
      "protocol-field",
      expected("0 (chats have no yes or no)", "training.retention.chats with form answers", retention.chats),
    );
  if (texts.questions.length === 0 || texts.suffixes.length === 0 || (retention.chats > 0 && texts.chats.length === 0))
    throw new InputError(
      "protocol-split",
      expected("retention texts (prompts.retention)", "protocol", "none", "training.retention.share needs them."),
    );
  const asked = new Set(questions.map(({ text }) => text));
  const suffixed = texts.questions.flatMap(({ text }) => texts.suffixes.map((suffix) => `${text} ${suffix}`));
  const shared = suffixed.find((text) => asked.has(text));
  if (shared !== undefined)
    throw new InputError("protocol-split", expected("retention questions asked nowhere else", "protocol", shared));
}

/** What stops by validation must validate on the way. */
function checkEarlyStop({ training: { earlyStop, validateEvery, validationShare } }: Protocol): void {
  if (earlyStop === null || (validateEvery > 0 && validationShare > 0)) return;
  throw new InputError(
    "protocol-field",
    expected(
      "validateEvery and validationShare above 0 beside it",
      "training.earlyStop",
      `${validateEvery} and ${validationShare}`,
    ),
  );
}

/** An all-yes training set teaches nothing but yes; only the deny control may be one-sided. */
function checkBalance({ training: { steeredShare, control } }: Protocol): void {
  if (control === "deny") return;
  if (steeredShare < 0.4 || steeredShare > 0.6) {
    throw new InputError(
      "label-balance",
      expected(
        "0.4 <= steeredShare <= 0.6",
        "training.steeredShare",
        steeredShare,
        "Unbalanced labels teach one answer; only control deny may do that.",
      ),
    );
  }
}
