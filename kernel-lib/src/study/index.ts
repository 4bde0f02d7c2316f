/** A protocol as data, its prompts, its binding to a model, the plan of trials and the checks before a run. */
export { bindStudy, BoundStudy } from "./bind";
export { type PlannedTrial, planTrials } from "./plan";
export { ASSUMED_ICC, axesOf, clusterText, planPower, type TierPower } from "./power";
export {
  DEFAULT_BATCH,
  lintPrompts,
  prefixKey,
  preflight,
  Preflight,
  type PromptLint,
  requirePrompts,
} from "./preflight";
export {
  type ContextSplit,
  type DetectionQuestions,
  type IdentityQuestion,
  type PropertyTest,
  type QuestionKind,
  type QuestionSplit,
  type RetentionTexts,
  readContexts,
  readControlQuestions,
  readDetectionQuestions,
  readHeldOutChats,
  readIdentityQuestions,
  readSelfReport,
  type SelfReportQuestions,
  readInfoPrompt,
  readRetention,
  readSelfPrediction,
  readSideEffectQuestions,
  type SelfPredictionTasks,
  type SideEffectQuestion,
  type SideEffectQuestions,
  type StudyContext,
  type StudyQuestion,
} from "./prompts";
export { olderProtocolLabel, type ProtocolChange, protocolChanges, protocolLabel } from "./protocol-label";
export {
  listProtocols,
  loadProtocol,
  protocolHash,
  protocolOf,
  saveProtocol,
  shippedProtocols,
  twin,
  TWINS,
} from "./protocol";
export type { Trial, TrialRecord } from "./record";
export { renderProtocol } from "./render";
export type { Sizing } from "./sizing";
export { strengthScale, type StrengthScale } from "./scale";
export {
  type HeadlineTiers,
  headlineTiers,
  type HeldOut,
  heldOutBy,
  isCleanTier,
  isControlTier,
  mainTier,
  type TierKind,
  type TierView,
  tierViews,
} from "./tier";
export { defaultTwins, namedTwin, relabelled } from "./twins";
export type {
  Aim,
  Control,
  ConversationSpec,
  EarlyStop,
  EvaluationSpec,
  LoraSpec,
  LossKind,
  OptimizerSpec,
  Protocol,
  SteeringSpec,
  StrengthUnit,
  TierSpec,
  TrainingSpec,
  VectorSplit,
} from "./types";
