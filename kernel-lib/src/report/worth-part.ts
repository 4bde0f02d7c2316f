/** What an answer is worth, in a report: how well doses are told from clean caches, and how often a yes or no is right where steering is rare. */
import { groupBy } from "../evaluate";
import { findMetrics } from "../runs";
import type { TierView } from "../study";
import { fold, quoted, table } from "./html";
import type { LoadedRun } from "./load";

/** AUROC of every tier and strength before and after training, folded; "" where no tier has steered and clean trials. */
export function aurocTable(run: LoadedRun, tiers: readonly TierView[]): string {
  const found = findMetrics(run.metrics, { name: "aurocOfStrength" });
  const strengths = [...new Set(found.map(({ group }) => Number(group.strength)))].sort((a, b) => a - b);
  const rows = tiers.flatMap(({ name, title }) =>
    [...groupBy(findMetrics(found, { tier: name }), ({ condition }) => condition)].map(([condition, of]) => [
      { text: title, isSentence: true },
      condition,
      ...strengths.map((strength) => quoted(of.find(({ group }) => group.strength === strength))),
    ]),
  );
  if (rows.length === 0) return "";
  const caption =
    "Log-odds of yes of the steered trials at a strength against all clean trials of the tier: 0.5 is chance, whatever threshold the answer has. Small: 95 % interval and trials; hover over a number for its method.";
  return fold("AUROC of every strength", table(["tier", "condition", ...strengths.map(String)], rows, caption));
}

/** How often an answer is right where steering is rarer than in a study, after training; "" where nothing was computed. */
export function predictiveTable(run: LoadedRun, tiers: readonly TierView[]): string {
  const figures = ["positivePredictiveValue", "negativePredictiveValue"].flatMap((name) =>
    findMetrics(run.metrics, { name, condition: "tuned" }),
  );
  const priors = [...new Set(figures.map(({ group }) => Number(group.prior)))].sort((a, b) => b - a);
  const rows = tiers.flatMap(({ name, title }) => {
    const of = findMetrics(figures, { tier: name });
    const at = (figure: string, prior: number) => quoted(findMetrics(of, { name: figure, group: { prior } })[0]);
    const cells = priors.flatMap((prior) => [
      at("positivePredictiveValue", prior),
      at("negativePredictiveValue", prior),
    ]);
    return of.length === 0 ? [] : [[{ text: title, isSentence: true }, ...cells]];
  });
  if (rows.length === 0) return "";
  const headers = priors.flatMap((prior) => {
    const rarity = `1 in ${Math.round(1 / prior)} steered`;
    return [`a yes is right, ${rarity}`, `a no is right, ${rarity}`];
  });
  const caption =
    "Half of a study's trials or more are steered. Where steering is rare, false alarms decide what a yes is worth: the probability that it is right, from this tier's hit and false-alarm rates (Bayes), with both of their intervals. Hover over a number for its method.";
  return table(["tier", ...headers], rows, caption);
}
