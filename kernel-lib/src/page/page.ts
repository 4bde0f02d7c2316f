/**
 * The shell of every HTML page we write: one self-contained file that opens with the network off.
 *
 * Body HTML and plotly figures in, a complete page out: style inlined, plotly inlined once (only if there are figures),
 * figure data in inert JSON blocks. A Content-Security-Policy allows exactly the two scripts we put in, by SHA-256, and
 * nothing from anywhere else, so that text which slips through an escape still cannot run or phone home.
 * Used by report/report.ts, notebook/pages.ts and batch. Body HTML is trusted: build it with `escapeHtml`.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expected, InputError } from "../base";
import { withContents } from "./contents";
import { escapeHtml, scriptJson } from "./escape";
import { type FigureJson, plainFigure, requireDrawn } from "./figure";
import { MOUNT_SCRIPT } from "./mount";
import { PAGE_CSS } from "./style";

/** A figure of a page: `id` names the slot that `figureSlot(id)` put into the body. */
export interface PageFigure {
  id: string;
  figure: FigureJson;
}

/** What `renderPage` needs. */
export interface PageOptions {
  /** Plain text; shown in the tab and escaped here. The body brings its own h1. */
  title: string;
  /** Trusted HTML of the page's main part. */
  bodyHtml: string;
  figures?: ReadonlyArray<PageFigure>;
  /** Plain text under the page: when and from what it was made. */
  footer?: string;
  /** Language of the text, default "en". */
  language?: string;
}

const SLOT_ID = /^[A-Za-z][A-Za-z0-9_-]*$/;

/**
 * The place in a body where a figure will stand, with text for readers who see no plot.
 *
 * @param id letters, digits, `-`, `_`; unique within the page
 * @param label plain text that says what the figure shows
 * @param height CSS pixels, default 420
 * @throws InputError "figure-id" if `id` is not a plain identifier
 * @example
 * const body = figureSlot("loss", "Training loss by step") + "<p>It falls.</p>";
 */
export function figureSlot(id: string, label: string, height = 420): string {
  checkId(id);
  const style = `height:${Math.round(height)}px`;
  const note = `<p class="missing">${escapeHtml(label)} (the plot needs JavaScript).</p>`;
  return `<div class="plot" id="${id}" role="img" aria-label="${escapeHtml(label)}" style="${style}">${note}</div>`;
}

/**
 * A complete HTML page as text; the same options always give the same bytes.
 *
 * @throws InputError "figure-slot" if a figure has no slot in the body, or two figures share an id;
 *   DataError "figure-traces" if a figure has traces that the page's plotly cannot draw
 * @example
 * const html = renderPage({
 *   title: "Run 7",
 *   bodyHtml: `<h1>Run 7</h1>${figureSlot("loss", "Loss by step")}`,
 *   figures: [{ id: "loss", figure: { data: [{ type: "scatter", y: [2, 1] }] } }],
 * });
 */
export function renderPage(options: PageOptions): string {
  const figures = options.figures ?? [];
  checkFigures(figures, options.bodyHtml);
  const scripts = figures.length === 0 ? [] : [plotlySource(), MOUNT_SCRIPT];
  const blocks = figures.map(({ id, figure }) => {
    return `<script type="application/json" data-for="${id}">${scriptJson(plainFigure(figure))}</script>`;
  });
  return [
    "<!DOCTYPE html>",
    `<html lang="${escapeHtml(options.language ?? "en")}">`,
    "<head>",
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy(scripts)}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="referrer" content="no-referrer">',
    '<link rel="icon" href="data:,">',
    `<title>${escapeHtml(options.title)}</title>`,
    `<style>${PAGE_CSS}</style>`,
    "</head>",
    "<body>",
    "<main>",
    withContents(options.bodyHtml),
    options.footer === undefined ? "" : `<footer>${escapeHtml(options.footer)}</footer>`,
    "</main>",
    ...blocks,
    ...scripts.map((source) => `<script>${source}</script>`),
    "</body>",
    "</html>",
    "",
  ].join("\n");
}

/**
 * The policy for a page whose only scripts are `scripts`: each allowed by its SHA-256, everything else forbidden.
 * Styles may be inline (plotly writes its own), images only as data.
 */
export function contentSecurityPolicy(scripts: ReadonlyArray<string>): string {
  const hashes = scripts.map((source) => `'sha256-${createHash("sha256").update(source, "utf8").digest("base64")}'`);
  const scriptSources = hashes.length === 0 ? "'none'" : hashes.join(" ");
  const base = `default-src 'none'; script-src ${scriptSources}; style-src 'unsafe-inline'; img-src data: blob:`;
  return `${base}; font-src data:; base-uri 'none'; form-action 'none'`;
}

let cachedPlotly: string | null = null;

/** Text of the plotly bundle that pages inline; read once per process. */
function plotlySource(): string {
  if (cachedPlotly === null) {
    const source = readFileSync(require.resolve("plotly.js-cartesian-dist-min"), "utf8");
    // An HTML parser turns CRLF into LF before hashing, and ends a script at the first closing tag it sees.
    const normalised = source
      .replace(/\r\n?/g, "\n")
      .replace(/<\/(script)/gi, "<\\/$1")
      .replace(/<!--/g, "<\\!--");
    cachedPlotly = normalised.trim();
  }
  return cachedPlotly;
}

function checkId(id: string): void {
  if (SLOT_ID.test(id)) return;
  throw new InputError("figure-id", expected("letters, digits, - or _", "a figure id", id, "Start it with a letter."));
}

function checkFigures(figures: ReadonlyArray<PageFigure>, bodyHtml: string): void {
  const seen = new Set<string>();
  for (const { id, figure } of figures) {
    checkId(id);
    requireDrawn(figure, "a page");
    if (seen.has(id)) throw new InputError("figure-slot", expected("unique figure ids", "renderPage", id));
    seen.add(id);
    if (!bodyHtml.includes(`id="${id}"`)) {
      const remedy = `Put figureSlot("${id}", ...) into bodyHtml.`;
      throw new InputError("figure-slot", expected("a slot for every figure", "bodyHtml", id, remedy));
    }
  }
}
