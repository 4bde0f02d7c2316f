/** What is drawn on a page: the offline HTML shell, tables as HTML and text, figures as pictures. Knows nothing of studies. */
export { escapeHtml, scriptJson } from "./escape";
export { DRAWN_TRACES, type FigureJson, plainFigure, undrawnTraces } from "./figure";
export {
  contentSecurityPolicy,
  figureSlot,
  type PageFigure,
  type PageOptions,
  renderPage,
} from "./page";
export { FigureCollector } from "./figure-collector";
export { renderMarkdown } from "./markdown";
export { formatEstimate, formatInterval, formatNumber, type Quoted, UNKNOWN } from "./number";
export { figureToPng, figureToSvg, type PngOptions, validateFigure } from "./png";
export { fontFiles } from "./png/fonts";
export { pathPoints, pointAlong } from "./png/measure";
export { apply, compose, parseTransform } from "./png/transform";
export { formatCell, isTableLike, tableHtml, type TableLike, type TableOptions, tableText } from "./table";
