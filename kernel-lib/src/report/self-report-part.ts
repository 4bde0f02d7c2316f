/** What the model says of itself, in a report: P(yes) by the card's categories, its four kinds about awareness. */
import { escapeHtml } from "../page";
import { findMetrics, type Metric } from "../runs";
import { fewQuestions, fold, paragraph, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";
import type { PublishedCard } from "./published";
import { awarenessReading, selfReportReading } from "./self-report";
import { trainedBy } from "./whose";

/** The section of a run that asked for self-reports; answers of the same adapter's identity run stand with them. */
export function selfReportSection(run: LoadedRun, runs: readonly LoadedRun[], published: PublishedCard): string {
  const trained = trainedBy(run, runs);
  const answers = runs.filter(({ meta }) => meta.adapterHash === run.meta.adapterHash);
  const questions = new Set(run.selfReport.map(({ question }) => question)).size;
  const about = `${modelLabel(run)}. ${questions} questions of our own wording that mean what the card's mean. First token over the whole vocabulary, summed over the spellings of Yes (the card's P(As)); intervals over questions of a category, none below six.`;
  const awareness = awarenessReading(
    run.metrics,
    answers.flatMap(({ identity }) => identity),
    { published },
  );
  return [
    `<h2>What it says of itself${trained === null ? "" : `, adapter trained by ${escapeHtml(trained)}`}</h2>`,
    paragraph(about),
    "<h3>Awareness</h3>",
    rowsTable(awareness, `Asked the card's way. Published: ${published.model}, another model, 5 samples a question.`),
    fold(
      "Every category, in both forms of asking",
      rowsTable(selfReportReading(run.metrics, { published }), fewQuestions(changesOf(run))),
    ),
  ].join("\n");
}

const changesOf = ({ metrics }: LoadedRun): Metric[] =>
  findMetrics(metrics, { tier: "self_report", name: "deltaYes" }).filter(({ group }) => "category" in group);

/** Rows of a reading as a table; examples are given room. */
export function rowsTable(rows: readonly Record<string, string>[], caption = ""): string {
  if (rows.length === 0) return "";
  const headers = Object.keys(rows[0]);
  const cells = rows.map((row) =>
    headers.map((header) => ({ text: row[header], isSentence: /^(example|question)/.test(header) })),
  );
  return table(headers, cells, caption);
}
