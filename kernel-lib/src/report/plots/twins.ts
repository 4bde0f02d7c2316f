/** A study among its twins: does it detect, does it answer the question, and what did that cost elsewhere? Every seed is a point. */
import { STUDY, type TwinRow } from "../../evaluate";
import type { FigureJson } from "../../page";
import type { Estimate } from "../../stats";
import { axis, figure, type PlotOptions, rateAxis } from "./theme";

/** Okabe and Ito's palette (2008); the symbol changes with every twin too. */
const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down"];
const DETECTION = {
  title: "balanced accuracy, held-out vectors",
  of: (row: TwinRow): Estimate | null => row.balancedAccuracy,
};
const SELECTIVITY = { title: "selectivity (hits minus leaks)", of: (row: TwinRow): Estimate | null => row.selectivity };

/**
 * Balanced accuracy (left) and selectivity (right) against the mean |change of P(yes)| on side-effect questions; the study is a star.
 * A protocol that asks no control questions has no selectivity, and the figure no right panel.
 *
 * @param rows of `runTwins` or `twinRowsOf`; a figure that was not measured has no point
 * @returns plotly figure of two panels or one, one point per twin and seed
 * @example
 * const rows = await runTwins(model, protocol, { twins: ["no-retention"], seeds: [1] });
 * await showFigure(twinsFigure(rows));
 */
export function twinsFigure(rows: readonly TwinRow[], options: PlotOptions = {}): FigureJson {
  const hasControls = rows.some(({ selectivity }) => (selectivity?.value ?? null) !== null);
  const panels = hasControls ? [DETECTION, SELECTIVITY] : [DETECTION];
  const { title = `Detection ${hasControls ? "and selectivity " : ""}against side effects` } = options;
  const twins = [...new Set(rows.map(({ twin }) => twin))].sort((a, b) => Number(b === STUDY) - Number(a === STUDY));
  const data = twins.flatMap((twin, i) =>
    panels.map(({ of }, panel) => {
      const points = rows.filter(
        (row) => row.twin === twin && row.shift.value !== null && (of(row)?.value ?? null) !== null,
      );
      return {
        type: "scatter",
        mode: "markers",
        name: twin,
        legendgroup: twin,
        showlegend: panel === 0,
        xaxis: panel === 0 ? "x" : "x2",
        yaxis: panel === 0 ? "y" : "y2",
        x: points.map(({ shift }) => shift.value),
        y: points.map((row) => of(row)?.value),
        text: points.map((row) => pointText(row, of(row) as Estimate)),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          color: COLORS[i % COLORS.length],
          symbol: twin === STUDY ? "star" : SYMBOLS[i % SYMBOLS.length],
          size: twin === STUDY ? 17 : 10,
          line: { width: 1, color: "rgba(255,255,255,0.8)" },
        },
      };
    }),
  );
  const moved = "mean |change of P(yes)|";
  return figure(title, data, {
    height: 460,
    legend: { orientation: "h", y: -0.2 },
    xaxis: axis(moved, { domain: [0, hasControls ? 0.44 : 1], rangemode: "tozero" }),
    yaxis: rateAxis(DETECTION.title),
    ...(hasControls
      ? {
          xaxis2: axis(moved, { domain: [0.56, 1], rangemode: "tozero", anchor: "y2" }),
          yaxis2: axis(SELECTIVITY.title, { anchor: "x2", tickformat: ".0%" }),
        }
      : {}),
  });
}

const shown = (value: number | null, digits = 2): string => (value === null ? "-" : value.toFixed(digits));

function pointText({ twin, seed, shift }: TwinRow, { value, low, high, n }: Estimate): string {
  const interval = low === null || high === null ? "" : ` [${shown(low)}, ${shown(high)}]`;
  return `${twin}, seed ${seed}: ${shown(value)}${interval}, n ${n}; P(yes) moved by ${shown(shift.value, 3)}`;
}
