/**
 * Did training change the answers? Tuned against base on the very same trials.
 *
 * McNemar's exact test on says-steered, by class, and the mean change of log-odds with vectors or prompts flipped together.
 * p-values are adjusted by Benjamini-Hochberg over all tests of the run.
 */
import { random } from "../../base";
import type { Metric } from "../../runs";
import { benjaminiHochberg, mcnemar, pairedBootstrap, signFlipTest } from "../../stats";
import type { TrialRecord } from "../../study";
import { clusterOf, groupBy } from "./counts";

const SAMPLES = 1000;

/** Tests for every tier that asked both; metrics `saysSteeredChange` and `logOddsChange` by class. */
export function pairedMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const metrics: Metric[] = [];
  for (const [tier, ofTier] of groupBy(records, (record) => record.tier)) {
    const base = new Map(
      ofTier.filter((record) => record.condition === "base").map((record) => [pairKey(record), record]),
    );
    const pairs = ofTier
      .filter((record) => record.condition === "tuned" && base.has(pairKey(record)))
      .map((tuned) => ({ tuned, base: base.get(pairKey(tuned)) as TrialRecord }));
    for (const [target, of] of groupBy(pairs, (pair) => pair.tuned.target)) {
      const stream = random(seed).fork(`${tier} ${target}`);
      const [after, before] = [of.map((pair) => pair.tuned.logOdds), of.map((pair) => pair.base.logOdds)];
      const clusters = of.map((pair) => clusterOf(pair.tuned));
      const toYes = of.filter((pair) => pair.tuned.saysSteered && !pair.base.saysSteered).length;
      const toNo = of.filter((pair) => !pair.tuned.saysSteered && pair.base.saysSteered).length;
      const change = mcnemar(toNo, toYes);
      const flips = signFlipTest(after, before, { random: stream, clusters, samples: 2000 });
      const shift = pairedBootstrap(after, before, { random: stream, clusters, samples: SAMPLES });
      const says = (records: readonly TrialRecord[]): number[] => records.map((record) => (record.saysSteered ? 1 : 0));
      const saysShift = pairedBootstrap(says(of.map((pair) => pair.tuned)), says(of.map((pair) => pair.base)), {
        random: stream.fork("says"),
        clusters,
        samples: SAMPLES,
      });
      const common = { tier, condition: "tuned-base", group: { target }, pAdjusted: null };
      metrics.push({
        name: "saysSteeredChange",
        ...common,
        ...saysShift,
        method: `${saysShift.method}; ${change.method}`,
        p: change.p,
      });
      metrics.push({
        name: "logOddsChange",
        ...common,
        ...shift,
        method: `${shift.method}; ${flips.method}`,
        p: flips.p,
      });
    }
  }
  const adjusted = benjaminiHochberg(metrics.map((metric) => metric.p));
  return metrics.map((metric, i) => ({ ...metric, pAdjusted: adjusted[i] }));
}

function pairKey(record: TrialRecord): string {
  return [
    record.tier,
    record.context,
    record.reply,
    record.question,
    record.infoPrompt,
    record.vector,
    record.range,
    record.strength,
  ].join("|");
}
