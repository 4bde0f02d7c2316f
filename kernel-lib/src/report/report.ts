/**
 * Report: run folders -> one self-contained HTML page, without a model. The last module of the flow.
 *
 * Sections: what fell short, findings, aims, card / strict / this run side by side, the card's claims; detection, training, side effects; limits,
 * what is held out, methods. Every number is recomputed from records and carries n, interval and method, every figure whose
 * numbers it shows. The same folders give the same bytes.
 */
import * as path from "node:path";
import { InputError } from "../base";
import { writeFileAtomic } from "../files";
import { escapeHtml, renderPage } from "../page";
import { claimsSection } from "./claims-part";
import { detectionSections } from "./detection-part";
import { effectsSections } from "./effects-part";
import { FigureList, paragraph } from "./html";
import { closingSections } from "./limits";
import { type LoadedRun, loadRun, modelLabel } from "./load";
import { overviewSection } from "./overview";
import { type PublishedCard, readPublishedCard } from "./published";
import { twinsSections } from "./twins-part";

/** Options of `buildReport`. */
export interface ReportOptions {
  /** default: from the runs' protocols and model */
  title?: string;
  /** figures of a published card to stand beside; default: the shipped card's */
  published?: PublishedCard;
}

/**
 * HTML of a report over one or more run folders, most important first.
 *
 * @throws InputError "no-runs"; DataError "run-folder-missing", "jsonl-line"
 * @example
 * const html = buildReport(["runs/20300102-030405-detect-strict-s7", "runs/20300102-030000-train-strict-s1"]);
 */
export function buildReport(folders: readonly string[], options: ReportOptions = {}): string {
  if (folders.length === 0)
    throw new InputError("no-runs", "Expected at least one run folder for the report but received none.");
  return renderReport(folders.map(loadRun), options);
}

/** HTML of a report over runs that are loaded already. */
export function renderReport(runs: readonly LoadedRun[], options: ReportOptions = {}): string {
  const { published = readPublishedCard() } = options;
  const figures = new FigureList();
  const models = [...new Set(runs.map(modelLabel))].join(", ");
  const protocols = [...new Set(runs.flatMap((run) => (run.protocol === null ? [] : [run.label])))].join("; ");
  const title = options.title ?? `Steering detection: ${protocols} on ${models}`;
  const bodyHtml = [
    `<h1>${escapeHtml(title)}</h1>`,
    paragraph(
      "Can the model say whether its activations were steered while it read the first turns? Steer, remove, ask.",
      "lead",
    ),
    overviewSection(runs, published, figures),
    claimsSection(runs, published),
    detectionSections(runs, published, figures),
    effectsSections(runs, published, figures),
    twinsSections(runs, figures),
    closingSections(runs),
  ].join("\n");
  return renderPage({
    title,
    bodyHtml,
    figures: figures.figures,
    footer: `Made by steerlab from ${runs.map((run) => run.id).join(", ")}.`,
  });
}

/**
 * Writes `report.html` into the first folder.
 *
 * @param folders run folders, most important first   @param options.file where to, in place of the first folder
 * @throws InputError "no-runs"; DataError "run-folder-missing", "jsonl-line"
 * @returns the file's path
 * @example
 * const file = writeReport([sweep.folder, run.folder]);
 */
export function writeReport(folders: readonly string[], options: ReportOptions & { file?: string } = {}): string {
  const html = buildReport(folders, options);
  const file = options.file ?? path.join(folders[0], "report.html");
  writeFileAtomic(file, html);
  return file;
}
