/** First part of a report: whose numbers these are, aims, and card, strict and this run side by side with what each holds out. */
import type { PublishedCard } from "../published";
import type { Protocol, TierSpec } from "../protocol";
import { findMetrics, type Metric } from "../summary";
import { publishedBars } from "../plots/published";
import { type Cell, type FigureList, number, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";

/** Banner, aims and side-by-side. */
export function overviewSection(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  const detection = runs.filter((run) => run.records.length > 0);
  return [
    banner(runs),
    "<h2>Against the aims</h2>",
    aims(detection),
    "<h2>Side by side</h2>",
    sideBySide(detection, published),
    ...detection
      .slice(0, 1)
      .map((run) =>
        figures.add(
          publishedBars(published, run.metrics, modelLabel(run)),
          `Published card and ${run.id}: different models, shown for orientation only.`,
        ),
      ),
    "<h2>What is held out</h2>",
    heldOut(runs),
  ].join("\n");
}

function banner(runs: readonly LoadedRun[]): string {
  const models = [...new Set(runs.map(modelLabel))];
  const isLab = runs.some((run) => run.meta.isLabModel === true);
  const text = isLab
    ? `These figures are of ${models.join(" and ")}: a small model that ships with the project so that the whole study runs on a laptop. They are not figures of a 32B model and say nothing about one.`
    : `These figures are of ${models.join(" and ")}.`;
  const failed = runs
    .filter((run) => run.status !== "done")
    .map(
      (run) =>
        `Run ${run.id} is ${run.status === "failed" ? `failed: ${run.failure}` : "unfinished"}; what it recorded is shown.`,
    );
  return [
    `<div class="note">${paragraph(text)}</div>`,
    ...failed.map((line) => `<div class="error">${paragraph(line)}</div>`),
  ].join("\n");
}

function aims(runs: readonly LoadedRun[]): string {
  const rows = runs.flatMap((run) =>
    run.aims.map((aim) => {
      const verdict: Cell =
        aim.reached === null
          ? { text: "not measured", badge: "warn" }
          : aim.reached
            ? { text: "reached", badge: "good" }
            : { text: "falls short", badge: "bad" };
      const wanted = [aim.least === null ? "" : `\u2265 ${aim.least}`, aim.most === null ? "" : `\u2264 ${aim.most}`]
        .filter((text) => text !== "")
        .join(", ");
      return [run.protocol?.name ?? "?", aim.metric, aim.tier, wanted, quoted({ ...aim, method: aim.text }), verdict];
    }),
  );
  return rows.length === 0
    ? paragraph("No protocol of these runs states aims.")
    : table(["protocol", "metric", "tier", "aim", "measured", ""], rows);
}

function sideBySide(runs: readonly LoadedRun[], published: PublishedCard): string {
  const fromCard = published.tiers.map((tier) => [
    `${published.model} (published, another model)`,
    "card, as published",
    tier.tier,
    `${tier.audit.steered} : ${tier.audit.unsteered}`,
    { text: number(tier.audit.balanced_accuracy), title: "recounted from the published result files" },
    number(tier.tpr),
    `${number(tier.fpr)}, n ${tier.audit.unsteered}`,
    number(tier.d_prime),
    "\u2013",
    "\u2013",
  ]);
  const ours = runs.flatMap((run) => {
    const tiers = [
      ...new Set(
        run.metrics
          .filter((metric) => metric.name === "mass" && metric.tier !== "side_effects")
          .map((metric) => `${metric.tier} ${metric.condition}`),
      ),
    ];
    return tiers.map((key) => {
      const [tier, condition] = key.split(" ");
      const get = (name: string): Metric | undefined =>
        findMetrics(run.metrics, { name, tier, condition, group: {} })[0];
      const name = condition === "base" ? `${run.protocol?.name}, before training` : (run.protocol?.name ?? "?");
      return [
        modelLabel(run),
        name,
        tier,
        `${get("hitRate")?.n ?? 0} : ${get("falseAlarmRate")?.n ?? 0}`,
        quoted(get("balancedAccuracy")),
        quoted(get("hitRate")),
        quoted(get("falseAlarmRate")),
        number(get("dPrime")?.value),
        number(get("auroc")?.value),
        number(get("mass")?.value),
      ];
    });
  });
  const headers = [
    "model",
    "protocol",
    "tier",
    "steered : clean",
    "balanced accuracy",
    "hit rate",
    "false-alarm rate",
    "d'",
    "AUROC",
    "mass",
  ];
  return table(
    headers,
    [...fromCard, ...ours],
    "Intervals 95 %; hover over a number for its method. d' log-linear for runs here, rates clipped to [0.01, 0.99] in the published card.",
  );
}

function heldOut(runs: readonly LoadedRun[]): string {
  const protocols = new Map(
    runs.flatMap((run): [string, Protocol][] => (run.protocol === null ? [] : [[run.protocol.name, run.protocol]])),
  );
  const mark = (isHeld: boolean): Cell => (isHeld ? { text: "held out", badge: "good" } : { text: "trained on" });
  const rows = [...protocols.values()].flatMap((protocol) =>
    protocol.evaluation.tiers.map((tier: TierSpec) => [
      protocol.name,
      tier.name,
      tier.vectors === null ? "clean only" : mark(tier.vectors !== "train"),
      mark(tier.contexts !== "train"),
      mark(tier.contexts !== "train" || (tier.replies === "heldOut" && protocol.training.trainReplies < 5)),
      mark(tier.questions !== protocol.training.questions || tier.infoPrompt),
      tier.vectors === null ? "\u2013" : mark(tier.magnitudes === "heldOut"),
      tier.vectors === null ? "\u2013" : mark(tier.ranges === "halves"),
      tier.about,
    ]),
  );
  return table(["protocol", "tier", "vectors", "topics", "replies", "question", "strengths", "ranges", "about"], rows);
}
