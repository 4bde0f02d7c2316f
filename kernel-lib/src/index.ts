/** steerlab: steer, remove, ask. What a notebook or a user's script needs, room by room; the rest stays behind the rooms' doors. */

// base: errors with stable codes, to catch
export { AbortedError, DataError, DeviceError, InputError, SteerlabError } from "./base";

// stats: intervals for shares of your own, whose trials share what was sampled
export { type ClusterAxes, type ClusteredEstimate, type ClusterOptions, clusteredRate } from "./stats";

// page: what tables and figures are
export type { FigureJson, Quoted, TableLike, TableOptions } from "./page";

// checkpoint: what a model consists of
export type { ChatTemplate, ChatTurn, Checkpoint, EncodedChat, ModelConfig, Tokenizer } from "./checkpoint";

// engine: open a model, prefill, ask, attach adapters; the same trials on onnxruntime
export {
  type Adapter,
  type Answer,
  type AttachOptions,
  type Cache,
  crossCheck,
  type CrossCheckModel,
  type CrossCheckOptions,
  type CrossCheckRow,
  type Engine,
  type Model,
  type ModelOptions,
  openModel,
  type Steering,
  type StudyModel,
} from "./engine";

// steering: directions by contrast from concepts, from files, at random; how far they push
export {
  absoluteSteering,
  type ConceptVectorOptions,
  conceptVectors,
  type DirectionSet,
  geometry,
  type Geometry,
  type LayerRange,
  type NamedDirection,
  namedDirections,
  randomDirectionSet,
  readDirections,
  type ReadDirectionsOptions,
  relativeSteering,
  writeDirections,
} from "./steering";

// study: a protocol as data, its tiers and twins, its binding to a model, its trials, the checks before a run
export {
  bindStudy,
  type BoundStudy,
  lintPrompts,
  listProtocols,
  loadProtocol,
  mainTier,
  type PlannedTrial,
  planTrials,
  preflight,
  type Preflight,
  type PromptLint,
  type Protocol,
  protocolHash,
  protocolLabel,
  protocolOf,
  type QuestionSplit,
  renderProtocol,
  requirePrompts,
  saveProtocol,
  strengthScale,
  type StrengthScale,
  type StudyContext,
  type StudyQuestion,
  type TierKind,
  type TierPower,
  type TierView,
  tierViews,
  type TrialRecord,
  twin,
  TWINS,
} from "./study";

// runs: run folders, the figures in them against the aims, and finding earlier ones
export {
  type AdapterChoice,
  adapterRun,
  type AdapterRun,
  type AdapterRuns,
  aimBounds,
  aimMeasured,
  type AimResult,
  aimVerdict,
  findMetrics,
  findRun,
  finishedRuns,
  type Metric,
  quote,
  type RunFolder,
  type RunMatch,
  type RunMeta,
  runOrigin,
  type RunOrigin,
  runsFolder,
  runsOfAdapter,
  runsSideBySide,
  startedAt,
} from "./runs";

// train: train a detector
export {
  type DetectorTraining,
  type StepChoice,
  trainDetector,
  type TrainDetectorOptions,
  type TrainEvent,
  type ValidationEvent,
} from "./train";

// evaluate: look at the machine, then measure: detection, side effects, identity, self-prediction, self-report
export {
  AIM_WORDS,
  askFacts,
  type ChatOptions,
  type ChatRecord,
  checkSteerRemoveAsk,
  type DetectionOptions,
  doseByHand,
  type DoseRow,
  evaluateChats,
  evaluateDetection,
  evaluateIdentity,
  evaluateProbe,
  evaluateSelfPrediction,
  evaluateSelfReport,
  evaluateSideEffects,
  type EvaluationRun,
  type Fact,
  type FactAnswer,
  type IdentityOptions,
  type IdentityRecord,
  type ProbeOptions,
  type ProbeRecord,
  type PsychometricCurve,
  psychometricCurves,
  runTwins,
  type SelfPredictionOptions,
  type SelfPredictionRecord,
  type SelfReportOptions,
  type SelfReportRecord,
  type SideEffectOptions,
  type SideEffectRecord,
  type SteerRemoveAskCheck,
  type TwinEstimate,
  type TwinRates,
  type TwinWork,
  type TwinRow,
  type TwinsOptions,
} from "./evaluate";

// report: plots, tables, the report and the adapter's card
export {
  awarenessReading,
  conceptHeatmap,
  type DanfoFrame,
  type DataTable,
  detectionHeatmap,
  doseCurves,
  falseAlarmForest,
  fromDanfo,
  identityForest,
  identityTable,
  type LoadedRun,
  loadRun,
  metricsTable,
  namesReading,
  type PlotOptions,
  psychometricPlot,
  type PublishedCard,
  questionForest,
  readPublishedCard,
  type ReportOptions,
  selfPredictionForest,
  selfReportReading,
  sideBySideBars,
  type SideBySideSeries,
  sideEffectForest,
  sideEffectFormats,
  sideEffectQuestions,
  sideEffectsTable,
  strengthTitle,
  tierReading,
  toDanfo,
  trainingCurves,
  trialsTable,
  twinsFigure,
  twinsReading,
  twinsTable,
  writeAdapterCard,
  writeReport,
  yardsticksTable,
} from "./report";

// notebook: show results, progress and figures in a cell; the stop button
export {
  declareResult,
  type DisplayHandle,
  interruptSignal,
  type NotebookResult,
  type ProgressOptions,
  showFigure,
  showHtml,
  showMarkdown,
  showProgress,
  showTable,
  withProgress,
} from "./notebook";

// command: what this machine has and lacks
export { diagnose, type Finding } from "./command";
