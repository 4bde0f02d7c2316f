/**
 * A protocol bound to a model: its texts as tokens, labels as proven single tokens, ranges and strengths as steering plans.
 *
 * A conversation is rendered once with everything in it and cut where the steered segment ends, so there is one system
 * prompt and every turn is closed; that the context is an exact prefix is checked. Relative strengths use residual norms
 * measured on the clean training contexts of this model. Gives train and trials their rows; runs nothing but that norm.
 */
import { DataError, expected, InputError } from "../base";
import { type ChatTurn, renderChat, type Tokenizer } from "../checkpoint";
import type { Steering, StudyModel } from "../engine";
import {
  absoluteSteering,
  type LayerRange,
  layerThirds,
  type NamedDirection,
  randomDirectionSet,
  namedDirections,
  relativeSteering,
  residualNorms,
} from "../steering";
import { protocolOf } from "./protocol";
import type { PromptLint } from "./preflight";
import type { QuestionSplit, StudyContext, StudyQuestion } from "./prompts";
import type { Protocol } from "./types";

/** Clean sequences over which residual norms are averaged. */
const NORM_SEQUENCES = 20;

/**
 * A protocol with a model's tokens, ranges and norms; made by `bindStudy`. Immutable apart from its caches.
 *
 * @example
 * const tokens = study.contextTokens(study.contexts("heldOut")[0], 0);
 * const steering = study.steering(study.randomDirection(0).direction, study.ranges[0], 0.2);
 * const cache = await model.prefill(tokens, { steering });
 */
export class BoundStudy {
  private readonly contextCache = new Map<string, Int32Array>();
  private readonly questionCache = new Map<string, Int32Array>();
  private directions: NamedDirection[] | null = null;
  /** what `lintPrompts` found, by adapter and question: a study that was linted once is not linted again */
  readonly lints = new Map<string, PromptLint>();
  /** token ids of the labels after the answer prefix */
  readonly labels: { steered: number; clean: number };
  /** trained layer ranges */
  readonly ranges: readonly LayerRange[];
  /** ranges never trained on: the halves of the depth */
  readonly halves: readonly LayerRange[];

  constructor(
    readonly protocol: Protocol,
    readonly model: StudyModel,
    /** (L) mean L2 norm of the residual stream after each block, on clean training contexts */
    readonly norms: Float64Array,
  ) {
    const L = model.engine.config.num_hidden_layers;
    this.ranges = protocol.steering.ranges === "thirds" ? layerThirds(L) : protocol.steering.ranges;
    const middle = Math.floor(L / 2);
    this.halves = [
      { name: "first-half", start: 0, end: middle },
      { name: "second-half", start: middle, end: L - 1 },
    ];
    for (const range of this.ranges) {
      if (range.end > L || range.start >= range.end) {
        throw new InputError(
          "layer-range",
          expected(
            `0 <= start < end <= ${L}`,
            `range ${range.name} of protocol ${protocol.name}`,
            `[${range.start}, ${range.end})`,
            `The model has ${L} layers (0..${L - 1}).`,
          ),
        );
      }
    }
    const { labels } = protocol.conversation;
    const first = protocol.contexts[0];
    const full = this.render(first, 0, protocol.questions[0], false);
    const [steered, clean] = model.tokenizer.labelTokens(full.parts, [labels.steered, labels.clean]).ids;
    this.labels = { steered, clean };
  }

  /** This study, if it is bound to `model`. @throws InputError "study-model" */
  of(model: StudyModel): this {
    if (model === this.model) return this;
    throw new InputError(
      "study-model",
      expected(`a study bound to ${model.name}`, "protocol", `one bound to ${this.model.name}`, "Pass its protocol."),
    );
  }

  /** Contexts of a split, in file order. */
  contexts(split: StudyContext["split"]): StudyContext[] {
    return this.protocol.contexts.filter((context) => context.split === split);
  }

  /** Questions of a split, in file order. */
  questions(split: QuestionSplit): StudyQuestion[] {
    return this.protocol.questions.filter((question) => question.split === split);
  }

  /** Tokens of the steered segment: system + topic + reply, closed. */
  contextTokens(context: StudyContext, reply: number): Int32Array {
    const key = `${context.id}#${reply}`;
    const held = this.contextCache.get(key);
    if (held !== undefined) return held;
    const ids = this.encode(renderChat(this.model.chatTemplate, this.steeredTurns(context, reply)).parts);
    this.contextCache.set(key, ids);
    return ids;
  }

  /** Tokens of the detection segment, which continue any context's. */
  questionTokens(question: StudyQuestion, infoPrompt = false): Int32Array {
    const key = `${question.id}#${infoPrompt}`;
    const held = this.questionCache.get(key);
    if (held !== undefined) return held;
    const ids = this.cut(this.protocol.contexts[0], 0, question, infoPrompt);
    this.questionCache.set(key, ids);
    return ids;
  }

  /** Tokens of any later user turn, as they continue any context. @param answerPrefix default: the protocol's */
  laterTurn(text: string, answerPrefix = this.protocol.conversation.assistantPrefix): Int32Array {
    const question = {
      id: "later",
      split: "control",
      text,
      cardQuestion: false,
      explained: false,
      kind: "sideEffect",
      truth: null,
    } as const;
    return this.cut(this.protocol.contexts[0], 0, question, false, answerPrefix);
  }

  /** Proves that every context joins a question without a token crossing the seam. @throws DataError "chat-seam" */
  checkSeams(): void {
    const question = this.protocol.questions[0];
    const wanted = this.questionTokens(question);
    for (const context of this.protocol.contexts) {
      for (let reply = 0; reply < context.replies.length; reply++) {
        const ids = this.cut(context, reply, question, false);
        if (ids.length !== wanted.length || ids.some((id, i) => id !== wanted[i])) {
          throw new DataError(
            "chat-seam",
            expected("the same question tokens after every context", `context ${context.id}, reply ${reply}`, "others"),
          );
        }
      }
    }
  }

  /** Direction `index` of the protocol's seeded random unit vectors; [0, train) train, then held out. */
  randomDirection(index: number): NamedDirection {
    const { train, heldOut, seed } = this.protocol.steering.vectors;
    if (!Number.isInteger(index) || index < 0 || index >= train + heldOut) {
      throw new InputError("vector-index", expected(`0 <= index < ${train + heldOut}`, "random direction", index));
    }
    const width = this.model.engine.config.hidden_size;
    this.directions ??= namedDirections(randomDirectionSet(train + heldOut, width, seed));
    return this.directions[index];
  }

  /** The plan for one strength (in the protocol's unit) over one range. */
  steering(direction: Float32Array, range: LayerRange, strength: number): Steering[] {
    const L = this.model.engine.config.num_hidden_layers;
    return this.protocol.steering.unit === "absolute"
      ? absoluteSteering(direction, range, strength, L)
      : relativeSteering(direction, range, strength, this.norms);
  }

  private steeredTurns(context: StudyContext, reply: number): ChatTurn[] {
    const text = context.replies[reply];
    if (text === undefined)
      throw new InputError(
        "reply-index",
        expected(`0 <= reply < ${context.replies.length}`, `context ${context.id}`, reply),
      );
    return [
      { role: "system", content: this.protocol.conversation.system },
      { role: "user", content: context.topic },
      { role: "assistant", content: text },
    ];
  }

  private render(
    context: StudyContext,
    reply: number,
    question: StudyQuestion,
    infoPrompt: boolean,
    answerPrefix = this.protocol.conversation.assistantPrefix,
  ): ReturnType<typeof renderChat> {
    const { infoPrompt: info } = this.protocol.conversation;
    if (infoPrompt && info === null)
      throw new InputError("info-prompt", expected("an info prompt", `protocol ${this.protocol.name}`, "none"));
    const content = infoPrompt ? `${info}\n\n${question.text}` : question.text;
    return renderChat(this.model.chatTemplate, [...this.steeredTurns(context, reply), { role: "user", content }], {
      answerPrefix,
    });
  }

  /** The detection segment after a given context. */
  private cut(
    context: StudyContext,
    reply: number,
    question: StudyQuestion,
    infoPrompt: boolean,
    answerPrefix?: string,
  ): Int32Array {
    const before = this.contextTokens(context, reply);
    const full = this.encode(this.render(context, reply, question, infoPrompt, answerPrefix).parts);
    if (before.some((id, i) => full[i] !== id)) {
      throw new DataError(
        "chat-seam",
        expected(
          "a conversation that begins with its own first turns, token by token,",
          `context ${context.id} and question ${question.id}`,
          "other tokens",
        ),
      );
    }
    return full.slice(before.length);
  }

  private encode(parts: Parameters<Tokenizer["encodeParts"]>[0]): Int32Array {
    return this.model.tokenizer.encodeParts(parts).ids;
  }
}

/**
 * Binds a protocol to a model: tokenises, proves labels and seams, measures residual norms. A bound study is given back as it is.
 *
 * @param protocol resolved protocol, the name of a shipped one or a YAML file (at the model's size), or a study bound to this model already
 * @returns the study that every evaluation and `trainDetector` takes in place of a protocol, so that norms are measured once
 * @throws InputError "label-tokens", "trailing-space", "layer-range", "context-too-long"; DataError "chat-seam", "chat-template"
 * @example
 * const study = await bindStudy(await openModel("data/lab-model"), loadProtocol("strict"));
 */
export async function bindStudy(model: StudyModel, protocol: Protocol | string | BoundStudy): Promise<BoundStudy> {
  if (protocol instanceof BoundStudy) return protocol.of(model);
  if (typeof protocol === "string") return bindStudy(model, protocolOf(protocol, {}, model.engine.config));
  const plain = new BoundStudy(protocol, model, new Float64Array(model.engine.config.num_hidden_layers));
  plain.checkSeams();
  checkLengths(plain);
  const sequences = plain
    .contexts("train")
    .slice(0, NORM_SEQUENCES)
    .map((context) => plain.contextTokens(context, 0));
  plain.norms.set((await residualNorms(model.engine, sequences)).norms);
  return plain;
}

function checkLengths(study: BoundStudy): void {
  const { protocol, model } = study;
  const longestContext = Math.max(
    ...protocol.contexts.flatMap((context) =>
      context.replies.map((_, reply) => study.contextTokens(context, reply).length),
    ),
  );
  const info = protocol.evaluation.tiers.some((tier) => tier.infoPrompt);
  const longestQuestion = Math.max(
    ...protocol.questions.map((question) => study.questionTokens(question, info).length),
  );
  const limit = model.engine.config.max_position_embeddings;
  if (longestContext + longestQuestion > limit) {
    throw new InputError(
      "context-too-long",
      expected(
        `at most ${limit} tokens (max_position_embeddings)`,
        `protocol ${protocol.name}`,
        `${longestContext} + ${longestQuestion}`,
        "Use the short info prompt.",
      ),
    );
  }
}
