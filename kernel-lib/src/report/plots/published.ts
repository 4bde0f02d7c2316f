/** The published card's figures beside runs of ours. Other models, other protocols: each bar says whose it is. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { type PublishedCard, publishedEstimates } from "../published";
import { axis, COLORS, errorBars, figure, GREY, rateAxis } from "./theme";

/** One run in the figure. */
export interface SideBySideSeries {
  /** whose numbers: model, adapter, protocol */
  name: string;
  metrics: readonly Metric[];
}

type Interval = Pick<Metric, "value" | "low" | "high" | "n">;
const UNKNOWN: Interval = { value: null, low: null, high: null, n: 0 };
const PANELS = [
  { metric: "balancedAccuracy", title: "balanced accuracy", axis: "y2" },
  { metric: "falseAlarmRate", title: "false-alarm rate", axis: "y" },
] as const;
/** Bars in the order of the text: what is easiest first, what undoes it last. */
const TIERS = ["in_distribution", "held_out_random", "concepts_102", "clean_held_out", "hard_negatives", "info_prompt"];

/** Balanced accuracy and false-alarm rate by tier: the published card (hatched, another model) and each of our runs. */
export function sideBySideBars(published: PublishedCard, runs: readonly SideBySideSeries[]): FigureJson {
  const tierOf = (metrics: readonly Metric[], name: string, tier: string): Interval =>
    findMetrics(metrics, { name, tier, condition: "tuned", group: {} })[0] ?? UNKNOWN;
  const fromCard = (name: (typeof PANELS)[number]["metric"], tier: string): Interval => {
    const found = published.tiers.find((item) => item.tier === tier);
    return found === undefined ? UNKNOWN : publishedEstimates(found)[name];
  };
  const series = [
    {
      name: `${(published.model.split("/").pop() as string).replace(/-Instruct$/, "")}, published (another model)`,
      marker: { color: GREY, pattern: { shape: "/" } },
      of: fromCard,
    },
    ...runs.map((run, i) => ({
      name: run.name,
      marker: { color: COLORS[[0, 4, 2, 3, 5][i % 5]] },
      of: (name: string, tier: string) => tierOf(run.metrics, name, tier),
    })),
  ];
  const tiers = TIERS.filter((tier) =>
    series.some(({ of }) => PANELS.some(({ metric }) => of(metric, tier).value !== null)),
  );
  const data = PANELS.flatMap(({ metric, title, axis: yaxis }, panel) =>
    series.map(({ name, marker, of }) => {
      const values = tiers.map((tier) => of(metric, tier));
      return {
        type: "bar",
        name,
        legendgroup: name,
        showlegend: panel === 0,
        x: tiers,
        y: values.map(({ value }) => value),
        yaxis,
        error_y: errorBars(values, GREY),
        marker,
        customdata: values.map(({ n }) => n),
        hovertemplate: `%{x}, ${title}: %{y:.3f}, n %{customdata}<extra>${name}</extra>`,
      };
    }),
  );
  return figure("Published card and runs here (different models)", data, {
    height: 590 + 20 * series.length,
    barmode: "group",
    xaxis: axis("tier", { type: "category", anchor: "y" }),
    yaxis: rateAxis(PANELS[1].title, { domain: [0, 0.44] }),
    yaxis2: rateAxis(PANELS[0].title, { domain: [0.56, 1] }),
    legend: { orientation: "v", y: -0.27, yanchor: "top", x: 0 },
  });
}

/** The same for one run. */
export function publishedBars(published: PublishedCard, metrics: readonly Metric[], ourModel: string): FigureJson {
  return sideBySideBars(published, [{ name: `this run: ${ourModel}`, metrics }]);
}
