/** First part of a report: whose numbers these are, what fell short, aims, and card, strict and this run side by side. */
import { AIM_WORDS, aimResults, groupBy } from "../evaluate";
import { formatNumber, UNKNOWN } from "../page";
import { aimBounds, type AimResult } from "../runs";
import { protocolHash } from "../study";
import { findings } from "./findings";
import { gapTable } from "./gap-part";
import { type Cell, type FigureList, type GroupRow, paragraph, measuredCell, rate, table, verdictCell } from "./html";
import { askedTiers, type LoadedRun, modelLabel, titleOfTier } from "./load";
import { sideBySideBars } from "./plots/published";
import { KIND_WORDS } from "./plots/theme";
import { type PublishedCard, publishedEstimates, publishedKind } from "./published";
import { tierNumbers } from "./tables";
import { seriesName, shortSeries, sourceOf, trainedBy } from "./whose";

/** Banner, findings, aims and side-by-side. */
export function overviewSection(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  const detection = runs.filter((run) => run.records.length > 0);
  return [
    banner(runs),
    findings(runs),
    "<h2>Against the aims</h2>",
    aims(runs),
    "<h2>Side by side</h2>",
    paragraph(
      "The published card, and what was measured here. Each row names its model; figures of different models are no replication of each other.",
    ),
    ...(detection.length === 0 ? [] : [bars(detection, runs, published, figures)]),
    tierTables(detection, runs, published),
    gapTable(detection, runs),
    missing(detection, runs),
  ].join("\n");
}

function banner(runs: readonly LoadedRun[]): string {
  const models = [...new Set(runs.map(modelLabel))];
  const isLab = runs.some((run) => run.meta.isLabModel === true);
  const text = isLab
    ? `These figures are of ${models.join(" and ")}: a small model that ships with the project so that the whole study runs on a laptop. They are not figures of a 32B model and say nothing about one.`
    : `These figures are of ${models.join(" and ")}.`;
  return `<div class="note">${paragraph(text)}</div>`;
}

function aims(runs: readonly LoadedRun[]): string {
  const series = groupBy(
    runs.filter((run) => run.aims.length > 0),
    (run) => `${run.meta.adapterHash} ${askedBy(run)} ${seriesName(run, runs)}`,
  );
  const rows = [...series.values()].flatMap((of): ((Cell | string)[] | GroupRow)[] => [
    { heading: seriesName(of[0], runs) },
    ...aimsOfSeries(of).map((aim) => [
      AIM_WORDS[aim.metric] ?? aim.metric,
      titleOfTier(of[0], aim.tier),
      { text: aimBounds(aim), isName: true },
      measuredCell(aim),
      verdictCell(aim),
    ]),
  ]);
  return rows.length === 0
    ? paragraph("No protocol of these runs states aims.")
    : table(["figure", "asked about", "aim", "measured", "verdict"], rows);
}

/** Hash of the protocol as it reads now: a field that came later says the same in older runs, whatever hash they recorded. */
const askedBy = ({ protocol, meta }: LoadedRun): string =>
  protocol === null ? String(meta.protocolHash) : protocolHash(protocol);

/** Aims of runs of one adapter and protocol, in the protocol's order; what none of the runs could measure is not measured. */
function aimsOfSeries(runs: readonly LoadedRun[]): AimResult[] {
  const measured = runs.flatMap(({ aims }) => aims);
  return aimResults(runs[0].protocol?.aims ?? [], []).map(
    (aim) => measured.find(({ metric, tier }) => metric === aim.metric && tier === aim.tier) ?? aim,
  );
}

function bars(
  detection: readonly LoadedRun[],
  runs: readonly LoadedRun[],
  published: PublishedCard,
  figures: FigureList,
): string {
  const series = detection.map((run) => ({
    name: shortSeries(run, runs),
    metrics: run.metrics,
    tiers: askedTiers(run),
  }));
  const trials = detection.map((run) => `${run.records.length} trials asked by ${run.label}`).join(", ");
  return figures.add(
    sideBySideBars(series, { published }),
    `Published card (hatched, another model) and the runs of this report, by what is asked about; 95 % intervals, methods in the tables; n: ${trials}. What stands together asks alike, but contexts, strengths and the number of clean trials are each protocol's own.`,
    detection.map((run) => sourceOf(run, runs)).join(" "),
  );
}

const COLUMNS = [
  "asked about",
  "steered : clean",
  "balanced accuracy",
  "plain accuracy",
  "hit rate",
  "false-alarm rate",
  "d', log-linear",
  "d', clipped",
  "AUROC",
  "mass",
];

function tierTables(detection: readonly LoadedRun[], runs: readonly LoadedRun[], published: PublishedCard): string {
  const head = { heading: `${published.model} (published, another model): the card's adapter and protocol` };
  const tuned = detection.flatMap((run) => [{ heading: seriesName(run, runs) }, ...tierRows(run, "tuned")]);
  const base = detection.flatMap((run) => {
    const rows = tierRows(run, "base");
    return rows.length === 0
      ? []
      : [{ heading: `${modelLabel(run)}: before training, asked by ${run.label}` }, ...rows];
  });
  const after =
    "After training. Small: 95 % interval; hover over a number for its method. Published counts: Wilson and Clopper-Pearson on the card's totals, as if its trials were independent. d': log-linear adds half a trial to each count; clipped holds rates within [0.01, 0.99], as the card does, and cannot exceed 4.65. Plain accuracy moves with the mix of steered and clean trials.";
  const before = `The same trials before training. The card states a plain accuracy of ${published.baseline_accuracy} before training; always answering no earns 50 of 650 = 0.077 on its 600 : 50 trials.`;
  return [
    table(COLUMNS, [head, ...publishedRows(published), ...tuned], after),
    ...(base.length === 0 ? [] : [table(COLUMNS, base, before)]),
  ].join("\n");
}

function publishedRows(published: PublishedCard): (Cell | string)[][] {
  const tiers = published.tiers.map((tier) => {
    const { balancedAccuracy, hitRate, falseAlarmRate } = publishedEstimates(tier);
    const words = KIND_WORDS[publishedKind(tier)];
    const counts = `${tier.audit.steered} : ${tier.audit.unsteered}`;
    const figures = [
      rate(balancedAccuracy),
      formatNumber(tier.accuracy),
      rate(hitRate),
      rate(falseAlarmRate),
      UNKNOWN,
      formatNumber(tier.d_prime),
    ];
    return [`${words}, contexts as in training`, counts, ...figures, UNKNOWN, UNKNOWN];
  });
  const alarms = { text: formatNumber(published.info_prompt.fine_tuned_fpr), detail: "n not stated" };
  return [
    ...tiers,
    [KIND_WORDS.explained, "not stated", UNKNOWN, UNKNOWN, UNKNOWN, alarms, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN],
  ];
}

function tierRows(run: LoadedRun, condition: string): (Cell | string)[][] {
  return tierNumbers(run.metrics)
    .filter((numbers) => numbers.condition === condition)
    .map((numbers) => [
      { text: titleOfTier(run, numbers.tier), isSentence: true },
      `${numbers.steered} : ${numbers.clean}`,
      rate(numbers.balancedAccuracy),
      rate(numbers.accuracy),
      rate(numbers.hitRate),
      rate(numbers.falseAlarmRate),
      rate(numbers.dPrime),
      rate(numbers.dPrimeClipped),
      rate(numbers.auroc),
      rate(numbers.mass),
    ]);
}

/** What trains and measures an adapter by each shipped protocol. */
const COMMANDS: Readonly<Record<string, string>> = {
  card: "npx steerlab batch --notebook 05-card-protocol",
  strict: "npx steerlab batch",
};

/** What is not side by side yet, and the command that measures it. */
function missing(detection: readonly LoadedRun[], runs: readonly LoadedRun[]): string {
  if (detection.length === 0) return "";
  const trained = detection.map((run) => trainedBy(run, runs));
  const isOf =
    (name: string) =>
    (label: string | null): boolean =>
      label === name || label?.startsWith(`${name} for `) === true;
  const absent = Object.keys(COMMANDS).filter((name) => !trained.some(isOf(name)));
  return absent
    .map(
      (name) =>
        `<p class="soft">Not measured here: an adapter trained by the protocol ${name} on this model. <code>${COMMANDS[name]}</code> trains and measures one and writes this page again with it.</p>`,
    )
    .join("\n");
}
