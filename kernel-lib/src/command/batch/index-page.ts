/**
 * The index of a batch: one row per notebook with "ran" and "valid" apart, how long it took, its key numbers, links.
 *
 * Records in, HTML out; relative links only, so that the folder can be moved or sent.
 */

import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { formatDuration } from "../../notebook";
import { escapeHtml, formatCell, renderPage } from "../../page";
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
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="lead">${valid} of ${records.length} notebooks valid, ${formatDuration(total)} in all.</p>`,
    reportLink(folder),
    `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${records.map((r) => row(r, folder)).join("")}</tbody></table></div>`,
    '<p class="soft">Ran: every cell was executed. Valid: nothing failed in the background either, and the notebook declared its result.</p>',
    '<p class="soft">Numbers in square brackets are 95 % intervals; n counts trials, questions or samples.</p>',
    ...records.map(details),
  ];
  return renderPage({ title, bodyHtml: body.join("\n") });
}
