/**
 * Psychometric summary: the strength at which half of the trials are noticed, per tier and layer range and per concept, with its interval.
 *
 * Strength is the protocol's own unit. The guess rate is the tier's false-alarm rate, so that an eager answerer gains nothing.
 * A threshold outside the strengths tried is bounded, not invented: its metric's `text` says "below 0.025" or "above 0.8".
 */
import { random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import {
  type ClusterAxes,
  fitPsychometric,
  type PsychometricFit,
  type StrengthCount,
  thresholdInterval,
} from "../../stats";
import { axesOf, type TrialRecord } from "../../study";
import { countsOf, groupBy, isSteered } from "./counts";

/** Points and fitted curve of one layer range. */
export interface PsychometricCurve {
  tier: string;
  condition: string;
  range: string;
  points: StrengthCount[];
  guess: number;
  fit: PsychometricFit;
}

/** A false-alarm rate at or above this leaves no room for a 50 % threshold. */
const MOST_GUESS = 0.45;
const SAMPLES = 300;

/** False-alarm rate of clean trials as the guess rate of a curve. */
export function guessRate(records: readonly TrialRecord[]): number {
  const { falseAlarms, clean } = countsOf(records);
  return clean === 0 ? 0 : Math.min(MOST_GUESS, falseAlarms / clean);
}

function eachRange(records: readonly TrialRecord[], visit: (of: TrialRecord[], guess: number) => void): void {
  for (const ofTier of groupBy(records, (record) => `${record.tier} ${record.condition}`).values()) {
    const guess = guessRate(ofTier);
    for (const of of groupBy(ofTier.filter(isSteered), (record) => record.range).values()) visit(of, guess);
  }
}

/** All layer ranges of one concept together: in one of them alone there are too few trials. */
function eachConcept(records: readonly TrialRecord[], visit: (of: TrialRecord[], guess: number) => void): void {
  for (const ofTier of groupBy(records, (record) => `${record.tier} ${record.condition}`).values()) {
    const guess = guessRate(ofTier);
    const steered = ofTier.filter((record) => isSteered(record) && record.vectorSplit === "concepts");
    for (const of of groupBy(steered, (record) => record.vector).values()) visit(of, guess);
  }
}

/**
 * Counts and psychometric fit for each tier, condition and layer range: hit rate by strength, in the protocol's unit.
 *
 * @param records of one or more detection tiers; the clean ones give each tier's guess rate
 * @returns curves from the first layers to the last; a fit that the counts do not allow has null parameters
 * @example
 * await showFigure(psychometricPlot(psychometricCurves(sweep.records), { unit: strengthTitle(protocol) }));
 */
export function psychometricCurves(records: readonly TrialRecord[]): PsychometricCurve[] {
  const curves: PsychometricCurve[] = [];
  eachRange(records, (of, guess) => {
    const points = [...groupBy(of, (record) => record.strength as number)]
      .map(([strength, group]) => ({ strength, hits: countsOf(group).hits, n: group.length }))
      .sort((a, b) => a.strength - b.strength);
    curves.push({
      tier: of[0].tier,
      condition: of[0].condition,
      range: of[0].range as string,
      points,
      guess,
      fit: fitPsychometric(points, { guess }),
    });
  });
  const start = new Map(records.map((record) => [record.range, record.layerStart ?? 0]));
  return curves.sort((a, b) => (start.get(a.range) as number) - (start.get(b.range) as number));
}

/** The 50 % thresholds as metrics: by layer range, vectors and topics resampled; and of every concept, topics resampled. */
export function thresholdMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const metrics: Metric[] = [];
  const add = (
    of: readonly TrialRecord[],
    guess: number,
    clusters: ClusterAxes,
    group: Metric["group"],
    key: string,
  ) => {
    if (new Set(of.map((record) => record.strength)).size < 2) return;
    const trials = of.map((record) => ({ strength: record.strength as number, hit: record.saysSteered }));
    const { tier, condition } = of[0];
    const stream = random(seed).fork("threshold").fork(`${tier} ${condition} ${key}`);
    const options = { clusters, guess, random: stream, samples: SAMPLES };
    metrics.push(metricOf("threshold", tier, condition, thresholdInterval(trials, options), group));
  };
  eachRange(records, (of, guess) => {
    const range = of[0].range as string;
    add(of, guess, axesOf(of), { range }, range);
  });
  eachConcept(records, (of, guess) => {
    const concept = of[0].vector as string;
    const { topic } = axesOf(of, false);
    add(of, guess, { topic }, { concept, category: of[0].category ?? "none" }, `concept ${concept}`);
  });
  return metrics;
}
