/** Arrays in, numbers out: intervals, tests, detectability, psychometric fits. Knows nothing of models or runs. */
export { auroc, clusteredAuroc, midranks, type ScoreSample } from "./auroc";
export {
  type BootstrapOptions,
  clusterBootstrap,
  crossedBootstrap,
  percentileInterval,
  sortedQuantile,
} from "./bootstrap";
export {
  type ClusteredEstimate,
  clusteredMean,
  clusteredMeanTest,
  clusteredRate,
  type ClusterOptions,
  type ClusterSample,
} from "./clustered";
export {
  clusteredBalancedAccuracy,
  clusteredDifference,
  clusteredGap,
  clusteredInteraction,
  type DetectionSample,
} from "./contrast";
export {
  type ClusterAxes,
  type ClusterLabel,
  designEffect,
  intraclassCorrelation,
  kish,
  MIN_CLUSTERS,
} from "./clusters";
export { clusteredDPrime, criterion, dPrime, type RateCorrection } from "./detectability";
export { DEFAULT_LEVEL, type Estimate, type TestResult } from "./estimate";
export { type LargestRate, largestRate } from "./largest";
export { fitLogistic, type LogisticFit } from "./logistic";
export { differences, mean } from "./mean";
export { type NoiseFloor, noiseFloor } from "./noise";
export {
  type PlannedDesign,
  type DetectableRate,
  detectableDifference,
  detectableRate,
  type PlannedAxis,
} from "./power";
export { type PredictiveValues, predictiveValues } from "./predictive";
export { balancedAccuracy, clopperPearson, type DetectionCounts, rateDifference, wilson } from "./proportion";
export { fitPsychometric, type PsychometricFit, type PsychometricOptions, type StrengthCount } from "./psychometric";
export {
  betaQuantile,
  incompleteBeta,
  logGamma,
  normalCdf,
  normalQuantile,
  studentCdf,
  studentQuantile,
} from "./special";
export { type StrengthTrial, type ThresholdEstimate, thresholdInterval } from "./threshold";
export { type ArrangementOptions, benjaminiHochberg, mcnemar, permutationTest, signFlipTest } from "./hypothesis";
export { type AimBounds, type Verdict, verdict } from "./verdict";
