/** One page over the rows of a study and its twins; what `steerlab twins` writes beside the runs. */
import type { TwinRow } from "../evaluate";
import { escapeHtml, renderPage } from "../page";
import type { Metric } from "../runs";
import { FigureList } from "./html";
import { twinsSection, yardsticksSection } from "./twins-part";

/**
 * The page as HTML: reading, figure and table; the yardsticks of the study if their metrics are given.
 * @example
 * writeFileSync("twins.html", twinsPage(rows, { title: "Twins of strict on the lab model" }));
 */
export function twinsPage(
  rows: readonly TwinRow[],
  { title, yardsticks = [] }: { title: string; yardsticks?: readonly Metric[] },
): string {
  const figures = new FigureList();
  const measured = yardsticks.length === 0 ? "" : `\n${yardsticksSection(yardsticks, title)}`;
  const bodyHtml = `<h1>${escapeHtml(title)}</h1>\n${twinsSection(rows, figures, title)}${measured}`;
  const runs = new Set(rows.flatMap(({ folders }) => folders)).size;
  return renderPage({ title, bodyHtml, figures: figures.figures, footer: `Made by steerlab from ${runs} runs.` });
}
