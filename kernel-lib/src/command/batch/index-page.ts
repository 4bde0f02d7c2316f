/**
 * The index of a batch: one row per notebook with "ran" and "valid" apart, how long it took, links; whose numbers they are,
 * verdicts, the main figures, key numbers.
 *
 * Records and run folders in, HTML out; relative links only, so that the folder can be moved or sent.
 */

import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { formatDuration, readNotebook } from "../../notebook";
import { escapeHtml, formatCell, renderPage } from "../../page";
import { verdictTone } from "../../runs";
import { type GalleryPicture, mainPictures } from "./gallery";
import { type Provenance, provenanceOf } from "./provenance";
import type { NotebookRecord } from "./records";

const STATUS_CLASS = { ran: "good", failed: "bad", skipped: "warn", stopped: "warn" } as const;

function link(href: string, text: string): string {
  const encoded = href.split(/[\\/]/).map(encodeURIComponent).join("/");
  return `<a href="${escapeHtml(encoded)}">${escapeHtml(text)}</a>`;
}

function links(record: NotebookRecord, folder: string): string {
  const found: string[] = [];
  if (record.html !== null) found.push(link(record.html, "notebook"));
  if (record.outputNotebook !== null) found.push(link(record.outputNotebook, ".ipynb"));
  const report = record.run === null ? null : join(record.run, "report.html");
  if (report !== null && existsSync(report)) found.push(link(relative(folder, report), "run report"));
  return found.join(" · ");
}

function row(record: NotebookRecord, folder: string): string {
  const status = `<span class="badge ${STATUS_CLASS[record.status]}">${record.status}</span>`;
  const valid = record.valid ? '<span class="badge good">valid</span>' : '<span class="badge bad">not valid</span>';
  const time = record.seconds === null ? "n/a" : formatDuration(record.seconds);
  const name = record.html === null ? escapeHtml(record.name) : link(record.html, record.name);
  const reused = record.reused ? ' <span class="soft">(kept)</span>' : "";
  const cells = [name + reused, status, valid, time, links(record, folder)];
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
}

function details(record: NotebookRecord): string {
  const numbers = Object.entries(record.numbers);
  if (numbers.length === 0 && record.problems.length === 0) return "";
  const rows = numbers.map(
    ([label, value]) => `<tr><td>${escapeHtml(label)}</td><td class="value">${escapeHtml(formatCell(value))}</td></tr>`,
  );
  const problems = record.problems.map((problem) => `<div class="error">${escapeHtml(problem)}</div>`);
  const table = rows.length === 0 ? "" : `<div class="scroll"><table><tbody>${rows.join("")}</tbody></table></div>`;
  return `<h2>${escapeHtml(record.name)}</h2>${problems.join("")}${table}`;
}

/** A notebook with what its run folder says. */
interface Entry {
  record: NotebookRecord;
  origin: Provenance | null;
}

function tableOf(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = headers.map((name) => `<th>${escapeHtml(name)}</th>`).join("");
  const body = rows.map((cells) => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** Whose numbers: model, protocol, the adapter's run, seed and date of each notebook. */
function origins(entries: readonly Entry[]): string {
  const rows = entries.flatMap(({ record, origin }) => {
    if (origin === null) return [];
    const { model, protocol, adapter, seed, started } = origin;
    return [[record.name, model, protocol, adapter, seed, started].map(escapeHtml)];
  });
  const headers = ["Notebook", "Model", "Protocol", "Adapter", "Seed", "Started"];
  return rows.length === 0 ? "" : `<h2>Whose numbers</h2>${tableOf(headers, rows)}`;
}

function verdicts(entries: readonly Entry[]): string {
  const rows = entries.flatMap(({ record, origin }) =>
    [origin, ...(record.beside ?? []).map(provenanceOf)]
      .flatMap((of) => of?.verdicts ?? [])
      .map(({ what, aim, measured, verdict }) => {
        const badge = `<span class="badge ${verdictTone(verdict)}">${escapeHtml(verdict)}</span>`;
        return [...[record.name, what, aim, measured].map(escapeHtml), badge];
      }),
  );
  const headers = ["Notebook", "Figure", "Aim", "Measured", "Verdict"];
  return rows.length === 0 ? "" : `<h2>Verdicts</h2>${tableOf(headers, rows)}`;
}

function gallery(entries: readonly Entry[], folder: string): string {
  const items = entries.flatMap(({ record, origin }) => {
    const whose = origin === null ? "" : `${origin.model}; ${origin.adapter}; ${origin.protocol}, ${origin.seed}`;
    return picturesOf(record, folder).map(({ title, png }) => {
      const picture = `<img src="data:image/png;base64,${escapeHtml(png)}" alt="${escapeHtml(title)}">`;
      const page =
        record.html === null ? picture : `<a href="${escapeHtml(encodeURIComponent(record.html))}">${picture}</a>`;
      const caption = `${escapeHtml(`${record.name}: ${title}`)}<br><small>${escapeHtml(whose)}</small>`;
      return `<figure class="card" style="margin:0">${page}<figcaption>${caption}</figcaption></figure>`;
    });
  });
  const style = "grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr))";
  return items.length === 0 ? "" : `<h2>Main figures</h2><div class="cards" style="${style}">${items.join("")}</div>`;
}

function picturesOf({ outputNotebook }: NotebookRecord, folder: string): GalleryPicture[] {
  if (outputNotebook === null || !existsSync(join(folder, outputNotebook))) return [];
  try {
    return mainPictures(readNotebook(join(folder, outputNotebook)));
  } catch {
    return []; // damaged: the record says so
  }
}

/** The page that puts all runs together, if a notebook of this batch wrote one. */
function reportLink(folder: string): string {
  if (!existsSync(join(folder, "report.html"))) return "";
  return `<p class="lead">${link("report.html", "The report over all runs")}: findings, side-by-side, every cell, wording and question.</p>`;
}

/** The page; `folder` is where it will stand, links are relative to it. */
export function indexPage(records: ReadonlyArray<NotebookRecord>, folder: string, title: string): string {
  const valid = records.filter((record) => record.valid).length;
  const total = records.reduce((sum, { seconds }) => sum + (seconds ?? 0), 0);
  const head = ["Notebook", "Ran", "Valid", "Time", "Open"].map((name) => `<th>${name}</th>`).join("");
  const entries = records.map((record) => ({ record, origin: provenanceOf(record.run) }));
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="lead">${valid} of ${records.length} notebooks valid, ${formatDuration(total)} in all.</p>`,
    reportLink(folder),
    `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${records.map((r) => row(r, folder)).join("")}</tbody></table></div>`,
    '<p class="soft">Ran: every cell was executed. Valid: nothing failed in the background either, and the notebook declared its result.</p>',
    '<p class="soft">Numbers in square brackets are 95 % intervals; n counts trials, questions or samples.</p>',
    verdicts(entries),
    gallery(entries, folder),
    origins(entries),
    ...records.map(details),
  ];
  return renderPage({ title, bodyHtml: body.join("\n") });
}
