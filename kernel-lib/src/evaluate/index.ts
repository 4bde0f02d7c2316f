/** Plan, ask, record, summarise: detection, side effects, identity, self-prediction. */
export {
  DetectionEvaluation,
  DetectionSummary,
  evaluateDetection,
  type EvaluateOptions,
  namedDirections,
  summarizeDetection,
} from "./detection";
export { AIM_WORDS } from "./detection/aims";
export { clusterOf, countsOf, groupBy } from "./detection/counts";
export { type PsychometricCurve, psychometricCurves } from "./detection/thresholds";
export {
  askFacts,
  checkSteerRemoveAsk,
  doseByHand,
  type DoseRow,
  EASY_FACTS,
  type Fact,
  type FactAnswer,
  type SteerRemoveAskCheck,
} from "./first-look";
export type { EvaluationPlace } from "./folder";
export {
  evaluateIdentity,
  IdentityAnswers,
  identityMetrics,
  type IdentityOptions,
  type IdentityRecord,
  isOnlyYesNo,
  readIdentity,
} from "./identity";
export { type AnswerReading, type InnerLife, readAnswer } from "./identity/classify";
export {
  evaluateSelfPrediction,
  hasProperty,
  readSelfPredictions,
  SelfPrediction,
  type SelfPredictionOptions,
} from "./self-prediction";
export { selfPredictionMetrics } from "./self-prediction/metrics";
export type { SelfPredictionRecord } from "./self-prediction/record";
export {
  askSideEffects,
  evaluateSideEffects,
  readSideEffects,
  type SideEffectOptions,
  SideEffects,
  spellingIds,
} from "./side-effects";
export { sideEffectMetrics } from "./side-effects/metrics";
export type { SideEffectRecord } from "./side-effects/record";
export { readTrials, runTrials, type TrialRunOptions } from "./trials";
