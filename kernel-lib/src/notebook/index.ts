/** What a running notebook shows and is: tables, figures, progress, the stop button, the kernel, executed notebooks as pages. */
export {
  declareResult,
  displayBundle,
  type DisplayHandle,
  figureBundle,
  figureText,
  isFigure,
  type NotebookResult,
  PLOTLY_MIME,
  RESULT_MIME,
  showFigure,
  showHtml,
  showMarkdown,
  showTable,
  tableBundle,
} from "./display";
export type { KernelHost, MimeBundle } from "./host";
export { type InterruptRegistry, interruptSignal } from "./interrupt";
export {
  kernelInstall,
  type KernelPlace,
  startLab,
  userKernelFolder,
  venvEnvironment,
  venvFolder,
  venvProgram,
} from "./kernel";
export { type NotebookHtmlOptions, notebookToHtml } from "./pages";
export {
  cellsNotRun,
  declaredResult,
  type DeclaredResult,
  errorsOf,
  type NotebookCell,
  type NotebookFile,
  type NotebookOutput,
  parametersSource,
  readNotebook,
} from "./pages/file";
export { terminalText } from "./pages/outputs";
export { sanitiseHtml } from "./pages/sanitise";
export { type Progress, type ProgressOptions, QUIET_MS, showProgress, startProgress, withProgress } from "./progress";
export {
  addSample,
  formatDuration,
  type ProgressSample,
  type ProgressState,
  progressText,
  secondsLeft,
  WINDOW_MS,
  windowAfter,
} from "./progress/estimate";
export { fileSink, logSink, notebookSink, type ProgressSink, terminalSink } from "./progress/sinks";
