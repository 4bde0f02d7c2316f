/**
 * Training curves: loss, accuracy and answer mass by step, and the divergence from the base model where retention trains on it.
 * Accuracy without mass would hide a collapse, and both without the divergence what else was changed.
 */
import type { FigureJson } from "../../page";
import type { StepChoice, StepEvent, TrainEvent, ValidationEvent } from "../../train";
import { axis, figure, KIND_COLORS, type PlotOptions, rateAxis, rateLine, WHO } from "./theme";

/** From the bottom up. */
const PANELS = [
  { field: "mass", title: "answer mass", isRate: true },
  { field: "accuracy", title: "accuracy", isRate: true },
  { field: "loss", title: "loss (nats)", isRate: false },
  { field: "match", title: "KL from base (nats)", isRate: false },
] as const;
/** Pixels of one panel. */
const PANEL_HEIGHT = 200;
/** Share of a panel's height that stays free below the next. */
const GAP = 0.22;
const TRACE = { type: "scatter" } as const;

/**
 * A panel for each figure over one step axis: each batch faint, its running mean, and validation points.
 *
 * @param events of a run, as `DetectorTraining.events`; loss in nats, accuracy and mass 0 to 1
 * @param options.choice of a run that could stop early: its steps are marked, and the axis goes to the last planned one
 * @returns a plotly figure for `showFigure`
 * @example
 * await showFigure(trainingCurves(run.events, { choice: run.choice }));
 */
export function trainingCurves(
  events: readonly TrainEvent[],
  options: PlotOptions & { choice?: StepChoice | null } = {},
): FigureJson {
  const { title = "Training", choice = null } = options;
  const steps = events.filter((event): event is StepEvent => event.kind === "step");
  const validations = events.filter((event): event is ValidationEvent => event.kind === "validation");
  const panels = PANELS.filter(({ field }) => field !== "match" || events.some(({ match }) => match !== undefined));
  const data = panels.flatMap(({ field }, i) => {
    const yaxis = i === 0 ? "y" : `y${i + 1}`;
    const values = steps.map((event) => event[field] ?? null);
    const first = i === 0;
    return [
      {
        ...TRACE,
        mode: "lines",
        name: "batch",
        legendgroup: "batch",
        showlegend: first,
        x: steps.map((event) => event.step),
        y: values,
        yaxis,
        line: { color: KIND_COLORS.trained, width: 1 },
        opacity: 0.4,
      },
      {
        ...TRACE,
        mode: "lines",
        name: "mean of 20 steps",
        legendgroup: "mean",
        showlegend: first,
        x: steps.map((event) => event.step),
        y: runningMean(values, 20),
        yaxis,
        line: { color: KIND_COLORS.trained, width: 2.5 },
      },
      {
        ...TRACE,
        mode: "lines+markers",
        name: "validation",
        legendgroup: "validation",
        showlegend: first,
        x: validations.map((event) => event.step),
        y: validations.map((event) => event[field] ?? null),
        yaxis,
        line: { color: KIND_COLORS.vectors, width: 2 },
        marker: { size: 7, symbol: "diamond" },
      },
    ];
  });
  const axes = panels.map(({ title: name, isRate }, i) => {
    const domain = [i / panels.length, (i + 1 - GAP) / panels.length];
    const drawn = isRate ? rateAxis(name, { domain }) : axis(name, { domain, rangemode: "tozero" });
    return [i === 0 ? "yaxis" : `yaxis${i + 1}`, drawn];
  });
  return figure(title, data, {
    height: PANEL_HEIGHT * panels.length + 20,
    grid: { rows: panels.length, columns: 1 },
    xaxis: axis("optimizer step", {
      anchor: "y",
      ...(choice === null ? {} : { range: [0, choice.plannedSteps * 1.02] }),
    }),
    ...(choice === null ? {} : marksOf(choice, panels.length)),
    ...Object.fromEntries(axes),
    legend: { orientation: "h", y: -0.4 / panels.length },
  });
}

/** A line over all panels where the weights that were kept were reached, and one where training stopped before its end. */
function marksOf({ step, stoppedStep, plannedSteps }: StepChoice, panels: number): object {
  const marks = [
    { at: step, text: `kept: step ${step}`, color: KIND_COLORS.vectors },
    ...(stoppedStep < plannedSteps
      ? [{ at: stoppedStep, text: `stopped: step ${stoppedStep} of ${plannedSteps}`, color: WHO.control }]
      : []),
  ];
  return {
    shapes: marks.map(({ at, color }) => rateLine(at, "up", { line: { dash: "dot", width: 2, color } })),
    // One above the other: the two steps may be close.
    annotations: marks.map(({ at, text, color }, i) => ({
      text,
      x: at,
      y: 1 - GAP / panels,
      yref: "paper",
      yanchor: "bottom",
      yshift: 16 * i,
      xanchor: at > plannedSteps / 2 ? "right" : "left",
      showarrow: false,
      font: { color, size: 12 },
    })),
  };
}

/** Mean of the last `width` values that are there, of fewer at the start; null before the first. */
function runningMean(values: readonly (number | null)[], width: number): (number | null)[] {
  const window: number[] = [];
  let sum = 0;
  return values.map((value) => {
    if (value !== null) {
      window.push(value);
      sum += value;
      if (window.length > width) sum -= window.shift() as number;
    }
    return window.length === 0 ? null : sum / window.length;
  });
}
