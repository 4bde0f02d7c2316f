/**
 * Chats that were never trained on: how far the adapter moves what the model says in ordinary talk.
 *
 * Base and tuned model read the same user's turn and reply; at what opens the reply and after each of its tokens, KL(base || tuned)
 * over the whole vocabulary. No steering, no yes or no. Training validates the same quantity on chats that it draws from.
 */
import type { Adapter, PositionReport, Row, StudyModel } from "../engine";
import { contentHash } from "../files";
import { findMetrics, quote } from "../runs";
import { bindStudy, type BoundStudy, type Protocol, readHeldOutChats, type RetentionTexts } from "../study";
import type { ChatRecord } from "./chats/record";
import { type EvaluateOptions, type EvaluationRun, type Planned, recordId, runEvaluation } from "./runner";

/** Options of `evaluateChats`. */
export interface ChatOptions extends EvaluateOptions {
  /** compared with the base */
  adapter: Adapter;
  /** default: the 30 that are shipped and not trained on */
  chats?: RetentionTexts["chats"];
}

interface PlannedReply extends Planned {
  chat: RetentionTexts["chats"][number];
  reply: number;
}

/** Replies of one engine call: each reports the whole vocabulary at every token, twice. */
const REPLIES = 2;

/**
 * Compares base and tuned model on held-out chats, token by token.
 *
 * @param protocol its system text is used
 * @returns a record per reply: divergence in nats per token; metrics `chatDivergence` and `topTokenChanges` with intervals
 * @throws DataError "run-mismatch"; DeviceError "out-of-memory"; AbortedError when stopped
 * @example
 * const chats = await evaluateChats(model, "strict", { adapter });
 * chats.find({ name: "chatDivergence" });
 */
export async function evaluateChats(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: ChatOptions,
): Promise<EvaluationRun<ChatRecord>> {
  const study = await bindStudy(model, protocol);
  const { chats = readHeldOutChats(), adapter } = options;
  const plan = chats.flatMap((chat) =>
    chat.replies.map((_, reply): PlannedReply => {
      return { id: recordId("tuned", chat.id, reply), condition: "tuned", chat, reply };
    }),
  );
  return runEvaluation(
    study,
    {
      kind: "chats",
      adapters: { tuned: adapter },
      parts: { chats: contentHash(chats) },
      plan,
      batch: REPLIES,
      ask: (items, _, signal) => compare(study, adapter, items, signal),
      describe: ({ metrics }) =>
        findMetrics(metrics, { tier: "chats" }).map((metric) => `${metric.name.padEnd(16)} ${quote(metric)}`),
    },
    options,
  );
}

async function compare(
  { model, protocol }: BoundStudy,
  adapter: Adapter,
  items: readonly PlannedReply[],
  signal?: AbortSignal,
): Promise<ChatRecord[]> {
  const rows = items.flatMap(({ chat, reply }, i): Row[] => {
    const turns = [
      { role: "system", content: protocol.conversation.system },
      { role: "user", content: chat.user },
    ] as const;
    const opened = model.encodeChat(turns, { answerPrefix: "" }).ids;
    const whole = model.encodeChat(turns, { answerPrefix: chat.replies[reply].trim() }).ids;
    const shared = whole.findIndex((token, i) => token !== opened[i]);
    const start = (shared === -1 ? whole.length : shared) - 1; // its next token opens the reply
    return [null, adapter].flatMap((bound, b): Row[] => [
      { tokens: whole.subarray(0, start), adapter: bound, report: false },
      { tokens: whole.subarray(start), adapter: bound, parent: 4 * i + 2 * b },
    ]);
  });
  const results = await model.engine.forward(rows, { report: "all", topK: 1, fullVocabulary: true, signal });
  return items.map(({ id, chat, reply, condition }, i) => {
    const [base, tuned] = [results[4 * i + 1].positions, results[4 * i + 3].positions];
    const divergences = base.map((position, t) => divergence(position, tuned[t]));
    return {
      id,
      chat: chat.id,
      user: chat.user,
      reply,
      condition,
      positions: base.length,
      divergence: divergences.reduce((sum, one) => sum + one, 0) / base.length,
      largest: divergences.reduce((most, one) => Math.max(most, one), 0),
      topChanges: base.filter(({ top }, t) => top[0].token !== tuned[t].top[0].token).length,
      adapterHash: adapter.hash,
      modelHash: model.hash,
    };
  });
}

/** KL(base || tuned) over the whole vocabulary, nats. */
function divergence(before: PositionReport, after: PositionReport): number {
  const [base, tuned] = [before.all as Float32Array, after.all as Float32Array];
  let sum = 0;
  for (let token = 0; token < base.length; token++) {
    if (base[token] > Number.NEGATIVE_INFINITY) sum += Math.exp(base[token]) * (base[token] - tuned[token]);
  }
  return Math.max(0, sum); // rounding of equal distributions may fall below
}
