/** Side effects, identity and self-prediction in a report: what training did to everything else. */
import { escapeHtml, formatCell } from "../page";
import { findMetrics, type Metric } from "../runs";
import { type FigureList, number, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel, shortModel, trainedBy } from "./load";
import { questionForest, sideEffectForest } from "./plots/side-effect-forest";
import type { PublishedCard } from "./published";
import { sideEffectQuestions } from "./tables";

/** Sections of every run that measured them. */
export function effectsSections(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  return runs
    .flatMap((run) => [
      ...(run.sideEffects.length === 0 ? [] : [sideEffects(run, runs, published, figures)]),
      ...(run.identity.length === 0 ? [] : [identity(run)]),
      ...(run.selfPrediction.length === 0 ? [] : [selfPrediction(run)]),
    ])
    .join("\n");
}

function sideEffects(
  run: LoadedRun,
  runs: readonly LoadedRun[],
  published: PublishedCard,
  figures: FigureList,
): string {
  const trained = trainedBy(run, runs);
  const conditions = [
    ...new Set(findMetrics(run.metrics, { name: "deltaYes" }).map((metric) => metric.condition)),
  ].filter((condition) => condition !== "base-again-base");
  const noise = findMetrics(run.metrics, { name: "deltaYes", condition: "base-again-base", group: {} })[0];
  const parts = conditions.flatMap((condition) => [
    figures.add(
      sideEffectForest(run.metrics, { condition }),
      `${condition.replace("-base", " minus base")} by category, questions resampled; the last row is base against base (noise).`,
    ),
    categoryTable(run.metrics, condition, published),
    figures.add(
      questionForest(run.metrics, { condition }),
      `${condition.replace("-base", " minus base")} for every question: P(Yes) with the change of answer mass.`,
    ),
    questionTable(run, condition.replace("-base", "")),
  ]);
  const factual = findMetrics(run.metrics, { name: "factualAccuracy" }).map((metric) => [
    metric.condition,
    quoted(metric),
  ]);
  return [
    `<h2>Side effects${trained === null ? "" : ` of the adapter trained by ${escapeHtml(trained)}`}</h2>`,
    paragraph(
      `${modelLabel(run)}. First-token probability over the whole vocabulary, summed over the spellings of Yes and of No. A/A noise of P(Yes): ${quoted(noise).text}.`,
    ),
    ...parts,
    table(["condition", "right on questions the world settles"], factual),
    ...(conditions.length > 1
      ? []
      : [
          paragraph(
            "No twin was measured: a shift seen here may come from the wording of the training question rather than from detection.",
            "soft",
          ),
        ]),
  ].join("\n");
}

function categoryTable(metrics: readonly Metric[], condition: string, published: PublishedCard): string {
  const categories = findMetrics(metrics, { name: "deltaYes", condition }).filter(
    (metric) => "category" in metric.group && !("question" in metric.group),
  );
  const rows = categories.map((yes) => {
    const category = String(yes.group.category);
    const get = (name: string): Metric | undefined => findMetrics(metrics, { name, condition, group: { category } })[0];
    const other = published.side_effects.find((item) => item.category === category);
    return [
      category,
      quoted(yes),
      number(yes.pAdjusted, 4),
      quoted(get("deltaNo")),
      quoted(get("deltaMass")),
      quoted(get("deltaLogOdds")),
      quoted(get("topFlips")),
      other === undefined ? "\u2013" : number(other.delta_p_yes),
    ];
  });
  return table(
    [
      "category",
      "P(Yes)",
      "adjusted p",
      "P(No)",
      "mass",
      "log-odds (nats)",
      "top token changed",
      `P(Yes), ${shortModel(published.model)}, published`,
    ],
    rows,
    "Changes with 95 % intervals. The last column is another model's.",
  );
}

function questionTable(run: LoadedRun, condition: string): string {
  const rows = sideEffectQuestions(run.sideEffects, condition);
  const names = rows.columnNames();
  const cells = rows
    .objects()
    .map((row) =>
      names.map((name) =>
        name === "question" ? { text: String(row[name]), isSentence: true } : formatCell(rounded(row[name])),
      ),
    );
  return `<details><summary>Every question in words, before and after training</summary>${table(names, cells)}</details>`;
}

const rounded = (value: unknown): unknown => (typeof value === "number" ? number(value) : value);

function identity(run: LoadedRun): string {
  const rows = findMetrics(run.metrics, { tier: "identity" })
    .filter((metric) => "kind" in metric.group && metric.condition !== "base")
    .map((metric) => [String(metric.group.kind), metric.name, metric.condition, quoted(metric)]);
  const examples = [...new Set(run.identity.map((record) => record.question))].flatMap((question) =>
    ["base", "tuned"].flatMap((condition) => {
      const record = run.identity.find((item) => item.question === question && item.condition === condition);
      return record === undefined ? [] : [[question, condition, record.text, record.innerLife]];
    }),
  );
  const samples = run.identity.filter(
    (record) => record.condition === "base" && record.question === run.identity[0].question,
  ).length;
  return [
    "<h2>Identity, goals, awareness</h2>",
    paragraph(
      `${modelLabel(run)}. ${samples} seeded samples per question and condition, read by the classifier of identity/classify.ts.`,
    ),
    table(["kind", "claim", "condition", "rate"], rows),
    `<details><summary>First sample of each question</summary>${table(["question", "condition", "answer", "read as"], examples)}</details>`,
  ].join("\n");
}

function selfPrediction(run: LoadedRun): string {
  const rows = findMetrics(run.metrics, { tier: "self_prediction" }).map((metric) => [
    String(metric.group.task),
    String(metric.group.subset),
    metric.name,
    metric.condition,
    quoted(metric),
  ]);
  return [
    "<h2>Self-prediction</h2>",
    paragraph(
      `${modelLabel(run)}. Each condition predicts its own behaviour; guessing habits earn one half in the corrected figures.`,
    ),
    table(["task", "stimuli", "figure", "condition", "value"], rows),
  ].join("\n");
}
