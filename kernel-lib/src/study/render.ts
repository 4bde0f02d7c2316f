/**
 * A protocol as Markdown: the methods section of every report, and the documentation of the shipped protocols.
 *
 * Pure text from data; what is not in the protocol cannot be claimed here.
 */
import type { EarlyStop, Protocol, TierSpec } from "./types";

const list = (values: readonly (string | number)[]): string => values.join(", ");
const percent = (value: number): string => `${Math.round(value * 1000) / 10} %`;

/**
 * Markdown of a whole protocol: conversation, splits, steering, training, tiers, aims.
 *
 * @param level of the title's heading, default 1; 3 under a heading of a notebook
 * @returns Markdown that ends in a newline; the same protocol gives the same text
 * @example
 * showMarkdown(renderProtocol(loadProtocol("strict"), 3));
 */
export function renderProtocol(protocol: Protocol, level = 1): string {
  const text = [
    `# ${protocol.title}`,
    protocol.about.trim(),
    ...(protocol.sizing === null ? [] : [`**Sized for ${protocol.sizing.name}**: ${protocol.sizing.about.trim()}`]),
    ...(protocol.twinOf === null ? [] : [twinText(protocol)]),
    "## Conversation",
    conversationText(protocol),
    "## Steering",
    steeringText(protocol),
    "## Training",
    trainingText(protocol),
    "## Tiers",
    tierTable(protocol.evaluation.tiers),
    ...(protocol.aims.length === 0 ? [] : ["## Aims", aimText(protocol)]),
    "",
  ].join("\n\n");
  return text.replace(/^#/gm, "#".repeat(level));
}

function twinText({ twinOf }: Protocol): string {
  const changes = Object.entries(twinOf?.changes ?? {}).map(
    ([field, value]) => `\`${field}\` = \`${JSON.stringify(value)}\``,
  );
  return `**Twin of \`${twinOf?.name}\`**, changed: ${list(changes)}.`;
}

function conversationText({ conversation, contexts, questions }: Protocol): string {
  const { system, assistantPrefix, labels, infoPrompt } = conversation;
  const splits = (["train", "development", "heldOut", "hardNegative"] as const).flatMap((split) => {
    const of = contexts.filter((context) => context.split === split);
    const replies = of.reduce((sum, context) => sum + context.replies.length, 0);
    return of.length === 0 && split === "development" ? [] : [`${split}: ${of.length} topics, ${replies} replies`];
  });
  const asked = (["train", "heldOut", "neutral", "vague"] as const).map(
    (split) => `${split}: ${questions.filter((question) => question.split === split).length}`,
  );
  return [
    `- Steered segment: system turn \`${system}\`, a topic (user), a canned reply (assistant), closed by the model's own template.`,
    `- Detection segment, asked clean on the kept cache: a question (user), then the answer begins \`${assistantPrefix}\`.`,
    `- Labels, one token each: steered \`${labels.steered}\`, clean \`${labels.clean}\`. Positive class = steered.`,
    `- Contexts: ${list(splits)}. Question wordings: ${list(asked)}.`,
    `- Info prompt: ${infoPrompt === null ? "none" : `${infoPrompt.split(/\s+/).length} words before the question, in tiers that say so`}.`,
  ].join("\n");
}

function steeringText({ steering }: Protocol): string {
  const { ranges, unit, magnitudes, heldOutMagnitudes, vectors } = steering;
  const where =
    ranges === "thirds"
      ? "thirds of the depth, last block never steered"
      : list(ranges.map((range) => `${range.name} [${range.start}, ${range.end})`));
  const how =
    unit === "absolute"
      ? "L2 length added at every steered layer and token"
      : "times each layer's mean residual norm, added at every token";
  return [
    `- Added to the residual stream after each block of a half-open range, at every token of the steered segment: ${where}.`,
    `- Strengths (${unit}): ${list(magnitudes)} ${how}.${heldOutMagnitudes.length === 0 ? "" : ` Never trained on: ${list(heldOutMagnitudes)}.`}`,
    `- Directions: seeded random unit vectors (seed ${vectors.seed}), ${vectors.train} for training, ${vectors.heldOut} held out.`,
  ].join("\n");
}

function trainingText({ training }: Protocol): string {
  const { lora, optimizer } = training;
  const loss = {
    pair: "cross-entropy over the two labels",
    full: "cross-entropy over the vocabulary",
    "pair+mass": `cross-entropy over the two labels + ${training.massWeight} x (-log answer mass)`,
  };
  const control =
    training.control === "none"
      ? []
      : [
          `- **Control: ${training.control}**${training.control === "corrupt" ? ` (${percent(training.corruptShare)} of labels)` : ""}.`,
        ];
  return [
    ...control,
    `- ${training.examples} examples, ${percent(training.validationShare)} kept for validation, ${percent(training.steeredShare)} steered; vector, range, strength, topic, reply and question each uniform; replies 1 to ${training.trainReplies} of each topic; wordings: ${training.questions}.`,
    `- Loss at the last position: ${loss[training.loss]}. LoRA active in both passes; no gradient into the cache.`,
    `- LoRA r ${lora.r}, alpha ${lora.alpha}, dropout ${lora.dropout}, on ${list(lora.targetModules)} of every layer.`,
    `- AdamW (${list(optimizer.betas)}, ${optimizer.eps}, weight decay ${optimizer.weightDecay}), peak rate ${optimizer.lr}, ${training.warmupSteps} warm-up steps, linear decay over ${training.scheduleEpochs} ${training.scheduleEpochs === 1 ? "epoch" : "epochs"}, stopped after ${training.epochs}; batch ${training.batch}; gradient norm ${optimizer.maxGradNorm === 0 ? "not clipped" : `clipped at ${optimizer.maxGradNorm}`}.`,
    ...(training.earlyStop === null ? [] : [earlyStopText(training.earlyStop)]),
  ].join("\n");
}

function earlyStopText({ metric, patience, minimumSteps }: EarlyStop): string {
  return `- Stopped early after ${patience} validations without a better ${metric}, from step ${minimumSteps} on; the weights of the best validation are kept.`;
}

function tierTable(tiers: readonly TierSpec[]): string {
  const rows = tiers.map((tier) => {
    const vectors =
      tier.vectors === null
        ? "none (clean)"
        : `${tier.vectors}${tier.vectorCount === 0 ? "" : ` (${tier.vectorCount})`}`;
    const extra = [
      tier.magnitudes === "heldOut" ? "held-out strengths" : "",
      tier.ranges === "halves" ? "untrained ranges" : "",
      tier.infoPrompt ? "info prompt" : "",
      tier.baseline ? "also base" : "",
    ];
    return `| ${tier.name} | ${vectors} | ${tier.contexts}, replies ${tier.replies} | ${tier.questions}, ${tier.questionChoice} | ${tier.clean} | ${extra.filter((text) => text !== "").join(", ")} | ${tier.about} |`;
  });
  return [
    "| tier | vectors | contexts | questions | clean trials | also | about |",
    "|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}

function aimText({ aims }: Protocol): string {
  return aims
    .map(
      ({ metric, tier, least, most }) =>
        `- ${metric} on ${tier}: ${[least === null ? "" : `at least ${least}`, most === null ? "" : `at most ${most}`].filter((text) => text !== "").join(", ")}.`,
    )
    .join("\n");
}
