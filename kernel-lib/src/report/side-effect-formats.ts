/**
 * Side effects by format side by side, with the floor under them: what turns when nothing but the words change, or the training seed.
 */
import { seedNoise, singleTurns } from "../evaluate";
import { findMetrics, type Metric } from "../runs";
import { type Cell, paragraph, quoted, table } from "./html";
import type { LoadedRun } from "./load";

/** Changed answers first, then how far probabilities moved. */
const FIGURES: Readonly<Record<string, string>> = {
  "answers turned": "answerFlips",
  "to yes": "answerFlipsToYes",
  "to no": "answerFlipsToNo",
  "spelling only": "spellingChanges",
  "P(yes), mean change": "deltaYes",
  "P(yes), mean |change|": "movedYes",
  "mass, mean change": "deltaMass",
};

/** What is compared with the base's single turns, or with the base in the same format. */
function rowsOf(condition: string): { what: string; condition: string; group: Metric["group"] }[] {
  const whose = `${condition} - base`;
  const change = `${condition}-base`;
  return [
    { what: `${whose}, single turn`, condition: change, group: {} },
    { what: `${whose}, after a clean context`, condition: change, group: { format: "after-clean" } },
    { what: `${whose}, after a steered context`, condition: change, group: { format: "after-steered" } },
    { what: "floor: base in other words - base", condition: "reworded-base", group: {} },
    { what: "base asked again - base", condition: "base-again-base", group: {} },
  ];
}

function cellsOf(metrics: readonly Metric[], condition: string): { what: string; cells: Cell[] }[] {
  return rowsOf(condition).flatMap(({ what, ...where }) => {
    const cells = Object.values(FIGURES).map((name) => findMetrics(metrics, { name, ...where })[0]);
    return cells[0] === undefined ? [] : [{ what, cells: cells.map(quoted) }];
  });
}

/**
 * Rows for a table of a notebook: share of answers that turned and mean changes, by format, with the noise floor below.
 *
 * @param condition "tuned", or the name of a twin
 * @returns one row per format that was asked, every figure with its interval and n
 * @example
 * showTable(sideEffectFormats((await evaluateSideEffects(model, "strict", { adapter })).metrics));
 */
export function sideEffectFormats(metrics: readonly Metric[], condition = "tuned"): Record<string, string>[] {
  const names = Object.keys(FIGURES);
  return cellsOf(metrics, condition).map(({ what, cells }) => ({
    what,
    ...Object.fromEntries(cells.map(({ text }, i) => [names[i], text])),
  }));
}

/** Table of formats and noise; seeds where two or more no-steer trainings are among the runs. */
export function formatSection(run: LoadedRun, runs: readonly LoadedRun[], condition: string): string[] {
  const rows = cellsOf(run.metrics, condition);
  const caption =
    "Answers that turned before means that moved; a change of spelling is no change of answer. 95 % intervals over questions, on caches over questions and contexts; methods on hover. What a mean of tuned - base must exceed is the floor: the base's own change when a question is asked in other words.";
  return [
    table(
      ["compared", ...Object.keys(FIGURES)],
      rows.map(({ what, cells }) => [{ text: what, isSentence: true }, ...cells]),
      caption,
    ),
    paragraph(noiseSentence(run, runs), "soft"),
  ];
}

/** How far P(yes) of one question moves among wordings and among seeds. */
function noiseSentence(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const [wording] = findMetrics(run.metrics, { name: "wordingNoise", tier: "side_effects" });
  const [seeds] = seedNoise(noSteerRecords(runs));
  const sd = (metric: Metric | undefined): string => quoted(metric).text;
  return [
    `Standard deviation of P(yes) of one question among its wordings, base model: ${sd(wording)}.`,
    seeds === undefined
      ? "Among seeds of a training without steering: not measured here (steerlab twins --twins no-steer)."
      : `Among seeds of a training without steering: ${sd(seeds)}.`,
  ].join(" ");
}

/** Answers of every no-steer training among the runs, each adapter once and under a name of its own. */
function noSteerRecords(runs: readonly LoadedRun[]): Parameters<typeof seedNoise>[0] {
  const trained = runs.filter(({ protocol }) => protocol?.training.control === "no-steer");
  const once = new Map(trained.map((run) => [run.meta.adapterHash ?? run.id, run]));
  return [...once].flatMap(([hash, { sideEffects }]) =>
    singleTurns(sideEffects)
      .filter(({ condition }) => condition === "tuned")
      .map((record) => ({ ...record, condition: `no-steer ${hash}` })),
  );
}
