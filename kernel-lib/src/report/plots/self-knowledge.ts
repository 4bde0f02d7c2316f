/** Answers about itself and predictions of its own behaviour, base beside tuned, with intervals: points on one rate axis. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { axis, errorBars, figure, type PlotOptions, rateAxis, rateLine, WHO } from "./theme";

const CONDITIONS = [
  { condition: "base", name: "before training", color: WHO.base, symbol: "circle-open", shift: -0.16 },
  { condition: "tuned", name: "after training", color: WHO.tuned, symbol: "circle", shift: 0.16 },
] as const;

/** Self-prediction figures that are rates, in words. */
const FIGURES: Readonly<Record<string, string>> = {
  accuracy: "right",
  commonestLetterAccuracy: "right by always saying the commonest letter",
  biasCorrectedAccuracy: "right, both orders together",
  balancedAccuracy: "balanced accuracy",
  auroc: "AUROC",
};
const TASKS: Readonly<Record<string, string>> = {
  firstCharacter: "first letter",
  twoOptions: "own answer of two",
  knowledge: "own choice, general knowledge",
  property: "true of its answer",
};
const keyOf = (name: string, { task, subset }: Metric["group"]): string =>
  `${TASKS[task] ?? task}: ${FIGURES[name] ?? name}${subset === "all" ? "" : `, ${subset}`}`;

interface Row {
  label: string;
  /** the row's metric in a condition */
  of: (condition: string) => Metric | undefined;
}

/** One row per label, both conditions a little apart, so that equal rates stay visible. */
function pairs(title: string, axisTitle: string, rows: readonly Row[], shapes: readonly object[] = []): FigureJson {
  const data = CONDITIONS.map(({ condition, name, color, symbol, shift }) => {
    const found = rows.map(({ of }) => of(condition) ?? { value: null, low: null, high: null, n: 0 });
    return {
      type: "scatter",
      mode: "markers",
      name,
      x: found.map(({ value }) => value),
      y: rows.map((_, i) => i + shift),
      error_x: errorBars(found, color),
      marker: { color, symbol, size: 8 },
      text: rows.map(({ label }, i) => `${label}, n ${found[i].n}`),
      hovertemplate: "%{text}: %{x:.3f}<extra></extra>",
    };
  });
  return figure(title, data, {
    height: 190 + 34 * Math.max(2, rows.length),
    xaxis: rateAxis(axisTitle),
    yaxis: axis("", {
      tickvals: rows.map((_, i) => i),
      ticktext: rows.map(({ label }) => label),
      range: [rows.length - 0.4, -0.6],
    }),
    shapes,
    legend: { orientation: "h", y: -60 / (34 * Math.max(2, rows.length)), yanchor: "top" },
    margin: { t: 56, r: 24, b: 90, l: 240 },
  });
}

/**
 * Share of sampled answers that make a claim, by question.
 * @param options.claim affirmsInnerLife, deniesInnerLife, saysAssistant, saysHuman or onlyYesNo
 * @param options.texts question id to its words, for the labels
 * @returns a plotly figure for `showFigure`; rates 0 to 1, base beside tuned
 * @example
 * await showFigure(identityForest(identity.metrics, { claim: "deniesInnerLife" }));
 */
export function identityForest(
  metrics: readonly Metric[],
  options: PlotOptions & { claim: string; texts?: ReadonlyMap<string, string> },
): FigureJson {
  const { claim, title = `Sampled answers: ${claim}`, texts } = options;
  const of = findMetrics(metrics, { name: claim, tier: "identity" }).filter((metric) => "question" in metric.group);
  const rows = [...new Set(of.map((metric) => String(metric.group.question)))].map((question) => ({
    label: texts?.get(question) ?? question,
    of: (condition: string) =>
      of.find((metric) => metric.group.question === question && metric.condition === condition),
  }));
  return pairs(title, "share of samples", rows);
}

/**
 * Self-prediction figures that are rates, on all stimuli and on those that base and tuned answer alike.
 *
 * @returns a plotly figure for `showFigure`; rates 0 to 1, base beside tuned
 * @example
 * await showFigure(selfPredictionForest(knowing.metrics));
 */
export function selfPredictionForest(metrics: readonly Metric[], options: PlotOptions = {}): FigureJson {
  const { title = "Does it know what it would write?" } = options;
  const of = findMetrics(metrics, { tier: "self_prediction" }).filter(
    ({ value, name }) => value !== null && Object.keys(FIGURES).includes(name),
  );
  const keys = [...new Set(of.map(({ name, group }) => keyOf(name, group)))];
  const rows = keys.map((label) => ({
    label,
    of: (condition: string) =>
      of.find(({ name, group, condition: asked }) => keyOf(name, group) === label && asked === condition),
  }));
  return pairs(title, "rate with 95 % interval; one half dotted", rows, [rateLine(0.5, "up")]);
}
