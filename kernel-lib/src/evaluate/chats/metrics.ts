/** Chat records -> how far an adapter moves ordinary talk: divergence per token, and how often the likeliest token changes. */
import { type Metric, metricOf } from "../../runs";
import { clusteredMean, clusteredRate } from "../../stats";
import { groupBy } from "../detection/counts";
import type { ChatRecord } from "./record";

const TIER = "chats";

/** `chatDivergence` (mean over replies of the mean over tokens, nats) and `topTokenChanges` (share of tokens); chats were sampled. */
export function chatMetrics(records: readonly ChatRecord[]): Metric[] {
  return [...groupBy(records, ({ condition }) => condition)].flatMap(([condition, of]) => {
    const divergence = clusteredMean(
      of.map((record) => record.divergence),
      { chat: of.map(({ chat }) => chat) },
      { within: [0, Infinity] },
    );
    const tokens = of.flatMap(({ chat, positions, topChanges }) =>
      Array.from({ length: positions }, (_, i) => ({ chat, isChanged: i < topChanges })),
    );
    const changes = clusteredRate(
      tokens.map(({ isChanged }) => isChanged),
      { chat: tokens.map(({ chat }) => chat) },
    );
    return [
      metricOf("chatDivergence", TIER, condition, divergence),
      metricOf("topTokenChanges", TIER, condition, changes),
    ];
  });
}
