/** A run folder, where its numbers come from, its metrics with n, interval and method, and finding earlier runs. */
export { AdapterRun, adapterRun, type AdapterChoice } from "./adapter-run";
export {
  type AdapterRuns,
  findRun,
  finishedRuns,
  type RunMatch,
  runsFolder,
  runsOfAdapter,
  runsSideBySide,
} from "./find";
export { runMeta, type RunMeta, shortName } from "./meta";
export {
  adjusted,
  type AimResult,
  type Evidence,
  findMetrics,
  type Metric,
  metricOf,
  quote,
  readSummary,
  type RunSummary,
  writeSummary,
} from "./metrics";
export {
  createRunFolder,
  openRunFolder,
  type RunFolder,
  runFoldersBelow,
  runStamp,
  type RunStatus,
  slugify,
} from "./run-folder";
export { identityDifferences, requireSameRun, type RunIdentity, runIdentity } from "./identity";
export { type RunOrigin, runOrigin, startedAt, trainingRunOf, trainingTitle } from "./origin";
export { aimBounds, aimMeasured, aimVerdict, type VerdictTone, verdictTone } from "./verdict";
