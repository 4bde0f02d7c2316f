/**
 * A study among its twins: does it detect, does it answer the question, and what did that cost elsewhere? Every seed is a point, and the
 * weight of retention draws a curve.
 */
import { groupBy, STUDY, type TwinRow } from "../../evaluate";
import type { FigureJson } from "../../page";
import { type Estimate, mean } from "../../stats";
import { axis, figure, GREY, type PlotOptions, rateAxis } from "./theme";

/** Okabe and Ito's palette (2008); the symbol changes with every twin too. */
const COLORS = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const STUDY_COLOR = "#0072B2";
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down"];

interface Quantity {
  title: string;
  of: (row: TwinRow) => Estimate | null;
}
const GAINS: readonly Quantity[] = [
  { title: "balanced accuracy, held out", of: (row) => row.balancedAccuracy },
  { title: "selectivity", of: (row) => row.selectivity },
];
const COSTS: readonly Quantity[] = [
  { title: "mean |change of P(yes)|, 75 questions", of: (row) => row.shift },
  { title: "KL from the base on chats, nats a token", of: (row) => row.chatDivergence },
];
const GAP = 0.12;

/**
 * Balanced accuracy (above) and selectivity (below) against the mean |change of P(yes)| on side-effect questions (left) and the
 * divergence on chats (right); the study is a star. A row or column in which nothing was measured is left out.
 *
 * @param rows of `runTwins` or `twinStudiesOf`; a figure that was not measured has no point
 * @returns plotly figure of up to four panels, one point per twin and seed; the line joins means of arms that differ in retention alone
 * @example
 * const rows = await runTwins(model, protocol, { twins: ["no-retention"], seeds: [1] });
 * await showFigure(twinsFigure(rows));
 */
export function twinsFigure(rows: readonly TwinRow[], options: PlotOptions = {}): FigureJson {
  const isMeasured = ({ of }: Quantity): boolean => rows.some((row) => pointOf(of(row)) !== null);
  const [gains, costs] = [GAINS.filter(isMeasured), COSTS.filter(isMeasured)];
  const { title = `Detection ${gains.length > 1 ? "and selectivity " : ""}against side effects` } = options;
  // The study is drawn last, above its twins, and stands first in the legend.
  const twins = [...new Set(rows.map(({ twin }) => twin))].sort((a, b) => Number(a === STUDY) - Number(b === STUDY));
  const panels = gains.flatMap((gain, down) => costs.map((cost, across) => ({ gain, cost, down, across })));
  const data = panels.flatMap(({ gain, cost }, i) => {
    const suffix = i === 0 ? "" : String(i + 1);
    const place = { type: "scatter", xaxis: `x${suffix}`, yaxis: `y${suffix}`, legendgroup: "retention" };
    const line = curve(rows, gain, cost);
    return [
      ...(line.length < 2
        ? []
        : [
            {
              ...place,
              mode: "lines",
              name: "weight of retention",
              showlegend: i === 0,
              x: line.map(({ x }) => x),
              y: line.map(({ y }) => y),
              hoverinfo: "skip",
              line: { color: GREY, width: 1.5, dash: "dot" },
            },
          ]),
      ...twins.map((twin, t) => {
        const points = rows.filter(
          (row) => row.twin === twin && pointOf(cost.of(row)) !== null && pointOf(gain.of(row)) !== null,
        );
        return {
          ...place,
          mode: "markers",
          name: twin,
          legendgroup: twin,
          legendrank: twin === STUDY ? 1 : 1000,
          showlegend: i === 0,
          x: points.map((row) => pointOf(cost.of(row))),
          y: points.map((row) => pointOf(gain.of(row))),
          text: points.map((row) => pointText(row, gain, cost)),
          hovertemplate: "%{text}<extra></extra>",
          marker: {
            color: twin === STUDY ? STUDY_COLOR : COLORS[t % COLORS.length],
            symbol: twin === STUDY ? "star" : SYMBOLS[t % SYMBOLS.length],
            size: twin === STUDY ? 17 : 10,
            line: { width: 1, color: "rgba(255,255,255,0.8)" },
          },
        };
      }),
    ];
  });
  const axes = panels.map(({ gain, cost, down, across }, i) => {
    const suffix = i === 0 ? "" : String(i + 1);
    const isLowest = down === gains.length - 1;
    const x = { domain: span(across, costs.length), anchor: `y${suffix}`, ...scaleOf(rows, cost) };
    const y = { domain: span(gains.length - 1 - down, gains.length), anchor: `x${suffix}`, tickformat: ".0%" };
    return {
      [`xaxis${suffix}`]: axis(isLowest ? cost.title : "", x),
      [`yaxis${suffix}`]: (gain === GAINS[0] ? rateAxis : axis)(across === 0 ? gain.title : "", y),
    };
  });
  return figure(title, data, {
    height: 160 + 280 * Math.max(1, gains.length),
    legend: { orientation: "h", y: gains.length > 1 ? -0.12 : -0.22 },
    ...(Object.assign({}, ...axes) as object),
  });
}

/** Costs differ by powers of ten, so that a linear axis would heap up all arms but one; a cost of 0 has no logarithm. */
function scaleOf(rows: readonly TwinRow[], { of }: Quantity): object {
  const costs = rows.map((row) => pointOf(of(row))).filter((cost): cost is number => cost !== null);
  return costs.every((cost) => cost > 0) ? { type: "log", dtick: "D2" } : { rangemode: "tozero" };
}

/** Where place `i` of `count` lies on the figure, 0..1. */
function span(i: number, count: number): [number, number] {
  const width = (1 - GAP * (count - 1)) / count;
  return [i * (width + GAP), Math.min(1, i * (width + GAP) + width)];
}

const pointOf = (estimate: Estimate | null): number | null => estimate?.value ?? null;

/** Names of arms that differ from the study in the weight of retention and nothing else. */
const isOfRetention = (twin: string): boolean =>
  twin === STUDY || twin === "no-retention" || twin.startsWith("retention-weight-");

/** Means over seeds, by weight of retention; fewer than two weights draw no curve. */
function curve(rows: readonly TwinRow[], gain: Quantity, cost: Quantity): { x: number; y: number }[] {
  const points = rows.flatMap((row) => {
    const [x, y] = [pointOf(cost.of(row)), pointOf(gain.of(row))];
    return isOfRetention(row.twin) && x !== null && y !== null ? [{ weight: row.retentionWeight, x, y }] : [];
  });
  return [...groupBy(points, ({ weight }) => String(weight)).values()]
    .sort((a, b) => a[0].weight - b[0].weight)
    .map((of) => ({ x: mean(of.map(({ x }) => x)).value as number, y: mean(of.map(({ y }) => y)).value as number }));
}

const shown = (value: number | null, digits = 2): string => (value === null ? "-" : value.toFixed(digits));

function pointText(row: TwinRow, gain: Quantity, cost: Quantity): string {
  const { value, low, high, n } = gain.of(row) as Estimate;
  const interval = low === null || high === null ? "" : ` [${shown(low)}, ${shown(high)}]`;
  return `${row.twin}, seed ${row.seed}: ${shown(value)}${interval}, n ${n}<br>${cost.title}: ${shown(pointOf(cost.of(row)), 3)}`;
}
