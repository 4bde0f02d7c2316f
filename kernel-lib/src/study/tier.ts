/**
 * What a tier is, read from its fields: what it holds out, its kind and its title in words. Never from its name.
 *
 * Gives reports, tables, plots and notebooks the words for a tier, the order of its axes and the tiers to compare it with, so
 * that a copied protocol with other names says the same. Held out means: not what this protocol trains on.
 */
import { expected, InputError } from "../base";
import type { Protocol, TierSpec } from "./types";

/** Axes that a tier can hold out; null where nothing is steered. */
export interface HeldOut {
  vectors: boolean | null;
  topics: boolean;
  replies: boolean;
  question: boolean;
  strengths: boolean | null;
  ranges: boolean | null;
}

/**
 * What decides a tier's place in figures and sentences, the widest axis first.
 * control: asks something else on the caches of another tier. matched: random twins of the concept vectors. clean, unusual: clean trials only, unusual where the contexts are hard negatives. explained: steering is explained before the
 * question. concepts: concept vectors. trained: training vectors. vectors, replies, wordings, strengths, ranges: held-out
 * vectors, and what else is held out (topics may be too).
 */
export type TierKind =
  | "control"
  | "matched"
  | "trained"
  | "vectors"
  | "replies"
  | "wordings"
  | "strengths"
  | "ranges"
  | "concepts"
  | "explained"
  | "clean"
  | "unusual";

/** A tier as it is shown. */
export interface TierView {
  name: string;
  /** in words, unique within its protocol */
  title: string;
  kind: TierKind;
  heldOut: HeldOut;
  spec: TierSpec;
}

/** Whether a tier asks clean trials only. */
export function isCleanTier(tier: Pick<TierSpec, "vectors">): boolean {
  return tier.vectors === null;
}

/** Whether a tier asks control questions instead of the detection question. */
export function isControlTier(tier: Pick<TierSpec, "questions">): boolean {
  return tier.questions === "control";
}

/** Which axes a tier holds out, against what its protocol trains on. */
export function heldOutBy(tier: TierSpec, protocol: Pick<Protocol, "contexts" | "training">): HeldOut {
  const { questions, trainReplies } = protocol.training;
  const isSteered = !isCleanTier(tier);
  const topics = tier.contexts !== "train";
  const untrained = protocol.contexts.some(({ split, replies }) => split === "train" && replies.length > trainReplies);
  return {
    vectors: isSteered ? tier.vectors !== "train" : null,
    topics,
    replies: topics || (tier.replies === "heldOut" && untrained),
    question: tier.questions !== questions,
    strengths: isSteered ? tier.magnitudes === "heldOut" : null,
    ranges: isSteered ? tier.ranges !== "trained" : null,
  };
}

function kindOf(tier: TierSpec, heldOut: HeldOut): TierKind {
  if (isControlTier(tier)) return "control";
  if (isCleanTier(tier)) return tier.contexts === "hardNegative" ? "unusual" : "clean";
  if (tier.infoPrompt) return "explained";
  if (tier.vectors === "concepts" || tier.vectors === "matched") return tier.vectors;
  if (heldOut.question) return "wordings";
  if (heldOut.strengths === true) return "strengths";
  if (heldOut.ranges === true) return "ranges";
  if (tier.vectors === "train") return "trained";
  return heldOut.replies && !heldOut.topics ? "replies" : "vectors";
}

/** "New vectors, topics and wordings": what is steered or not, then everything that was not trained on. */
function titleOf(tier: TierSpec, { topics, replies, question, strengths, ranges }: HeldOut, words: string): string {
  const isUnusual = tier.contexts === "hardNegative";
  const axes = [
    ...(topics && !isUnusual ? ["topics"] : []),
    ...(replies && !topics ? ["replies"] : []),
    ...(question ? [words] : []),
    ...(strengths === true ? ["strengths"] : []),
    ...(ranges === true ? ["layer ranges"] : []),
  ];
  const on = isUnusual ? (tier.vectors === null ? " of unusual kinds" : ", unusual text") : "";
  const explained = tier.infoPrompt ? ", steering explained first" : "";
  if (tier.vectors === "heldOut") return `New ${listed(["vectors", ...axes])}${on}${explained}`;
  const start = {
    train: "Trained vectors",
    concepts: "Concept vectors",
    matched: "Random twins of the concept vectors",
  };
  const what = tier.vectors === null ? "Clean text" : start[tier.vectors];
  const rest = axes.length > 0 ? `, new ${listed(axes)}` : isUnusual ? "" : ", as in training";
  return `${what}${on}${rest}${explained}`;
}

/** What to call questions that were not trained on. */
function newWords({ questions, questionChoice }: TierSpec, protocol: Protocol): string {
  const first = protocol.questions.find(({ split }) => split === questions);
  return questionChoice === "first" && first?.cardQuestion === true ? "the card's own question" : "wordings";
}

const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;

/**
 * The tiers of a protocol as they are shown, in its order.
 * @returns a title in words for each; tiers of equal fields are told apart by their number
 * @example
 * const steered = tierViews(protocol).filter(({ spec }) => spec.vectors !== null);
 */
export function tierViews(protocol: Protocol): TierView[] {
  const { tiers } = protocol.evaluation;
  const plain = (spec: TierSpec): string => titleOf(spec, heldOutBy(spec, protocol), newWords(spec, protocol));
  const titled = (spec: TierSpec): string => {
    if (!isControlTier(spec)) return plain(spec);
    const asked = tiers.find(({ name }) => name === spec.cachesOf) ?? spec;
    return `Control questions, caches of: ${plain({ ...asked, questions: protocol.training.questions }).toLowerCase()}`;
  };
  const views = tiers.map((spec): TierView => {
    const heldOut = heldOutBy(spec, protocol);
    return { name: spec.name, title: titled(spec), kind: kindOf(spec, heldOut), heldOut, spec };
  });
  return views.map((view, i) => {
    const before = views.slice(0, i).filter(({ title }) => title === view.title).length;
    return before === 0 ? view : { ...view, title: `${view.title} (${before + 1})` };
  });
}

/**
 * The tier of a kind that stands for it in summaries: the one also asked of the base model, then the one with most vectors,
 * then the first.
 * @returns null where the protocol has none of that kind
 * @example
 * const main = mainTier(tierViews(protocol), "vectors");
 */
export function mainTier(views: readonly TierView[], kind: TierKind): TierView | null {
  const size = ({ spec }: TierView): number => (spec.vectorCount === 0 ? Number.POSITIVE_INFINITY : spec.vectorCount);
  const of = views.filter((view) => view.kind === kind);
  const better = (one: TierView, best: TierView): boolean =>
    one.spec.baseline === best.spec.baseline ? size(one) > size(best) : one.spec.baseline;
  return of.reduce<TierView | null>((best, view) => (best === null || better(view, best) ? view : best), null);
}

/** Tiers that a study is compared on with its twins and yardsticks, null where the protocol has none. */
export interface HeadlineTiers {
  /** detection on held-out vectors */
  heldOut: string;
  /** control questions on the same caches */
  controls: string | null;
  /** clean trials: false alarms, from the most topics */
  clean: string | null;
}

/**
 * The tiers that summaries of a whole study rest on, by what they hold out.
 *
 * A twin trained on other words (neutral, vague, unrelated) is asked what the study is asked: to it, these are new wordings.
 * @throws InputError "tier-unknown" if none asks for detection on held-out vectors
 */
export function headlineTiers(protocol: Protocol): HeadlineTiers {
  const views = tierViews(protocol);
  const newVectors = views.filter(
    ({ spec, heldOut }) => spec.vectors === "heldOut" && heldOut.strengths === false && heldOut.ranges === false,
  );
  const heldOut = mainTier(views, "vectors") ?? mainTier(newVectors, "wordings");
  if (heldOut === null)
    throw new InputError(
      "tier-unknown",
      expected(
        "a tier with vectors heldOut, trained strengths and ranges, and no explanation",
        "evaluation.tiers",
        "none",
      ),
    );
  const controls = views.find(({ kind, spec }) => kind === "control" && spec.cachesOf === heldOut.name);
  return { heldOut: heldOut.name, controls: controls?.name ?? null, clean: mainTier(views, "clean")?.name ?? null };
}
