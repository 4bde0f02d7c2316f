/** The published card's figures beside this run's. Two models, two protocols: each bar says whose it is. */
import type { FigureJson } from "../page";
import type { PublishedCard } from "../published";
import { findMetrics, type Metric } from "../summary";
import { COLORS, errorBars, figure, GREY, rateAxis, axis } from "./theme";

/** Balanced accuracy by tier: the card's (audited counts), and this run's with intervals. */
export function publishedBars(published: PublishedCard, metrics: readonly Metric[], ourModel: string): FigureJson {
  const tiers = published.tiers.map((tier) => tier.tier);
  const ours = tiers.map(
    (tier) =>
      findMetrics(metrics, { name: "balancedAccuracy", tier, condition: "tuned", group: {} })[0] ?? {
        value: null,
        low: null,
        high: null,
        n: 0,
      },
  );
  const data = [
    {
      type: "bar",
      name: `published card: ${published.model} (another model)`,
      x: tiers,
      y: published.tiers.map((tier) => tier.audit.balanced_accuracy),
      marker: { color: GREY, pattern: { shape: "/" } },
      hovertemplate: "%{x}: %{y:.3f}<extra>published, another model</extra>",
    },
    {
      type: "bar",
      name: `this run: ${ourModel}`,
      x: tiers,
      y: ours.map((metric) => metric.value),
      error_y: errorBars(ours, COLORS[1]),
      marker: { color: COLORS[0] },
      text: ours.map((metric) => `n ${metric.n}`),
      hovertemplate: "%{x}: %{y:.3f}, %{text}<extra>this run</extra>",
    },
  ];
  return figure("Balanced accuracy: published card and this run (different models)", data, {
    height: 420,
    barmode: "group",
    xaxis: axis("tier", { type: "category" }),
    yaxis: rateAxis("balanced accuracy"),
  });
}
