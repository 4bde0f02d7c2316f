/** In-distribution against held-out, adapter by adapter and model by model; and the card's own question by itself. */
import { findMetrics, type Metric } from "../runs";
import type { TierView } from "../study";
import { type Cell, paragraph, quoted, table } from "./html";
import { type LoadedRun, titleOfTier } from "./load";
import { seriesName } from "./whose";

/** What is lost on vectors, replies and wordings that were not trained on; several base models stand side by side. */
export function gapTable(detection: readonly LoadedRun[], runs: readonly LoadedRun[]): string {
  const rows = detection.flatMap((run) =>
    findMetrics(run.metrics, { name: "gap", condition: "tuned" }).map((metric) => [
      { text: seriesName(run, runs), isSentence: true },
      { text: titleOfTier(run, metric.tier), isSentence: true },
      { text: titleOfTier(run, String(metric.group.against)), isSentence: true },
      quoted(metric),
    ]),
  );
  const caption =
    "Balanced accuracy where it was trained minus where it was not; 95 % intervals, method as hover text.";
  return rows.length === 0
    ? ""
    : `<h3>Gap to what was held out</h3>${table(["model and adapter", "held out", "against", "gap"], rows, caption)}`;
}

/** "Have your internal activations been modified?", which the card's adapter was never trained on, apart from other wordings. */
export function cardQuestion(run: LoadedRun, tiers: readonly TierView[]): string[] {
  const asked = run.protocol?.questions.find((question) => question.cardQuestion);
  if (asked === undefined) return [];
  const of = (name: string, tier: string, condition: string): Metric | undefined =>
    findMetrics(run.metrics, { name, tier, condition, group: { question: asked.id } })[0];
  const rows = tiers.flatMap(({ name, title }): (Cell | string)[][] => {
    const figures = ["hitRate", "falseAlarmRate"].flatMap((figure) =>
      ["base", "tuned"].map((condition) => of(figure, name, condition)),
    );
    return figures.every((figure) => figure === undefined)
      ? []
      : [[{ text: title, isSentence: true }, ...figures.map(quoted)]];
  });
  if (rows.length === 0) return [];
  return [
    "<h3>The card's own question</h3>",
    paragraph(`\u201c${asked.text}\u201d: never trained on, here or by the card's adapter.`),
    table(["tier", "hit rate, before", "hit rate, after", "false alarms, before", "false alarms, after"], rows),
  ];
}
