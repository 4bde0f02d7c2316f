/**
 * Did training change the answers? Tuned against base on the very same trials.
 *
 * t tests on the multiway jackknife, so trials of one vector or topic are not taken as independent. Clean prompts that several
 * tiers ask are tested once, under `all_tiers`.
 */
import { random, type Random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import {
  type ClusterAxes,
  clusteredDifference,
  clusteredMean,
  clusteredMeanTest,
  differences,
  signFlipTest,
  type TestResult,
} from "../../stats";
import { axesOf, type TrialRecord } from "../../study";
import { groupBy, sampleOf } from "./counts";
import { ALL_TIERS, distinctClean, promptKey, sharedTrials, trialKey } from "./distinct";

interface Pair {
  tuned: TrialRecord;
  base: TrialRecord;
}

/** Changes for every tier that asked both; metrics `saysSteeredChange` and `logOddsChange` by class. */
export function pairedMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const shared = sharedTrials(records);
  const byTier = [...groupBy(records, (record) => record.tier)].flatMap(([tier, ofTier]) =>
    [...groupBy(pairsOf(ofTier), (pair) => pair.tuned.target).values()].flatMap((pairs) =>
      changes(
        tier,
        pairs,
        pairs[0].tuned.target === "clean" && pairs.some((pair) => shared.has(trialKey(pair.base))),
        seed,
      ),
    ),
  );
  const clean = pairsOf(distinctClean(records));
  const pooled = shared.size === 0 || clean.length === 0 ? [] : changes(ALL_TIERS, clean, false, seed);
  return [...byTier, ...pooled];
}

function pairsOf(records: readonly TrialRecord[]): Pair[] {
  const base = new Map(
    records.filter((record) => record.condition === "base").map((record) => [promptKey(record), record]),
  );
  return records.flatMap((tuned): Pair[] => {
    const found = tuned.condition === "tuned" ? base.get(promptKey(tuned)) : undefined;
    return found === undefined ? [] : [{ tuned, base: found }];
  });
}

/** @param testedElsewhere these pairs are tested with all tiers, so here are figures without p */
function changes(tier: string, pairs: readonly Pair[], testedElsewhere: boolean, seed: number): Metric[] {
  const [tuned, base] = [pairs.map((pair) => pair.tuned), pairs.map((pair) => pair.base)];
  const { target } = tuned[0];
  const axes = axesOf(tuned);
  const says = (of: readonly TrialRecord[]): number[] => of.map((record) => Number(record.saysSteered));
  const odds = (of: readonly TrialRecord[]): number[] => of.map((record) => record.logOdds);
  const [saysChange, oddsChange] = [differences(says(tuned), says(base)), differences(odds(tuned), odds(base))];
  const metric = (name: string, change: readonly number[], estimate: ReturnType<typeof clusteredMean>): Metric => {
    const test = testedElsewhere
      ? { p: null, method: `shares prompts with other tiers, tested under ${ALL_TIERS}` }
      : meanTest(change, axes, random(seed).fork(`${tier} ${target} ${name}`));
    const described = { ...estimate, method: `${estimate.method}; ${test.method}` };
    return metricOf(name, tier, "tuned-base", described, { target }, test.p);
  };
  return [
    metric(
      "saysSteeredChange",
      saysChange,
      clusteredDifference(sampleOf(tuned), { ...sampleOf(base), clusters: axes }),
    ),
    metric("logOddsChange", oddsChange, clusteredMean(oddsChange, axes)),
  ];
}

/** Where every pair changes alike there is no variance for t; whole clusters of the scarcest axis then change sign. */
function meanTest(change: readonly number[], axes: ClusterAxes, stream: Random): TestResult {
  const test = clusteredMeanTest(change, axes);
  const isConstant = change.every((value) => value === change[0]);
  if (!isConstant || change[0] === 0 || test.method.startsWith("no test")) return test;
  const count = (labels: ArrayLike<unknown>): number => new Set(Array.from(labels)).size;
  const scarcest = Object.values(axes)
    .map((labels) => Array.from(labels, (label) => label ?? "none"))
    .filter((labels) => count(labels) > 1)
    .sort((one, other) => count(one) - count(other))[0];
  return signFlipTest(change, new Float64Array(change.length), { random: stream, clusters: scarcest });
}
