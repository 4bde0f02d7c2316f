/**
 * Trial plans: the tiers of a protocol, drawn by its evaluation seed, as a list of trials with content-keyed ids.
 *
 * Steered: every vector x range x strength of the tier, each with drawn contexts and question. Clean: distinct prompts
 * (context, reply, question), never the same one twice, because a deterministic model answers it the same. Base trials are the
 * tuned ones again without the adapter, so that tests can pair them.
 */
import { expected, InputError, random, type Random } from "../base";
import type { Steering } from "../engine";
import { sha256 } from "../files";
import {
  directionHash,
  type LayerRange,
  matchedRandom,
  type NamedDirection,
  normalise,
  rootMeanSquare,
} from "../steering";
import type { BoundStudy } from "./bind";
import type { StudyContext, StudyQuestion } from "./prompts";
import type { Trial } from "./record";
import type { TierSpec } from "./types";

/** A trial with the plan it stands for. */
export interface PlannedTrial extends Trial {
  plan: { context: StudyContext; question: StudyQuestion; direction: NamedDirection | null; steering: Steering[] };
}

interface Prompt {
  context: StudyContext;
  reply: number;
}

/**
 * Every trial of the named tiers (default: all), in tier order.
 *
 * @param options.concepts directions for tiers with vectors "concepts"; such tiers are refused without them
 * @param options.tiers names of tiers to plan
 * @returns trials with unique ids; the same study gives the same plan
 * @throws InputError "tier-unknown", "concepts-missing"
 * @example
 * const plan = planTrials(study, { tiers: ["held_out_random"] });
 */
export function planTrials(
  study: BoundStudy,
  options: { concepts?: readonly NamedDirection[]; tiers?: readonly string[] } = {},
): PlannedTrial[] {
  const { tiers, seed } = study.protocol.evaluation;
  const unknown = options.tiers?.find((name) => !tiers.some((tier) => tier.name === name));
  if (unknown !== undefined)
    throw new InputError(
      "tier-unknown",
      expected(`one of ${tiers.map((tier) => tier.name).join(", ")}`, "tiers", unknown),
    );
  const chosen = tiers.filter((tier) => options.tiers === undefined || options.tiers.includes(tier.name));
  return chosen.flatMap((tier) => {
    const source = tier.cachesOf === null ? tier : tiers.find(({ name }) => name === tier.cachesOf);
    if (source === undefined)
      throw new InputError(
        "tier-unknown",
        expected("the name of a tier", `cachesOf of tier ${tier.name}`, tier.cachesOf),
      );
    return planTier(study, tier, random(seed).fork(source.name), options.concepts ?? null);
  });
}

function planTier(
  study: BoundStudy,
  tier: TierSpec,
  rng: Random,
  concepts: readonly NamedDirection[] | null,
): PlannedTrial[] {
  const steered = steeredTrials(study, tier, rng, concepts);
  const tuned = [...steered, ...cleanTrials(study, tier, rng, steered.length)];
  const withIds = (condition: Trial["condition"]): PlannedTrial[] =>
    tuned.map((trial) => keyed(study, { ...trial, condition }));
  return tier.baseline ? [...withIds("tuned"), ...withIds("base")] : withIds("tuned");
}

/** Prompts of a tier: every context of its split with each reply that it admits. */
function promptsOf(study: BoundStudy, tier: TierSpec): Prompt[] {
  const { trainReplies } = study.protocol.training;
  const admitted = (context: StudyContext, reply: number): boolean =>
    tier.replies === "all" || (tier.replies === "train") === (context.split === "train" && reply < trainReplies);
  const prompts = study
    .contexts(tier.contexts)
    .flatMap((context) =>
      context.replies.flatMap((_, reply) => (admitted(context, reply) ? [{ context, reply }] : [])),
    );
  if (prompts.length === 0)
    throw new InputError(
      "tier-empty",
      expected(
        "at least one context and reply",
        `tier ${tier.name}`,
        "none",
        "Check replies and training.trainReplies.",
      ),
    );
  return prompts;
}

/** Questions that a tier asks; after the info prompt none that explains too. */
function questionsOf(study: BoundStudy, tier: TierSpec): StudyQuestion[] {
  return study.questions(tier.questions).filter(({ explained }) => !(tier.infoPrompt && explained));
}

function directionsOf(
  study: BoundStudy,
  tier: TierSpec,
  rng: Random,
  concepts: readonly NamedDirection[] | null,
): readonly NamedDirection[] {
  if (tier.vectors === null) return [];
  if (tier.vectors === "concepts" || tier.vectors === "matched") {
    if (concepts === null)
      throw new InputError(
        "concepts-missing",
        expected("concept directions", `tier ${tier.name}`, "none", "Extract them first, or leave the tier out."),
      );
    const of = tier.vectors === "matched" ? matchedTwins(concepts, study.protocol.steering.vectors.seed) : concepts;
    return tier.vectorCount === 0 ? of : rng.fork("vectors").shuffle(of).slice(0, tier.vectorCount);
  }
  const { train, heldOut } = study.protocol.steering.vectors;
  const [first, count] = tier.vectors === "train" ? [0, train] : [train, heldOut];
  const indices = rng.fork("vectors").shuffle(Array.from({ length: count }, (_, i) => first + i));
  return indices
    .slice(0, tier.vectorCount === 0 ? count : tier.vectorCount)
    .sort((a, b) => a - b)
    .map((index) => study.randomDirection(index));
}

/** Random directions with the angles of the concepts between them: what those angles alone would do. */
function matchedTwins(concepts: readonly NamedDirection[], seed: number): NamedDirection[] {
  const turned = matchedRandom(
    concepts.map(({ direction }) => direction),
    random(seed).fork("matched"),
  );
  return concepts.map(({ id, category }, i) => ({ id: `matched-${id}`, category, direction: normalise(turned[i]) }));
}

type Unkeyed = Omit<PlannedTrial, "id" | "condition">;

function steeredTrials(
  study: BoundStudy,
  tier: TierSpec,
  rng: Random,
  concepts: readonly NamedDirection[] | null,
): Unkeyed[] {
  const { magnitudes, heldOutMagnitudes } = study.protocol.steering;
  const prompts = promptsOf(study, tier);
  const questions = questionsOf(study, tier);
  const ranges = tier.ranges === "halves" ? study.halves : study.ranges;
  const strengths = tier.magnitudes === "heldOut" ? heldOutMagnitudes : magnitudes;
  // Questions have a stream of their own, so that two tiers over the same caches may ask different ones.
  const [draw, asking] = [rng.fork("steered"), rng.fork(`questions ${tier.name}`)];
  const trials: Unkeyed[] = [];
  for (const [v, direction] of directionsOf(study, tier, rng, concepts).entries()) {
    let place = v; // a Latin square: wording and cell shift against each other from vector to vector
    for (const range of ranges) {
      for (const strength of strengths) {
        for (const prompt of draw.shuffle(prompts).slice(0, tier.contextsPerCell)) {
          const turn = tier.questionChoice === "each" ? place++ % questions.length : 0;
          const question = tier.questionChoice === "draw" ? asking.pick(questions) : questions[turn];
          trials.push(trialOf(study, tier, prompt, question, { direction, range, strength }));
        }
      }
    }
  }
  return trials;
}

function cleanTrials(study: BoundStudy, tier: TierSpec, rng: Random, steered: number): Unkeyed[] {
  const all = questionsOf(study, tier);
  const questions = tier.questionChoice === "first" ? all.slice(0, 1) : all;
  const distinct = promptsOf(study, tier).flatMap((prompt) => questions.map((question) => ({ prompt, question })));
  const wanted = tier.clean === "all" ? distinct.length : tier.clean === "balanced" ? steered : tier.clean;
  const chosen = tier.clean === "all" ? distinct : rng.fork("clean").shuffle(distinct).slice(0, wanted);
  return chosen.map(({ prompt, question }) => trialOf(study, tier, prompt, question, null));
}

function trialOf(
  study: BoundStudy,
  tier: TierSpec,
  { context, reply }: Prompt,
  question: StudyQuestion,
  cell: { direction: NamedDirection; range: LayerRange; strength: number } | null,
): Unkeyed {
  const steering = cell === null ? [] : study.steering(cell.direction.direction, cell.range, cell.strength);
  const lengths = steering.flatMap((entry) =>
    Array.from({ length: entry.layers[1] - entry.layers[0] }, (_, i) => ({
      layer: entry.layers[0] + i,
      length: entry.magnitude,
    })),
  );
  return {
    tier: tier.name,
    infoPrompt: tier.infoPrompt,
    target: cell === null ? "clean" : "steered",
    context: context.id,
    contextSplit: context.split,
    contextKind: context.kind,
    reply,
    question: question.id,
    questionText: question.text,
    questionSplit: question.split,
    questionKind: question.kind,
    truth: question.truth === null ? null : question.truth[cell === null ? "clean" : "steered"],
    vector: cell?.direction.id ?? null,
    vectorSplit: cell === null ? null : tier.vectors,
    category: cell?.direction.category ?? null,
    range: cell?.range.name ?? null,
    layerStart: cell?.range.start ?? null,
    layerEnd: cell?.range.end ?? null,
    strength: cell?.strength ?? null,
    magnitude: cell === null ? null : rootMeanSquare(lengths.map(({ length }) => length)),
    relativeStrength:
      cell === null ? null : rootMeanSquare(lengths.map(({ layer, length }) => length / study.norms[layer])),
    plan: { context, question, direction: cell?.direction ?? null, steering },
  };
}

function keyed(study: BoundStudy, trial: Omit<PlannedTrial, "id">): PlannedTrial {
  const { plan, questionText: _, questionKind: _kind, truth: _truth, ...fields } = trial;
  const content = {
    ...fields,
    model: study.model.hash,
    labels: study.labels,
    contextTokens: sha256(Int32Array.from(study.contextTokens(plan.context, fields.reply)).join()),
    questionTokens: sha256(study.questionTokens(plan.question, fields.infoPrompt).join()),
    direction: plan.direction === null ? null : directionHash(plan.direction.direction),
  };
  // Fields are written in one fixed order above, so plain JSON is canonical here. The question's tokens stand for its text, kind and truth.
  return { id: sha256(JSON.stringify(content)).slice(0, 16), ...trial };
}
