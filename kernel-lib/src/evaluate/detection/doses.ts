/**
 * Hits by dose, pooled over tiers: tiers that steer harder or over more layers are not compared by their means.
 *
 * A dose is (length added / mean residual norm, two digits) and the number of layers that it is added to. Trials that several
 * tiers ask count once; trials with the info prompt are another question and stay out. Concepts against random vectors at equal
 * dose: whole vectors change groups.
 */
import { random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import {
  type ClusterSample,
  clusteredDifference,
  clusteredRate,
  permutationTest,
  thresholdInterval,
} from "../../stats";
import { axesOf, type TrialRecord } from "../../study";
import { groupBy, isSteered, sampleOf } from "./counts";
import { ALL_TIERS, distinctClean, distinctTrials } from "./distinct";
import { guessRate } from "./thresholds";

const SAMPLES = 300;
const ARRANGEMENTS = 2000;

const layersOf = (record: TrialRecord): number => (record.layerEnd as number) - (record.layerStart as number);
const relativeOf = (record: TrialRecord): number => Number((record.relativeStrength as number).toPrecision(2));

/** `hitRateOfDose` of every dose and `thresholdOfDose` (relative strength at 50 %), by split of vectors and number of layers. */
export function doseMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const steered = distinctTrials(records.filter((record) => isSteered(record) && !record.infoPrompt));
  const clean = distinctClean(records);
  const metrics: Metric[] = [];
  const curves = groupBy(steered, (record) => `${record.condition} ${record.vectorSplit} ${layersOf(record)}`);
  for (const [key, curve] of curves) {
    const { condition, vectorSplit } = curve[0];
    const group = { vectors: vectorSplit as string, layers: layersOf(curve[0]) };
    const doses = [...groupBy(curve, relativeOf)].sort(([one], [other]) => one - other);
    for (const [relativeStrength, of] of doses) {
      const { outcomes, clusters } = sampleOf(of, false);
      const rate = clusteredRate(outcomes, clusters);
      metrics.push(metricOf("hitRateOfDose", ALL_TIERS, condition, rate, { ...group, relativeStrength }));
    }
    if (doses.length < 2) continue;
    const trials = curve.map((record) => ({ strength: relativeOf(record), hit: record.saysSteered }));
    const stream = random(seed).fork("dose").fork(key);
    const topics = new Set(curve.map((record) => record.contextSplit));
    const guess = guessRate(clean.filter((one) => one.condition === condition && topics.has(one.contextSplit)));
    const options = { clusters: axesOf(curve, false), guess, random: stream, samples: SAMPLES };
    metrics.push(metricOf("thresholdOfDose", ALL_TIERS, condition, thresholdInterval(trials, options), group));
  }
  return [...metrics, ...conceptContrasts(steered, seed)];
}

/** `conceptsMinusRandom`: hit rates at one dose, in held-out topics, under the questions that concepts were asked. */
function conceptContrasts(steered: readonly TrialRecord[], seed: number): Metric[] {
  const questionSplits = new Set(steered.filter(isOf("concepts")).map((record) => record.questionSplit));
  const alike = steered.filter(
    (record) => record.contextSplit === "heldOut" && questionSplits.has(record.questionSplit),
  );
  const doses = groupBy(alike, (record) => `${record.condition} ${layersOf(record)} ${relativeOf(record)}`);
  return [...doses].flatMap(([key, of]) =>
    (["heldOut", "matched"] as const).flatMap((against): Metric[] => {
      const [concepts, others] = [of.filter(isOf("concepts")), of.filter(isOf(against))];
      if (concepts.length === 0 || others.length === 0) return [];
      const group = { against, layers: layersOf(of[0]), relativeStrength: relativeOf(of[0]) };
      const [one, other] = [sampleOf(concepts, false), sampleOf(others, false)];
      const estimate = clusteredDifference(one, other);
      const stream = random(seed).fork("concepts").fork(`${key} ${against}`);
      const test = permutationTest(numbers(one), numbers(other), {
        random: stream,
        samples: ARRANGEMENTS,
        clusters: [vectorsOf(concepts), vectorsOf(others)],
      });
      const described = { ...estimate, method: `${estimate.method}; ${test.method}` };
      return [metricOf("conceptsMinusRandom", ALL_TIERS, of[0].condition, described, group, test.p)];
    }),
  );
}

const isOf =
  (split: TrialRecord["vectorSplit"]) =>
  (record: TrialRecord): boolean =>
    record.vectorSplit === split;
const numbers = ({ outcomes }: ClusterSample): number[] => Array.from(outcomes, Number);
const vectorsOf = (records: readonly TrialRecord[]): string[] => records.map((record) => record.vector as string);
