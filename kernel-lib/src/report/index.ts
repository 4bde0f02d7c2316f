/** Run folders in, tables, plots, HTML reports and the adapter's card out. Opens no model. */
export { adapterCard, type CardNames, cardOfRuns, refusePlaceholders, writeAdapterCard } from "./card";
export { type MeasuredAdapter, measuredAdapters } from "./claims/figures";
export { type Claim, type ClaimVerdict, judge, type JudgedClaim } from "./claims/judge";
export { claimsOf } from "./claims/list";
export { limitsOf } from "./limits";
export { type LoadedRun, loadRun } from "./load";
export { calibrationPlot } from "./plots/calibration";
export { conceptHeatmap } from "./plots/concept-heatmap";
export { detectionHeatmap } from "./plots/detection-heatmap";
export { doseCurves } from "./plots/dose";
export { falseAlarmForest } from "./plots/false-alarms";
export { psychometricPlot } from "./plots/psychometric";
export { sideBySideBars, type SideBySideSeries } from "./plots/published";
export { identityForest, selfPredictionForest } from "./plots/self-knowledge";
export { questionForest, sideEffectForest } from "./plots/side-effect-forest";
export { type PlotOptions, strengthTitle } from "./plots/theme";
export { trainingCurves } from "./plots/training";
export { twinsFigure } from "./plots/twins";
export { type PublishedCard, publishedEstimates, readPublishedCard } from "./published";
export { type TwinStudy, twinsReading, twinsTable, twinStudiesOf, yardsticksTable } from "./twins-part";
export { twinsPage } from "./twins-page";
export { buildPublication, type Publication } from "./publication";
export { sideEffectFormats } from "./side-effect-formats";
export { buildReport, renderReport, type ReportOptions, writeReport } from "./report";
export { awarenessReading, namesReading, selfReportReading } from "./self-report";
export {
  conceptTable,
  type DataTable,
  identityTable,
  metricsTable,
  sideEffectQuestions,
  sideEffectsTable,
  tableOf,
  tierNumbers,
  type TierNumbers,
  tierReading,
  tierTable,
  trialsTable,
} from "./tables";
export { type DanfoFrame, type DanfoSeries, fromDanfo, toDanfo } from "./danfo";
