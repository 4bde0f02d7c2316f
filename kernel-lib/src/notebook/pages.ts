/**
 * An executed notebook as one self-contained HTML page: prose, folded code, outputs, plots that can be zoomed.
 *
 * notebook-html/file.ts reads, outputs.ts turns outputs into HTML, page.ts makes the page. Opens with the network off;
 * every text of the notebook is escaped, HTML outputs are sanitised. Used by batch; does not run anything.
 */

import { escapeHtml, FigureCollector, renderMarkdown, renderPage } from "../page";
import { errorsOf, headingOf, joined, type NotebookCell, type NotebookFile, readNotebookFile } from "./pages/file";
import { joinStreams, outputHtml } from "./pages/outputs";
import { formatDuration } from "./progress/estimate";

/** What the page says besides the notebook itself. */
export interface NotebookHtmlOptions {
  /** Shown in the tab; default the first heading. */
  title?: string;
  /** Plain text under the page, such as the file it was made from. */
  footer?: string;
  /** Trusted HTML above the notebook, such as a link back to the index. */
  headerHtml?: string;
}

// papermill marks the place of a failure with cells of its own; this page has a better mark.
const PAPERMILL_MARK = "papermill-error-cell-tag";

/**
 * The page for a notebook file's content.
 *
 * @example
 * writeFileSync("01-train.html", notebookToHtml(readNotebook("01-train.ipynb")));
 */
export function notebookToHtml(file: NotebookFile, options: NotebookHtmlOptions = {}): string {
  const figures = new FigureCollector();
  const cells = file.cells.filter(({ metadata }) => !(metadata?.tags ?? []).includes(PAPERMILL_MARK));
  const body = cells.map((cell) => cellHtml(cell, figures)).join("\n");
  const title = options.title ?? headingOf(file) ?? "Notebook";
  const heading = headingOf(file) === null ? `<h1>${escapeHtml(title)}</h1>` : "";
  return renderPage({
    title,
    bodyHtml: [options.headerHtml ?? "", heading, summaryHtml(file), body].join("\n"),
    figures: figures.figures,
    footer: options.footer,
  });
}

/** Reads an executed notebook. @throws DataError "notebook" if it is missing or damaged */
export function readNotebook(path: string): NotebookFile {
  return readNotebookFile(path);
}

function summaryHtml(file: NotebookFile): string {
  const errors = errorsOf(file);
  const duration = file.metadata.papermill?.duration;
  const badge =
    errors.length === 0 ? '<span class="badge good">no errors</span>' : '<span class="badge bad">failed</span>';
  const time = typeof duration === "number" ? ` <span class="soft">ran ${formatDuration(duration)}</span>` : "";
  const where = errors.length === 0 ? "" : ' <a href="#error">to the error</a>';
  return `<p>${badge}${time}${where}</p>${parametersHtml(file.metadata.papermill?.parameters ?? {})}`;
}

function parametersHtml(parameters: Record<string, unknown>): string {
  const rows = Object.entries(parameters).map(
    ([name, value]) =>
      `<tr><th>${escapeHtml(name)}</th><td><code>${escapeHtml(JSON.stringify(value))}</code></td></tr>`,
  );
  if (rows.length === 0) return "";
  return `<details><summary>Parameters given</summary><div class="scroll"><table><tbody>${rows.join("")}</tbody></table></div></details>`;
}

function cellHtml(cell: NotebookCell, figures: FigureCollector): string {
  if (cell.cell_type === "markdown") return `<div class="prose">${renderMarkdown(joined(cell.source))}</div>`;
  if (cell.cell_type !== "code") return `<pre>${escapeHtml(joined(cell.source))}</pre>`;
  const source = joined(cell.source);
  const outputs = joinStreams(cell.outputs ?? []);
  const failed = outputs.some(({ output_type }) => output_type === "error");
  if (source.trim() === "" && outputs.length === 0) return "";
  const rendered = outputs.map((output) => outputHtml(output, figures)).filter((html) => html !== "");
  const number = cell.execution_count ?? " ";
  const code = `<details${failed ? " open" : ""}><summary>Code [${number}]</summary><pre><code>${escapeHtml(source)}</code></pre></details>`;
  const anchor = failed ? ' id="error"' : "";
  return `<div class="cell"${anchor}>${code}${rendered.map((html) => `<div class="output">${html}</div>`).join("")}</div>`;
}
