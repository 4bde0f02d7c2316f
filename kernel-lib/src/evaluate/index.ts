/** Plan, ask, record, summarise: detection, side effects, identity, self-prediction. */
export { AIM_WORDS, aimResults, subjectOf } from "./aims";
export { type ChatOptions, evaluateChats } from "./chats";
export { chatMetrics } from "./chats/metrics";
export type { ChatRecord } from "./chats/record";
export { type DetectionOptions, evaluateDetection, VECTOR_FILES } from "./detection";
export { askTrials, trialBatches } from "./detection/ask";
export { asksDetection } from "./detection/controls";
export { countsOf, groupBy } from "./detection/counts";
export { ALL_TIERS } from "./detection/distinct";
export { PRIORS } from "./detection/metrics";
export { summariseDetection } from "./detection/summary";
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
export { evaluateIdentity, type IdentityOptions } from "./identity";
export { type AnswerReading, type InnerLife, parseAnswer, yesOrNo } from "./identity/classify";
export { identityMetrics, isOnlyYesNo } from "./identity/metrics";
export type { IdentityRecord } from "./identity/record";
export { evaluateProbe, type ProbeOptions } from "./probe";
export { fitProbe, type FittedProbe, type LabelledStates, type ProbeScores, type State } from "./probe/fit";
export { probeMetrics } from "./probe/metrics";
export type { ProbeRecord } from "./probe/record";
export { packRun } from "./pack";
export { EVALUATION_KINDS, type EvaluationKind, readRecords, RECORD_FILES, type RecordOf } from "./records";
export { type EvaluateOptions, type Evaluation, EvaluationRun, type Planned, runEvaluation } from "./runner";
export { evaluateSelfPrediction, type SelfPredictionOptions } from "./self-prediction";
export { hasProperty } from "./self-prediction/ask";
export { selfPredictionMetrics } from "./self-prediction/metrics";
export type { SelfPredictionRecord } from "./self-prediction/record";
export { evaluateSelfReport, type SelfReportOptions } from "./self-report";
export { selfReportMetrics } from "./self-report/metrics";
export type { QuestionForm, SelfReportRecord } from "./self-report/record";
export { evaluateSideEffects, type SideEffectOptions } from "./side-effects";
export { seedNoise, sideEffectMetrics } from "./side-effects/metrics";
export { type EffectFormat, type SideEffectRecord, singleTurns } from "./side-effects/record";
export { type Summary, summarise, summariseAll } from "./summaries";
export { runTwins, type TwinsOptions } from "./twins";
export { estimateTwins, type TwinArm, TwinEstimate, type TwinRates, type TwinWork } from "./twins/estimate";
export { STUDY, twinRow, type TwinRow } from "./twins/row";
