/**
 * Psychometric summary: the strength at which half of the trials are noticed, per tier and layer range, with its interval.
 *
 * Strength is the protocol's own unit. The guess rate is the tier's false-alarm rate, so that an eager answerer gains nothing.
 * A threshold outside the strengths tried is bounded, not invented: its metric's `text` says "below 0.025" or "above 0.8".
 */
import { random } from "../../base";
import { type Metric, metricOf } from "../../runs";
import { fitPsychometric, type PsychometricFit, type StrengthCount, thresholdInterval } from "../../stats";
import type { TrialRecord } from "../../study";
import { axesOf, countsOf, groupBy, isSteered } from "./counts";

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

/** Counts and fit for each tier, condition and range. */
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

/** The 50 % thresholds as metrics; vectors and topics resampled. */
export function thresholdMetrics(records: readonly TrialRecord[], seed = 0): Metric[] {
  const metrics: Metric[] = [];
  eachRange(records, (of, guess) => {
    const { tier, condition, range } = of[0];
    if (new Set(of.map((record) => record.strength)).size < 2) return;
    const trials = of.map((record) => ({ strength: record.strength as number, hit: record.saysSteered }));
    const stream = random(seed).fork("threshold").fork(`${tier} ${condition} ${range}`);
    const options = { clusters: axesOf(of), guess, random: stream, samples: SAMPLES };
    metrics.push(
      metricOf("threshold", tier, condition, thresholdInterval(trials, options), { range: range as string }),
    );
  });
  return metrics;
}
