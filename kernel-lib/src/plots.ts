/**
 * Figures of a study: each a pure function of metrics, records or events, giving plotly JSON with plain arrays.
 *
 * Shown by display.ts in notebooks and by report.ts in pages. One file per figure in plots/, the common look in plots/theme.ts.
 */
export { calibrationPlot } from "./plots/calibration";
export { conceptHeatmap } from "./plots/concept-heatmap";
export { detectionHeatmap } from "./plots/detection-heatmap";
export { falseAlarmForest } from "./plots/false-alarms";
export { psychometricPlot } from "./plots/psychometric";
export { publishedBars, type SideBySideSeries, sideBySideBars } from "./plots/published";
export { identityForest, selfPredictionForest } from "./plots/self-knowledge";
export { questionForest, sideEffectForest } from "./plots/side-effect-forest";
export { trainingCurves } from "./plots/training";
export { strengthTitle } from "./plots/theme";
