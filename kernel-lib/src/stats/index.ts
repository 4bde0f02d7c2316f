/** Arrays in, numbers out: intervals, tests, detectability, psychometric fits. Knows nothing of models or runs. */
export { auroc, midranks } from "./auroc";
export {
  type BootstrapOptions,
  clusterBootstrap,
  clusterMean,
  pairedBootstrap,
  percentileInterval,
  sortedQuantile,
} from "./bootstrap";
export { criterion, dPrime, type RateCorrection } from "./detectability";
export { DEFAULT_LEVEL, type Estimate, type TestResult } from "./estimate";
export { type ArrangementOptions, benjaminiHochberg, mcnemar, permutationTest, signFlipTest } from "./hypothesis";
export { differences, mean, pairedMeanDifference } from "./mean";
export { balancedAccuracy, clopperPearson, type DetectionCounts, rateDifference, wilson } from "./proportion";
export {
  fitPsychometric,
  type PsychometricFit,
  type PsychometricOptions,
  type StrengthCount,
  type StrengthTrial,
  thresholdInterval,
} from "./psychometric";
export { betaQuantile, incompleteBeta, logGamma, normalCdf, normalQuantile, studentQuantile } from "./special";
