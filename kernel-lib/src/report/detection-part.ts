/** Detection part of a report: curves of training, cells, thresholds, false alarms, concepts, tests against the base. */
import { groupBy, psychometricCurves } from "../evaluate";
import { escapeHtml } from "../page";
import { findMetrics, type Metric } from "../runs";
import { type FigureList, number, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel, trainedBy } from "./load";
import { calibrationPlot } from "./plots/calibration";
import { conceptHeatmap } from "./plots/concept-heatmap";
import { detectionHeatmap } from "./plots/detection-heatmap";
import { falseAlarmForest } from "./plots/false-alarms";
import { psychometricPlot } from "./plots/psychometric";
import { strengthTitle } from "./plots/theme";
import { trainingCurves } from "./plots/training";
import { conceptTable } from "./tables";

/** Sections of every run that has training events or trials. */
export function detectionSections(runs: readonly LoadedRun[], figures: FigureList): string {
  const training = runs
    .filter((run) => run.events.length > 0)
    .map((run) =>
      [
        `<h2>Training</h2>`,
        paragraph(
          `${run.id}: ${modelLabel(run)}, protocol ${run.protocol?.name ?? "?"}, seed ${run.meta.seed ?? "?"}.`,
        ),
        figures.add(
          trainingCurves(run.events),
          "Loss, accuracy and answer mass while training. Accuracy without mass would hide a collapse.",
        ),
      ].join("\n"),
    );
  return [
    ...training,
    ...runs.filter((run) => run.records.length > 0).map((run) => detectionOf(run, runs, figures)),
  ].join("\n");
}

function detectionOf(run: LoadedRun, runs: readonly LoadedRun[], figures: FigureList): string {
  const asked = new Set(run.records.filter((record) => record.condition === "tuned").map((record) => record.tier));
  // In the protocol's order, which goes from easy to hard; records come in that of the batches.
  const planned = run.protocol?.evaluation.tiers.map(({ name }) => name) ?? [];
  const tiers = [...planned.filter((tier) => asked.has(tier)), ...[...asked].filter((tier) => !planned.includes(tier))];
  const steered = tiers.filter((tier) =>
    findMetrics(run.metrics, { name: "hitRate", tier, condition: "tuned" }).some(
      (metric) => "strength" in metric.group,
    ),
  );
  const unit = strengthTitle(run.protocol);
  const trained = trainedBy(run, runs);
  const other = trained === null || trained === run.protocol?.name ? "" : `, adapter trained by ${escapeHtml(trained)}`;
  const cells = steered.filter((tier) => tier !== "concepts_102" || steered.length === 1);
  const curves = psychometricCurves(run.records).filter((curve) => curve.condition === "tuned");
  return [
    `<h2>Detection by cell: ${escapeHtml(tiers.length === 1 ? tiers[0] : (run.protocol?.name ?? run.id))}${other}</h2>`,
    paragraph(`${modelLabel(run)}. Every cell with its own n: a mean over cells is carried by the easy ones.`),
    ...cells.map((tier) =>
      figures.add(detectionHeatmap(run.metrics, tier, { unit }), `${tier}: hit rate by layer range and strength.`),
    ),
    "<h3>Thresholds</h3>",
    ...curveFigures(curves, cells, unit, figures),
    thresholdTable(run.metrics),
    "<h3>False alarms</h3>",
    falseAlarmTable(run.metrics),
    ...wordingFigures(run, tiers, figures),
    ...concepts(run, figures),
    ...tests(run.metrics),
    "<h3>Calibration</h3>",
    figures.add(
      calibrationPlot(run.records.filter((record) => record.condition === "tuned")),
      "Share of steered trials by stated probability, coloured by answer mass; a probability stands on its mass.",
    ),
  ].join("\n");
}

function curveFigures(
  curves: ReturnType<typeof psychometricCurves>,
  tiers: readonly string[],
  unit: string,
  figures: FigureList,
): string[] {
  return tiers.flatMap((tier) => {
    const of = curves.filter((curve) => curve.tier === tier && curve.points.length > 1);
    return of.length === 0
      ? []
      : [
          figures.add(
            psychometricPlot(of, { title: `Psychometric curves: ${tier}`, unit }),
            `${tier}: detection by strength; points with Wilson intervals, logistic fits with the false-alarm rate as guess rate. Points without a curve have no finite slope: at most one strength lies between never and always.`,
          ),
        ];
  });
}

function thresholdTable(metrics: readonly Metric[]): string {
  const rows = findMetrics(metrics, { name: "threshold", condition: "tuned" }).map((metric) => {
    const { value, low, high, n, method } = metric;
    const bounded = value === null && low !== null && high !== null;
    const cell = bounded
      ? { text: `between ${number(low)} and ${number(high)}, n ${n}`, title: method }
      : quoted(metric);
    return [metric.tier, String(metric.group.range), value === null && !bounded ? `outside those tried, n ${n}` : cell];
  });
  return rows.length === 0
    ? paragraph("No tier has two strengths.")
    : table(
        ["tier", "layer range", "strength at 50 %"],
        rows,
        "Logistic fit, vectors resampled (cluster bootstrap, 95 %, 300 samples; hover). Between: at most one strength lies between never and always, so only its neighbours bound the threshold. A dash in an interval: that end is outside the strengths tried.",
      );
}

function falseAlarmTable(metrics: readonly Metric[]): string {
  const whole = findMetrics(metrics, { name: "falseAlarmRate", group: {} });
  const rows = whole.map((metric) => [
    metric.tier,
    metric.condition,
    quoted(metric),
    quoted(
      findMetrics(metrics, {
        name: "falseAlarmRateClustered",
        tier: metric.tier,
        condition: metric.condition,
        group: {},
      })[0],
    ),
  ]);
  return table(
    ["tier", "condition", "rate, Clopper-Pearson", "rate, prompts resampled"],
    rows,
    "The upper end is what the count really allows.",
  );
}

function wordingFigures(run: LoadedRun, tiers: readonly string[], figures: FigureList): string[] {
  const aim = run.protocol?.aims.find((item) => item.metric === "worstWordingFalseAlarmRate")?.most ?? null;
  const several = (tier: string, by: string): boolean =>
    findMetrics(run.metrics, { name: "falseAlarmRate", tier, condition: "tuned" }).filter(
      (metric) => by in metric.group,
    ).length > 1;
  const wordings = tiers
    .filter((tier) => ["held_out_wordings", "clean_held_out"].includes(tier) && several(tier, "question"))
    .flatMap((tier) => [
      figures.add(
        falseAlarmForest(run.metrics, tier, { aim: tier === "held_out_wordings" ? aim : null }),
        `${tier}: false alarms of every wording, worst first, with exact intervals.`,
      ),
      tier === "held_out_wordings" ? wordingTable(run, tier) : "",
    ]);
  const kinds = tiers
    .filter((tier) => tier === "hard_negatives" && several(tier, "contextKind"))
    .map((tier) =>
      figures.add(
        falseAlarmForest(run.metrics, tier, { by: "contextKind" }),
        `${tier}: false alarms by kind of unusual clean text.`,
      ),
    );
  return [...wordings, ...kinds];
}

function wordingTable(run: LoadedRun, tier: string): string {
  const texts = new Map(run.protocol?.questions.map((question) => [question.id, question.text]));
  const rate = (name: string, question: string): Metric | undefined =>
    findMetrics(run.metrics, { name, tier, condition: "tuned", group: { question } })[0];
  const questions = [...new Set(run.records.filter((record) => record.tier === tier).map((record) => record.question))];
  const rows = questions.map((question) => [
    question,
    texts.get(question) ?? "",
    quoted(rate("falseAlarmRate", question)),
    quoted(rate("hitRate", question)),
  ]);
  return table(["id", "wording", "false-alarm rate", "hit rate"], rows, "Every held-out wording.");
}

function concepts(run: LoadedRun, figures: FigureList): string[] {
  const rows = conceptTable(run.records).objects() as unknown as {
    concept: string;
    category: string;
    n: number;
    hitRate: number;
    low: number;
    high: number;
  }[];
  if (rows.length === 0) return [];
  const perfect = rows.filter((row) => row.hitRate === 1).length;
  const weakest = [...rows].sort((a, b) => a.hitRate - b.hitRate).slice(0, 10);
  const categories = findMetrics(run.metrics, { name: "hitRate", tier: "concepts_102", condition: "tuned" }).filter(
    (metric) => "category" in metric.group && !("concept" in metric.group),
  );
  const matched = findMetrics(run.metrics, {
    name: "hitRate",
    tier: "held_out_random",
    condition: "tuned",
    group: {},
  })[0];
  return [
    "<h3>Concepts</h3>",
    paragraph(
      `${rows.length} concepts, ${perfect} noticed in every trial.${matched === undefined ? "" : ` Held-out random vectors of equal norm, for comparison: ${quoted(matched).text}.`}`,
    ),
    figures.add(conceptHeatmap(run.records), "Every concept by layer range and strength, grouped by category."),
    table(
      ["category", "hit rate"],
      categories.map((metric) => [String(metric.group.category), quoted(metric)]),
    ),
    table(
      ["concept", "category", "hit rate"],
      weakest.map((row) => [
        row.concept,
        row.category,
        quoted({ value: row.hitRate, low: row.low, high: row.high, n: row.n, method: "Wilson 95 %" }),
      ]),
      "The ten least noticed.",
    ),
  ];
}

function tests(metrics: readonly Metric[]): string[] {
  const changes = metrics.filter((metric) => ["saysSteeredChange", "logOddsChange"].includes(metric.name));
  if (changes.length === 0) return [];
  const rows = [...groupBy(changes, (metric) => `${metric.tier} ${metric.group.target}`).values()].flatMap((of) =>
    of.map((metric) => [
      metric.tier,
      String(metric.group.target),
      metric.name === "saysSteeredChange" ? "share that says steered" : "log-odds (nats)",
      quoted(metric),
      number(metric.pAdjusted, 4),
    ]),
  );
  return [
    "<h3>Tuned against base, same trials</h3>",
    table(
      ["tier", "trials", "change of", "tuned minus base", "adjusted p"],
      rows,
      "Intervals: paired bootstrap over vectors or prompts. p: exact McNemar for shares, sign flips of whole clusters for log-odds, Benjamini-Hochberg over all tests of the run. Hover for details.",
    ),
  ];
}
