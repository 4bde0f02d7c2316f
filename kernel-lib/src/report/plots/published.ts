/** The published card's figures beside runs of ours. Other models, other protocols: each bar says whose it is. */
import type { FigureJson } from "../../page";
import { findMetrics, type Metric } from "../../runs";
import { mainTier, type TierKind, type TierView } from "../../study";
import { type PublishedCard, publishedEstimates, publishedKind } from "../published";
import { axis, errorBars, figure, GREY, KIND_WORDS, type PlotOptions, rateAxis, WHO } from "./theme";

/** One run in the figure. */
export interface SideBySideSeries {
  /** whose numbers: model, adapter, protocol */
  name: string;
  metrics: readonly Metric[];
  /** of the protocol that asked */
  tiers: readonly TierView[];
}

type Interval = Pick<Metric, "value" | "low" | "high" | "n">;
const NONE: Interval = { value: null, low: null, high: null, n: 0 };
const PANELS = [
  { metric: "balancedAccuracy", title: "balanced accuracy", axis: "y2" },
  { metric: "falseAlarmRate", title: "false-alarm rate", axis: "y" },
] as const;
/** In the order of the text: what is easiest first, what undoes it last. */
const KINDS: readonly TierKind[] = ["trained", "vectors", "concepts", "clean", "unusual", "explained"];
/** The tuned model's colour throughout; runs differ by pattern. */
const PATTERNS = ["", ".", "x", "-", "+"];

/** The tier of a kind that was really asked, or null. */
export function askedTier({ metrics, tiers }: Omit<SideBySideSeries, "name">, kind: TierKind): TierView | null {
  const asked = new Set(metrics.filter(({ condition }) => condition === "tuned").map(({ tier }) => tier));
  return mainTier(
    tiers.filter(({ name }) => asked.has(name)),
    kind,
  );
}

/**
 * Balanced accuracy and false-alarm rate by kind of tier, of each run and, where given, of the published card (hatched,
 * another model).
 */
export function sideBySideBars(
  runs: readonly SideBySideSeries[],
  options: PlotOptions & { published?: PublishedCard } = {},
): FigureJson {
  const {
    published,
    title = published === undefined ? "Runs here" : "Published card and runs here (different models)",
  } = options;
  const ours = runs.map((run, i) => ({
    name: run.name,
    marker: { color: WHO.tuned, pattern: { shape: PATTERNS[i % PATTERNS.length] } },
    of: (name: string, kind: TierKind): Interval => {
      const tier = askedTier(run, kind)?.name;
      if (tier === undefined) return NONE;
      return findMetrics(run.metrics, { name, tier, condition: "tuned", group: {} })[0] ?? NONE;
    },
  }));
  const series = [...(published === undefined ? [] : [publishedSeries(published)]), ...ours];
  const kinds = KINDS.filter((kind) =>
    series.some(({ of }) => PANELS.some(({ metric }) => of(metric, kind).value !== null)),
  );
  const data = PANELS.flatMap(({ metric, title: words, axis: yaxis }, panel) =>
    series.map(({ name, marker, of }) => {
      const values = kinds.map((kind) => of(metric, kind));
      return {
        type: "bar",
        name,
        legendgroup: name,
        showlegend: panel === 0,
        x: kinds.map((kind) => KIND_WORDS[kind]),
        y: values.map(({ value }) => value),
        yaxis,
        error_y: errorBars(values, GREY),
        marker,
        customdata: values.map(({ n }) => n),
        hovertemplate: `%{x}, ${words}: %{y:.3f}, n %{customdata}<extra>${name}</extra>`,
      };
    }),
  );
  return figure(title, data, {
    height: 590 + 20 * series.length,
    barmode: "group",
    xaxis: axis("what is asked about", { type: "category", anchor: "y" }),
    yaxis: rateAxis(PANELS[1].title, { domain: [0, 0.44] }),
    yaxis2: rateAxis(PANELS[0].title, { domain: [0.56, 1] }),
    legend: { orientation: "v", y: -0.27, yanchor: "top", x: 0 },
  });
}

function publishedSeries(published: PublishedCard): {
  name: string;
  marker: object;
  of: (name: (typeof PANELS)[number]["metric"], kind: TierKind) => Interval;
} {
  return {
    name: `${(published.model.split("/").pop() as string).replace(/-Instruct$/, "")}, published (another model)`,
    marker: { color: WHO.published, pattern: { shape: "/" } },
    of: (name, kind) => {
      const found = published.tiers.find((tier) => publishedKind(tier) === kind);
      return found === undefined ? NONE : publishedEstimates(found)[name];
    },
  };
}
