/** Detection part of a report: dose, cells, thresholds, false alarms, concepts, tests against the base; then training. */
import { groupBy, psychometricCurves } from "../evaluate";
import { escapeHtml, formatNumber, UNKNOWN } from "../page";
import { findMetrics, type Metric } from "../runs";
import type { TierView } from "../study";
import { choiceText } from "../train";
import { type Cell, type FigureList, fold, methodsOf, paragraph, quoted, table } from "./html";
import { askedTiers, type LoadedRun, modelLabel, titleOfTier } from "./load";
import { cardQuestion } from "./gap-part";
import { calibrationPlot } from "./plots/calibration";
import { detectionHeatmap } from "./plots/detection-heatmap";
import { doseCurves } from "./plots/dose";
import { falseAlarmForest } from "./plots/false-alarms";
import { psychometricPlot } from "./plots/psychometric";
import { strengthTitle } from "./plots/theme";
import { trainingCurves } from "./plots/training";
import { conceptSection } from "./concept-part";
import { aurocTable, predictiveTable } from "./worth-part";
import type { PublishedCard } from "./published";
import { seriesName, sourceOf } from "./whose";

/** A run with trials and what its sections need. */
interface Part {
  run: LoadedRun;
  source: string;
  /** tiers that were asked */
  tiers: TierView[];
  /** those with steered cells */
  steered: TierView[];
  unit: string;
  figures: FigureList;
}

/** Sections of every run that has trials, then of every run that trained. */
export function detectionSections(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  const asked = runs.filter((run) => run.records.length > 0).map((run) => detectionOf(run, runs, published, figures));
  const trained = runs.filter((run) => run.events.length > 0).map((run) => trainingOf(run, runs, figures));
  return [...asked, ...trained].join("\n");
}

function trainingOf(run: LoadedRun, runs: readonly LoadedRun[], figures: FigureList): string {
  const steps = run.events.filter(({ kind }) => kind === "step").length;
  const caption = `Loss, accuracy and answer mass while training, ${steps} optimizer steps; light: training examples, dark: validation, never trained on. Accuracy without mass would hide a collapse.`;
  return [
    `<h2>Training by ${escapeHtml(run.label)}</h2>`,
    paragraph(`${run.id}: ${modelLabel(run)}, training seed ${run.meta.seed ?? "unknown"}.`),
    ...choiceOf(run),
    figures.add(trainingCurves(run.events, { choice: run.choice }), caption, sourceOf(run, runs)),
  ].join("\n");
}

/** How a training with a rule to stop early ended. */
function choiceOf({ choice, protocol }: LoadedRun): string[] {
  const rule = protocol?.training.earlyStop ?? null;
  return choice === null || rule === null ? [] : [paragraph(choiceText(choice, rule))];
}

function detectionOf(
  run: LoadedRun,
  runs: readonly LoadedRun[],
  published: PublishedCard,
  figures: FigureList,
): string {
  const tiers = askedTiers(run);
  const steered = tiers.filter(({ name }) =>
    findMetrics(run.metrics, { name: "hitRate", tier: name, condition: "tuned" }).some(
      ({ group }) => "strength" in group,
    ),
  );
  const part = { run, source: sourceOf(run, runs), tiers, steered, unit: strengthTitle(run.protocol), figures };
  return [
    `<h2>Detection: ${escapeHtml(seriesName(run, runs))}</h2>`,
    ...(steered.length === 0 ? [] : [...doseAndCells(part), ...thresholds(part)]),
    ...headed("<h3>False alarms</h3>", falseAlarms(part)),
    ...cardQuestion(run, tiers),
    ...conceptSection(run, tiers, part.source, published, figures),
    ...tests(run),
    ...controls(run),
    "<h3>Calibration</h3>",
    calibration(part),
  ].join("\n");
}

/** A heading over what there is; none over nothing. */
const headed = (heading: string, parts: readonly string[]): string[] => (parts.length === 0 ? [] : [heading, ...parts]);

function doseAndCells({ run, source, steered, unit, figures }: Part): string[] {
  const n = steered.map(
    ({ name }) => findMetrics(run.metrics, { name: "hitRate", tier: name, condition: "tuned", group: {} })[0]?.n ?? 0,
  );
  const trials = n.reduce((sum, of) => sum + of, 0);
  const ofDose = findMetrics(run.metrics, { name: "hitRateOfDose", condition: "tuned" });
  const pooled =
    ofDose.length > 0 ? ofDose : findMetrics(run.metrics, { name: "hitRateOfStrength", condition: "tuned" });
  return [
    paragraph("Tiers differ in which strengths they ask: compare them at one strength, not by their means."),
    ...(pooled.length === 0
      ? []
      : [
          figures.add(
            doseCurves(run.metrics, { tiers: steered, unit }),
            `Share of steered trials noticed at each strength, ${ofDose.length > 0 ? "over all tiers that ask it, each trial once" : "over all layer ranges"}; n ${trials} steered trials; ${methodsOf(pooled)}.`,
            source,
          ),
        ]),
    figures.add(
      detectionHeatmap(run.metrics, { tiers: steered, unit }),
      `Hit rate of every layer range and strength; n ${trials} steered trials, tuned model. Counts and intervals: the table below.`,
      source,
    ),
    fold("Every cell with its n and interval", cellTableOf(run, steered)),
    aurocTable(run, steered),
  ];
}

/** A small table a tier: rows are layer ranges, columns strengths. */
function cellTableOf(run: LoadedRun, steered: readonly TierView[]): string {
  const tables = steered.map(({ name, title }) => {
    const cells = findMetrics(run.metrics, { name: "hitRate", tier: name, condition: "tuned" }).filter(
      ({ group }) => "strength" in group && "range" in group,
    );
    const strengths = [...new Set(cells.map(({ group }) => Number(group.strength)))].sort((a, b) => a - b);
    const rows = [...new Set(cells.map(({ group }) => String(group.range)))].map((range) => [
      range,
      ...strengths.map((strength) =>
        quoted(cells.find(({ group }) => group.range === range && group.strength === strength)),
      ),
    ]);
    return table(["layer range", ...strengths.map(String)], rows, title);
  });
  return tables.join("\n");
}

function thresholds({ run, source, steered, unit, figures }: Part): string[] {
  const names = new Set(steered.map(({ name }) => name));
  const curves = psychometricCurves(run.records).filter(
    ({ condition, tier, points }) => condition === "tuned" && names.has(tier) && points.length > 1,
  );
  const n = curves.reduce((sum, { points }) => sum + points.reduce((of, point) => of + point.n, 0), 0);
  return [
    "<h3>Thresholds</h3>",
    thresholdTable(run, steered),
    ...(curves.length === 0
      ? []
      : [
          figures.add(
            psychometricPlot(curves, { metrics: run.metrics, tiers: steered, unit }),
            `Detection by strength and layer range; n ${n} steered trials, intervals as in the table of cells, logistic fits with the false-alarm rate as guess rate. Points without a curve have no finite slope: at most one strength lies between never and always.`,
            source,
          ),
        ]),
  ];
}

/** One row a tier, one column a layer range. */
function thresholdTable(run: LoadedRun, steered: readonly TierView[]): string {
  const found = findMetrics(run.metrics, { name: "threshold", condition: "tuned" }).filter(
    ({ group }) => "range" in group,
  );
  const ranges = [...new Set(found.map(({ group }) => String(group.range)))];
  const rows = steered.flatMap(({ name, title }) => {
    const of = found.filter(({ tier }) => tier === name);
    if (of.length === 0) return [];
    const cells = ranges.map((range) => thresholdCell(of.find(({ group }) => group.range === range)));
    return [[{ text: title, isSentence: true }, ...cells]];
  });
  return rows.length === 0
    ? paragraph("No tier has two strengths.")
    : table(
        ["strength noticed half of the time", ...ranges],
        rows,
        'Hover over a number for its method. "0.08 to 0.2": noticed at the one and not at the other, with at most one strength between, so that nothing narrower can be said. None of those tried: more or less than half at every strength. An open end of an interval is outside the strengths tried.',
      );
}

function thresholdCell(metric: Metric | undefined): Cell {
  if (metric === undefined) return { text: UNKNOWN };
  const { value, low, high, n, method } = metric;
  if (value !== null || metric.text !== undefined) return quoted(metric);
  const isBounded = low !== null && high !== null;
  const text = isBounded ? `${formatNumber(low)} to ${formatNumber(high)}` : "none of those tried";
  return { text, value: text, detail: `n ${n}`, title: method };
}

/** What a yes is worth at the false alarms of each tier, then where those come from. */
function falseAlarms(part: Part): string[] {
  const worth = predictiveTable(part.run, part.steered);
  return [...(worth === "" ? [] : [worth]), ...wordings(part)];
}

/** False alarms by wording where wordings are held out or every one is asked, by kind of text where that is unusual. */
function wordings({ run, source, tiers, figures }: Part): string[] {
  const rowsOf = (tier: TierView, by: string): Metric[] =>
    findMetrics(run.metrics, { name: "falseAlarmRate", tier: tier.name, condition: "tuned" }).filter(
      ({ group }) => by in group,
    );
  const forest = (tier: TierView, by: "question" | "contextKind", what: string): string[] => {
    const rows = rowsOf(tier, by);
    if (rows.length < 2) return [];
    const n = rows.reduce((sum, metric) => sum + metric.n, 0);
    const aim = run.protocol?.aims.find(
      (item) => item.metric === "worstWordingFalseAlarmRate" && item.tier === tier.name,
    );
    const plot = falseAlarmForest(run.metrics, {
      tier: tier.name,
      by,
      aim: by === "question" ? (aim?.most ?? null) : null,
      title: `False alarms by ${what}: ${tier.title}`,
    });
    const caption = `${tier.title}: false alarms by ${what}, worst first, each by its own interval; n ${n} clean trials; ${methodsOf(rows)}.`;
    return [figures.add(plot, caption, source)];
  };
  return tiers.flatMap((tier) => {
    if (tier.kind === "wordings") return [...forest(tier, "question", "wording"), ...wordingTable(run, tier)];
    if (tier.kind === "clean") return forest(tier, "question", "wording");
    return tier.kind === "unusual" ? forest(tier, "contextKind", "kind of text") : [];
  });
}

function wordingTable(run: LoadedRun, tier: TierView): string[] {
  const records = run.records.filter((record) => record.tier === tier.name);
  // Older records lack the words; their protocol has them.
  const known = new Map(run.protocol?.questions.map(({ id, text }) => [id, text]));
  const texts = new Map(
    records.map(({ question, questionText }) => [question, questionText ?? known.get(question) ?? question]),
  );
  if (texts.size < 2) return [];
  const figureOf = (name: string, question: string): Metric | undefined =>
    findMetrics(run.metrics, { name, tier: tier.name, condition: "tuned", group: { question } })[0];
  const rows = [...texts].map(([question, text]) => [
    question,
    { text, isSentence: true },
    quoted(figureOf("falseAlarmRate", question)),
    quoted(figureOf("hitRate", question)),
  ]);
  return [
    fold(
      `Every wording, ${tier.title.charAt(0).toLowerCase()}${tier.title.slice(1)}`,
      table(["id", "wording", "false-alarm rate", "hit rate"], rows),
    ),
  ];
}

function tests(run: LoadedRun): string[] {
  const words: Readonly<Record<string, string>> = {
    saysSteeredChange: "share that says steered",
    logOddsChange: "log-odds (nats)",
  };
  const changes = run.metrics.filter(({ name }) => name in words);
  if (changes.length === 0) return [];
  const rows = [...groupBy(changes, (metric) => `${metric.tier} ${metric.group.target}`).values()]
    .flat()
    .map((metric) => [
      { text: titleOfTier(run, metric.tier), isSentence: true },
      String(metric.group.target),
      words[metric.name],
      quoted(metric),
      formatNumber(metric.pAdjusted, 4),
    ]);
  const caption =
    "p: adjusted over all tests of the run (Benjamini-Hochberg). Hover over a number for its interval's method and its test.";
  const headers = ["tier", "trials", "change of", "tuned minus base", "adjusted p"];
  return ["<h3>Tuned against base, same trials</h3>", fold("Every test", table(headers, rows, caption))];
}

/** Control questions by kind and cache: yes and truthful answers before and after training; selectivity by dose. */
function controls(run: LoadedRun): string[] {
  const words: Readonly<Record<string, string>> = {
    reversed: "reversed detection question",
    trueFact: "true facts",
    falseFact: "false facts",
    sideEffect: "about the assistant",
  };
  const yes = findMetrics(run.metrics, { name: "controlYes" });
  if (yes.length === 0) return [];
  const keys = [...new Set(yes.map(({ group }) => `${group.kind} ${group.cache}`))];
  const rows = keys.map((key) => {
    const [kind, cache] = key.split(" ");
    const of = (name: string, condition: string): Metric | undefined =>
      findMetrics(run.metrics, { name, condition, group: { kind, cache } })[0];
    const figures = ["controlYes", "controlTruthful"].flatMap((name) => [
      quoted(of(name, "base")),
      quoted(of(name, "tuned")),
    ]);
    return [words[kind] ?? kind, cache, ...figures];
  });
  const selective = findMetrics(run.metrics, { name: "selectivity" }).map((metric) => {
    const { tier, group } = metric;
    const of = (name: string): Metric | undefined =>
      findMetrics(run.metrics, { name, tier, condition: "tuned", group })[0];
    const { kind, strength } = group;
    const which = kind === undefined ? "all but reversed" : (words[String(kind)] ?? String(kind));
    const leaks = ["controlLeak", "controlLeakClean"].map((name) => quoted(of(name)));
    return [which, strength === undefined ? "all" : String(strength), ...leaks, quoted(metric)];
  });
  return [
    "<h3>Control questions on the same caches</h3>",
    paragraph(
      "Does the adapter answer the question, or only the cache? A leak is a yes where the base says no on the same cache. Selectivity: hits minus false alarms of the detection question, minus leaks on steered caches less those on clean ones; 0 for whoever answers by the cache alone.",
    ),
    ...(selective.length === 0
      ? []
      : [table(["controls", "strength", "leaks, steered", "leaks, clean", "selectivity"], selective)]),
    table(["question", "cache", "yes, before", "yes, after", "truthful, before", "truthful, after"], rows),
  ];
}

function calibration({ run, source, figures }: Part): string {
  const tuned = run.records.filter(
    ({ condition, questionKind }) => condition === "tuned" && (questionKind ?? "detection") === "detection",
  );
  const caption = `Share of steered trials by stated probability, coloured by answer mass; a probability stands on its mass. n ${tuned.length} trials; 95 % intervals by vector and topic.`;
  return figures.add(calibrationPlot(tuned), caption, source);
}
