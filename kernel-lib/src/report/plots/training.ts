/** Training curves: loss, accuracy and answer mass by step; accuracy without mass would hide a collapse. */
import type { FigureJson } from "../../page";
import type { StepEvent, TrainEvent, ValidationEvent } from "../../train";
import { axis, figure, KIND_COLORS, type PlotOptions, rateAxis } from "./theme";

const PANELS = [
  { field: "loss", title: "loss (nats)", axis: "y3" },
  { field: "accuracy", title: "accuracy", axis: "y2" },
  { field: "mass", title: "answer mass", axis: "y" },
] as const;
const TRACE = { type: "scatter" } as const;

/** Three panels over one step axis: each batch faint, its running mean, and validation points. */
export function trainingCurves(events: readonly TrainEvent[], options: PlotOptions = {}): FigureJson {
  const { title = "Training" } = options;
  const steps = events.filter((event): event is StepEvent => event.kind === "step");
  const validations = events.filter((event): event is ValidationEvent => event.kind === "validation");
  const data = PANELS.flatMap(({ field, axis: yaxis }, i) => {
    const values = steps.map((event) => event[field]);
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
        y: runningMean(
          values.map((value) => value ?? Number.NaN),
          20,
        ),
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
        y: validations.map((event) => event[field]),
        yaxis,
        line: { color: KIND_COLORS.vectors, width: 2 },
        marker: { size: 7, symbol: "diamond" },
      },
    ];
  });
  return figure(title, data, {
    height: 620,
    grid: { rows: 3, columns: 1 },
    xaxis: axis("optimizer step", { anchor: "y" }),
    yaxis: rateAxis(PANELS[2].title, { domain: [0, 0.28] }),
    yaxis2: rateAxis(PANELS[1].title, { domain: [0.36, 0.64] }),
    yaxis3: axis(PANELS[0].title, { domain: [0.72, 1], rangemode: "tozero" }),
    legend: { orientation: "h", y: -0.12 },
  });
}

/** Mean of the last `width` values, of fewer at the start. */
function runningMean(values: readonly number[], width: number): number[] {
  let sum = 0;
  return values.map((value, i) => {
    sum += value - (i >= width ? values[i - width] : 0);
    return sum / Math.min(i + 1, width);
  });
}
