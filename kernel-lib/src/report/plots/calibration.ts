/** Does P(steered) mean what it says, and on how much mass does it stand? Share of steered trials by stated probability. */
import type { FigureJson } from "../../page";
import { type ClusteredEstimate, clusteredRate } from "../../stats";
import type { TrialRecord } from "../../study";
import { axis, errorBars, figure, GREY, HEAT, type PlotOptions, rateAxis, WHO } from "./theme";

const BINS = 10;

/** Trials of a bin share vectors and topics. */
function steeredShare(bin: readonly TrialRecord[]): ClusteredEstimate {
  const clusters = { vector: bin.map(({ vector }) => vector), topic: bin.map(({ context }) => context) };
  return clusteredRate(
    bin.map(({ target }) => target === "steered"),
    clusters,
  );
}

/** Reliability diagram of one set of records; each point's colour is the mean answer mass of its bin. */
export function calibrationPlot(records: readonly TrialRecord[], options: PlotOptions = {}): FigureJson {
  const { title = "Calibration and answer mass" } = options;
  const bins = Array.from({ length: BINS }, (_, i) =>
    records.filter(({ probability }) => Math.min(BINS - 1, Math.floor(probability * BINS)) === i),
  ).filter((bin) => bin.length > 0);
  const mean = (bin: readonly TrialRecord[], of: (record: TrialRecord) => number): number =>
    bin.reduce((sum, record) => sum + of(record), 0) / bin.length;
  const shares = bins.map(steeredShare);
  const data = [
    {
      type: "scatter",
      mode: "lines",
      x: [0, 1],
      y: [0, 1],
      line: { dash: "dot", color: GREY },
      hoverinfo: "skip",
      showlegend: false,
    },
    {
      type: "scatter",
      mode: "markers",
      showlegend: false,
      x: bins.map((bin) => mean(bin, (record) => record.probability)),
      y: shares.map((share) => share.value),
      error_y: errorBars(shares, WHO.tuned),
      marker: {
        size: 11,
        color: bins.map((bin) => mean(bin, (record) => record.mass)),
        colorscale: HEAT,
        cmin: 0,
        cmax: 1,
        line: { width: 1, color: GREY },
        colorbar: { title: { text: "mean mass" } },
      },
      text: bins.map((bin) => `n ${bin.length}`),
      hovertemplate: "%{x:.2f} -> %{y:.2f}, %{text}<extra></extra>",
    },
  ];
  return figure(title, data, {
    height: 430,
    xaxis: axis("P(steered label), renormalised over the labels", { range: [-0.03, 1.03] }),
    yaxis: rateAxis("share of trials that were steered"),
  });
}
