/** The steerlab command: batch, score, train, report, doctor and the rest. */
export { indexPage } from "./batch/index-page";
export { type BatchOptions, type NotebookBatch, runBatch } from "./batch";
export { cellsFromLog, failureFromLog, yamlOf } from "./batch/papermill";
export { afterNeeded, notebookPath, notTaken, planJobs } from "./batch/plan";
export type { NotebookRecord } from "./batch/records";
export { decidersOf, whyAgain } from "./batch/unchanged";
export { batchReporter, batchSecondsLeft } from "./batch/reporter";
export { diagnose, findingLine } from "./doctor";
export {
  atLeast,
  checkKernelspec,
  checkLabModel,
  checkNode,
  checkPython,
  cudaFinding,
  type Finding,
  type FindingLevel,
} from "./doctor/checks";
export { engineOptions } from "./engine-flags";
export {
  type Arguments,
  type CommandTable,
  type Flag,
  type FlagValues,
  helpOf,
  parseArguments,
  wantsText,
} from "./flags";
export { readLines } from "./lines";
export { main } from "./main";
export { parametersOf } from "./parameters";
export { adapterPlace, refuseToOverwriteInput, reportRuns } from "./places";
export { publish } from "./publish";
export { report } from "./report";
export { score, scoreTrials } from "./score";
export { stopOnSignals } from "./signals";
export { BATCH, DEFAULT_NOTEBOOKS, REPORT, SCORE, TRAIN } from "./tables";
export { train } from "./train";
export { parseTrial, type ScoreTrial } from "./trial-lines";
