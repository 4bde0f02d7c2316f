/** The steerlab command: batch, score, train, report, doctor and the rest. */
export { type BatchOptions, DEFAULT_NOTEBOOKS, type NotebookBatch, notebookPath, runBatch } from "./batch";
export { cellsFromLog, failureFromLog } from "./batch/papermill";
export type { NotebookRecord } from "./batch/records";
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
export { backendOptions, flagsOf, otherBase, refuseToOverwriteInput, required, wholeNumber } from "./flags";
export { readLines } from "./lines";
export { score, scoreTrials } from "./score";
export { stopOnSignals } from "./signals";
export { train } from "./train";
export { readTrial, type ScoreTrial } from "./trial-lines";
