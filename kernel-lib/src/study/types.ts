/**
 * A study as data: what is asked, in which contexts, with which steering, how it is trained, and what is measured.
 *
 * A `Protocol` is resolved: prompt files are read into it, so that it stands alone in a run folder and its hash names
 * everything that can change a number except the model. Positive class = steered.
 */
import type { Projection } from "../checkpoint";
import type { LayerRange } from "../steering";
import type { Sizing } from "./sizing";
import type { ContextSplit, QuestionSplit, RetentionTexts, StudyContext, StudyQuestion } from "./prompts";

/** matched: random vectors with the lengths and angles of the concepts, their twin */
export type VectorSplit = "train" | "heldOut" | "concepts" | "matched";
/** centred: each concept's contrast minus the mean of all contrasts, then normalised. raw: normalised as it is, the card's way. */
export type ConceptForm = "centred" | "raw";
/** distribution: divergence from the base's own distribution over the whole vocabulary. answers: the base's own yes or no as a label. */
export type RetentionForm = "distribution" | "answers";
/** absolute: L2 length, the same at every layer. relative: fraction of each layer's mean residual norm. */
export type StrengthUnit = "absolute" | "relative";
/** pair: cross-entropy over the two labels. full: over the vocabulary. pair+mass: pair - massWeight * log mass. */
export type LossKind = "pair" | "full" | "pair+mass";
/** What a control twin does to the training labels; "none" is the study itself. */
export type Control = "none" | "no-steer" | "flipped" | "deny" | "corrupt" | "unrelated";

export interface ConversationSpec {
  /** system turn of every conversation */
  system: string;
  /** start of the answer, no trailing space: the labels bring their own */
  assistantPrefix: string;
  /** one token each after the prefix */
  labels: { steered: string; clean: string };
  /** explanation put before the question in the info condition, or null */
  infoPrompt: string | null;
}

export interface SteeringSpec {
  /** "thirds" of the depth (see `layerThirds`) or explicit half-open ranges */
  ranges: "thirds" | LayerRange[];
  unit: StrengthUnit;
  /** trained and evaluated, in `unit` */
  magnitudes: number[];
  /** evaluated only */
  heldOutMagnitudes: number[];
  /** seeded random unit vectors: [0, train) are trained on, [train, train + heldOut) never */
  vectors: { train: number; heldOut: number; seed: number };
  concepts: ConceptForm;
}

export interface LoraSpec {
  r: number;
  alpha: number;
  dropout: number;
  targetModules: Projection[];
}

/** Ordinary conversations among the training examples, so that the rest of the model stays. */
export interface RetentionSpec {
  /** share of the examples; 0 = none */
  share: number;
  /** of those, questions asked after a steered or clean context instead of as a first turn */
  onCaches: number;
  /** of those, short chats, compared at every token of the reply (form "distribution" only) */
  chats: number;
  form: RetentionForm;
  /** factor of their loss */
  weight: number;
}

export interface OptimizerSpec {
  lr: number;
  betas: [number, number];
  eps: number;
  weightDecay: number;
  /** clip at this global norm; 0 = no clipping */
  maxGradNorm: number;
}

export interface TrainingSpec {
  /** examples generated, validation included */
  examples: number;
  /** share kept for validation, 0..0.5 */
  validationShare: number;
  /** share of examples that are steered, 0..1; the label-balance gate wants 0.4..0.6 */
  steeredShare: number;
  questions: QuestionSplit;
  /** replies 0..trainReplies-1 of each topic are trained on, the others held out */
  trainReplies: number;
  control: Control;
  /** control "corrupt": share of labels that are flipped */
  corruptShare: number;
  loss: LossKind;
  /** weight of -log mass in "pair+mass" */
  massWeight: number;
  retention: RetentionSpec;
  lora: LoraSpec;
  optimizer: OptimizerSpec;
  /** linear warm-up, then linear decay to 0 at the end of scheduleEpochs */
  warmupSteps: number;
  scheduleEpochs: number;
  /** training stops here; may be less than scheduleEpochs */
  epochs: number;
  batch: number;
  validateEvery: number;
  checkpointEvery: number;
  /** stop with an error when the mean answer mass of 20 steps is below this; 0 = no guard */
  massGuard: number;
}

/** Which trials a tier is made of. Every steered cell is range x magnitude. */
export interface TierSpec {
  name: string;
  about: string;
  /** null: clean trials only */
  vectors: VectorSplit | null;
  /** how many of the split's vectors (0 = all); ignored for null */
  vectorCount: number;
  contexts: ContextSplit;
  /** which replies of those contexts */
  replies: "all" | "train" | "heldOut";
  /** contexts drawn per vector and cell */
  contextsPerCell: number;
  questions: QuestionSplit;
  /**
   * first: the split's first question; draw: one at random per trial; each: every one of them in turn, from another start for each
   * vector, so that every wording meets every cell
   */
  questionChoice: "first" | "draw" | "each";
  /** name of a tier whose caches (vectors, contexts, cells) are asked again here; null: caches of its own */
  cachesOf: string | null;
  magnitudes: "trained" | "heldOut";
  ranges: "trained" | "halves";
  /** clean trials: a number, "balanced" (as many as steered), or "all" distinct prompts of the tier */
  clean: number | "balanced" | "all";
  /** also ask the model without the adapter */
  baseline: boolean;
  /** put the info prompt before the question */
  infoPrompt: boolean;
}

export interface EvaluationSpec {
  seed: number;
  tiers: TierSpec[];
  /** seeded samples per identity question */
  identitySamples: number;
  /** a prompt whose two labels together have less than this before a run is refused */
  minimumMass: number;
}

/** A figure the study aims at; the report says where it falls short. */
export interface Aim {
  metric:
    | "balancedAccuracy"
    | "falseAlarmRate"
    | "worstWordingFalseAlarmRate"
    | "strongestHitRate"
    | "weakestHitRate"
    | "baselineBalancedAccuracy"
    | "selectivity"
    | "mass"
    | "answerFlips"
    | "deltaYes"
    | "onlyYesNo"
    | "chatDivergence";
  /** of the protocol; or side_effects, identity, chats where the metric is one of theirs */
  tier: string;
  least: number | null;
  most: number | null;
}

/** A whole study, resolved and validated. */
export interface Protocol {
  name: string;
  title: string;
  about: string;
  /** what this protocol was before a twin changed it, or null */
  twinOf: { name: string; changes: Record<string, unknown> } | null;
  /** the size of model that its numbers are for; null: nobody said */
  sizing: Sizing | null;
  conversation: ConversationSpec;
  contexts: StudyContext[];
  questions: StudyQuestion[];
  retention: RetentionTexts;
  steering: SteeringSpec;
  training: TrainingSpec;
  evaluation: EvaluationSpec;
  aims: Aim[];
}
