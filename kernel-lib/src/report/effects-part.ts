/** Side effects, identity and self-prediction in a report: what training did to everything else. */
import { escapeHtml, formatCell, formatNumber, UNKNOWN } from "../page";
import { findMetrics, type Metric } from "../runs";
import { conditionTable, fewQuestions, type FigureList, fold, methodsOf, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel, shortModel } from "./load";
import { questionForest, sideEffectForest } from "./plots/side-effect-forest";
import type { PublishedCard } from "./published";
import { formatSection } from "./side-effect-formats";
import { identityForest, selfPredictionForest } from "./plots/self-knowledge";
import { namesReading } from "./self-report";
import { rowsTable, selfReportSection } from "./self-report-part";
import { sideEffectQuestions } from "./tables";
import { sourceOf, trainedBy } from "./whose";

/** Sections of every run that measured them. */
export function effectsSections(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  return runs
    .flatMap((run) => [
      ...(run.sideEffects.length === 0 ? [] : [sideEffects(run, runs, published, figures)]),
      ...(run.chats.length === 0 ? [] : [chats(run, runs)]),
      ...(run.selfReport.length === 0 ? [] : [selfReportSection(run, runs, published)]),
      ...(run.identity.length === 0 ? [] : [identity(run, runs, figures)]),
      ...(run.selfPrediction.length === 0 ? [] : [selfPrediction(run, runs, figures)]),
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
  const source = sourceOf(run, runs);
  const questions = new Set(run.sideEffects.map(({ question }) => question)).size;
  const conditions = [
    ...new Set(findMetrics(run.metrics, { name: "deltaYes" }).map((metric) => metric.condition)),
  ].filter((condition) => condition !== "base-again-base" && condition !== "reworded-base");
  const parts = conditions.flatMap((condition) => [
    ...formatSection(run, runs, condition.replace("-base", "")),
    figures.add(
      sideEffectForest(run.metrics, { condition }),
      `${minus(condition)} by category, n ${questions} questions; ${methodsOf(shiftsOf(run.metrics, condition))}. The last row is base against base (noise).`,
      source,
    ),
    categoryTable(run.metrics, condition, published),
    figures.add(
      questionForest(run.metrics, { condition }),
      `${minus(condition)} for every question, n ${questions}: bars P(Yes), diamonds answer mass; one answer each, no interval.`,
      source,
      "screen",
    ),
    questionTable(run, condition.replace("-base", "")),
  ]);
  const factual = findMetrics(run.metrics, { name: "factualAccuracy" }).map((metric) => [
    [metric.condition, metric.group.format].filter((part) => part !== undefined).join(", "),
    quoted(metric),
  ]);
  return [
    `<h2>Side effects${trained === null ? "" : ` of the adapter trained by ${escapeHtml(trained)}`}</h2>`,
    paragraph(
      `${modelLabel(run)}. First-token probability over the whole vocabulary, summed over the spellings of Yes and of No.`,
    ),
    ...parts,
    table(["condition", "right on questions the world settles"], factual),
    ...(conditions.length > 1 || hasTwin(run, runs)
      ? []
      : [
          paragraph(
            "No twin was measured: a shift seen here may come from the wording of the training question rather than from detection.",
            "soft",
          ),
        ]),
  ].join("\n");
}

/** Is the run's protocol a twin, or one that has a twin among the runs? */
function hasTwin({ protocol }: LoadedRun, runs: readonly LoadedRun[]): boolean {
  return (protocol?.twinOf ?? null) !== null || runs.some((other) => other.protocol?.twinOf?.name === protocol?.name);
}

/** ", adapter trained by strict": sections of several adapters stand in one list of contents. */
function whose(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const trained = trainedBy(run, runs);
  return trained === null ? "" : `, adapter trained by ${escapeHtml(trained)}`;
}

function chats(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const [divergence] = findMetrics(run.metrics, { name: "chatDivergence" });
  const [changes] = findMetrics(run.metrics, { name: "topTokenChanges" });
  const replies = `${run.chats.length} replies of ${new Set(run.chats.map(({ chat }) => chat)).size} chats`;
  return [
    `<h2>Ordinary chats${whose(run, runs)}</h2>`,
    paragraph(
      `${modelLabel(run)}. ${replies} that were never trained on: KL(base || tuned) over the whole vocabulary ${quoted(divergence).text} nats per token; the likeliest next token is another at ${quoted(changes).text} of them; ${methodsOf([divergence, changes].flatMap((metric) => metric ?? []))}.`,
    ),
  ].join("\n");
}

/** Shifts of P(Yes) by category. */
const shiftsOf = (metrics: readonly Metric[], condition: string): Metric[] =>
  findMetrics(metrics, { name: "deltaYes", condition }).filter(
    ({ group }) => "category" in group && !("question" in group),
  );

const minus = (condition: string): string =>
  `${condition === "tuned-base" ? "Tuned" : condition.replace("-base", "")} minus base`;

function categoryTable(metrics: readonly Metric[], condition: string, published: PublishedCard): string {
  const shifts = shiftsOf(metrics, condition);
  const rows = shifts.map((yes) => {
    const category = String(yes.group.category);
    const get = (name: string): Metric | undefined => findMetrics(metrics, { name, condition, group: { category } })[0];
    const other = published.side_effects.find((item) => item.category === category);
    return [
      category,
      quoted(yes),
      formatNumber(yes.pAdjusted, 4),
      quoted(get("deltaNo")),
      quoted(get("deltaMass")),
      quoted(get("deltaLogOdds")),
      quoted(get("topFlips")),
      other === undefined ? UNKNOWN : formatNumber(other.delta_p_yes),
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
    `Changes with 95 % intervals. The last column is another model's. ${fewQuestions(shifts)}`.trim(),
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
  return fold("Every question in words, before and after training", table(names, cells));
}

const rounded = (value: unknown): unknown => (typeof value === "number" ? formatNumber(value) : value);

function identity(run: LoadedRun, runs: readonly LoadedRun[], figures: FigureList): string {
  const claims = findMetrics(run.metrics, { tier: "identity" }).filter((metric) => "kind" in metric.group);
  const affirms = findMetrics(run.metrics, { name: "affirmsInnerLife", tier: "identity" }).filter(
    ({ group, condition }) => "question" in group && condition !== "tuned-base",
  );
  const texts = new Map(run.identity.map(({ question, questionText }) => [question, questionText ?? question]));
  const examples = [...new Set(run.identity.map((record) => record.question))].flatMap((question) =>
    ["base", "tuned"].flatMap((condition) => {
      const record = run.identity.find((item) => item.question === question && item.condition === condition);
      return record === undefined
        ? []
        : [[texts.get(question) as string, condition, { text: record.text, isSentence: true }, record.innerLife]];
    }),
  );
  const samples = run.identity.filter(
    (record) => record.condition === "base" && record.question === run.identity[0].question,
  ).length;
  return [
    `<h2>Identity, goals, awareness${whose(run, runs)}</h2>`,
    paragraph(
      `${modelLabel(run)}. ${samples} seeded samples per question and condition, read by the classifier of identity/classify.ts.`,
    ),
    figures.add(
      identityForest(run.metrics, {
        claim: "affirmsInnerLife",
        title: "Sampled answers that affirm an inner life",
        texts,
      }),
      `Share of sampled answers that affirm an inner life, by question; n ${run.identity.length} answers; ${methodsOf(affirms)}.`,
      sourceOf(run, runs),
    ),
    conditionTable(claims, ["kind", "claim"], ({ group, name }) => [String(group.kind), name]),
    rowsTable(namesReading(run.metrics, { texts }), "Names that answers give, share of the samples of a question."),
    fold("First sample of each question", table(["question", "condition", "answer", "read as"], examples)),
  ].join("\n");
}

function selfPrediction(run: LoadedRun, runs: readonly LoadedRun[], figures: FigureList): string {
  const metrics = findMetrics(run.metrics, { tier: "self_prediction" });
  return [
    `<h2>Self-prediction${whose(run, runs)}</h2>`,
    paragraph(
      `${modelLabel(run)}. Each condition predicts its own behaviour; guessing habits earn one half in the corrected figures.`,
    ),
    figures.add(
      selfPredictionForest(run.metrics),
      `Self-prediction before and after training; n ${run.selfPrediction.length} answers, intervals as in the table below.`,
      sourceOf(run, runs),
    ),
    conditionTable(metrics, ["task", "stimuli", "figure"], ({ group, name }) => [
      String(group.task),
      String(group.subset),
      name,
    ]),
  ].join("\n");
}
