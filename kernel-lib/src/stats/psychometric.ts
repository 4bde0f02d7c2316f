/**
 * How detection grows with strength: P(x) = guess + (1 - guess - lapse) * logistic(a + b u), u = ln x or x.
 *
 * Maximum likelihood over a and b by Newton steps; guess (the false-alarm rate) and lapse are given, not fitted. The 50 %
 * threshold is where P = 0.5, told only where it lies within the strengths that were tried. Data with at most one strength
 * between never and always have no finite slope: then only the two strengths around one half bound the threshold.
 */
import { expected, InputError } from "../base";

/** Detections at one strength. */
export interface StrengthCount {
  strength: number;
  hits: number;
  n: number;
}

export interface PsychometricOptions {
  /** "log": u = ln strength (default; strengths > 0); "linear": u = strength */
  scale?: "log" | "linear";
  /** P at zero strength; default 0 */
  guess?: number;
  /** 1 - P at infinite strength; default 0 */
  lapse?: number;
}

/** A fitted curve. */
export interface PsychometricFit {
  /** value of a and slope b of the logistic in u, or null if separated or flat data leave them undefined */
  intercept: number | null;
  slope: number | null;
  /** strength at P = 0.5, or null: no rising curve, or outside the strengths tried */
  threshold: number | null;
  /** strengths between which the threshold lies if the data have no finite slope; else null */
  between: [number, number] | null;
  logLikelihood: number | null;
}

/** Slopes beyond this (in u per unit) mean separated data: the likelihood still rises, the curve is a step. */
const MAX_SLOPE = 500;
const STEPS = 100;

/**
 * Fits the curve.
 *
 * @param counts two strengths or more
 * @throws InputError "strength" (not positive on the log scale, or not finite), "count", "psychometric" (guess, lapse)
 *
 * @example
 * fitPsychometric([{ strength: 5, hits: 10, n: 50 }, { strength: 10, hits: 30, n: 50 }, { strength: 20, hits: 49, n: 50 }]).threshold;
 */
export function fitPsychometric(counts: readonly StrengthCount[], options: PsychometricOptions = {}): PsychometricFit {
  const { scale = "log", guess = 0, lapse = 0 } = options;
  if (!(guess >= 0 && lapse >= 0 && guess + lapse < 1)) {
    throw new InputError(
      "psychometric",
      expected("guess >= 0, lapse >= 0, guess + lapse < 1", "options", `${guess}, ${lapse}`),
    );
  }
  const points = checkedPoints(counts, scale);
  const none: PsychometricFit = { intercept: null, slope: null, threshold: null, between: null, logLikelihood: null };
  if (points.length < 2) return none;
  const step = separation(points);
  if (step !== null) return { ...none, between: [toStrength(step[0], scale), toStrength(step[1], scale)] };
  const fit = newton(points, guess, lapse);
  if (fit === null) return none;
  const target = (0.5 - guess) / (1 - guess - lapse);
  const reachable = target > 0 && target < 1 && fit.slope > 0;
  const u = reachable ? (Math.log(target / (1 - target)) - fit.intercept) / fit.slope : null;
  const inside = u !== null && u >= points[0].u && u <= points[points.length - 1].u;
  return {
    intercept: fit.intercept,
    slope: fit.slope,
    threshold: inside ? toStrength(u, scale) : null,
    between: null,
    logLikelihood: fit.logLikelihood,
  };
}

interface Point {
  u: number;
  hits: number;
  n: number;
}

const toStrength = (u: number, scale: "log" | "linear"): number => (scale === "log" ? Math.exp(u) : u);

/** Counts merged by strength, in rising order of u; empty ones dropped. */
function checkedPoints(counts: readonly StrengthCount[], scale: "log" | "linear"): Point[] {
  const merged = new Map<number, Point>();
  for (const { strength, hits, n } of counts) {
    if (!Number.isFinite(strength) || (scale === "log" && strength <= 0)) {
      throw new InputError(
        "strength",
        expected(scale === "log" ? "a strength > 0 (log scale)" : "a finite strength", "counts", strength),
      );
    }
    if (!(Number.isInteger(hits) && Number.isInteger(n) && hits >= 0 && hits <= n)) {
      throw new InputError(
        "count",
        expected("whole numbers 0 <= hits <= n", `strength ${strength}`, `${hits} of ${n}`),
      );
    }
    const point = merged.get(strength) ?? { u: scale === "log" ? Math.log(strength) : strength, hits: 0, n: 0 };
    merged.set(strength, { ...point, hits: point.hits + hits, n: point.n + n });
  }
  return [...merged.values()].filter((point) => point.n > 0).sort((a, b) => a.u - b.u);
}

/**
 * The neighbouring strengths around one half where the data go from never to always with at most one strength between: the
 * likelihood then rises for ever with the slope. Null for other data, and where one half lies outside the strengths.
 */
function separation(points: readonly Point[]): [number, number] | null {
  const first = points.findIndex((point) => point.hits > 0);
  if (first === -1 || !points.slice(first + 1).every((point) => point.hits === point.n)) return null;
  const upper = 2 * points[first].hits >= points[first].n ? first : first + 1;
  return upper > 0 && upper < points.length ? [points[upper - 1].u, points[upper].u] : null;
}

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

function logLikelihood(points: readonly Point[], a: number, b: number, guess: number, lapse: number): number {
  let sum = 0;
  for (const { u, hits, n } of points) {
    const p = guess + (1 - guess - lapse) * logistic(a + b * u);
    if (hits > 0) sum += hits * Math.log(p);
    if (hits < n) sum += (n - hits) * Math.log1p(-p);
  }
  return sum;
}

/** Fisher scoring with step halving; null if the likelihood has no maximum at a finite slope. */
function newton(
  points: readonly Point[],
  guess: number,
  lapse: number,
): { intercept: number; slope: number; logLikelihood: number } | null {
  let [a, b] = [0, 0];
  let likelihood = logLikelihood(points, a, b, guess, lapse);
  for (let iteration = 0; iteration < STEPS; iteration++) {
    let [ga, gb, iaa, iab, ibb] = [0, 0, 0, 0, 0];
    for (const { u, hits, n } of points) {
      const f = logistic(a + b * u);
      const p = guess + (1 - guess - lapse) * f;
      const slope = (1 - guess - lapse) * f * (1 - f); // dp/da
      const weight = slope / Math.max(p * (1 - p), 1e-300);
      ga += (hits - n * p) * weight;
      gb += (hits - n * p) * weight * u;
      iaa += n * slope * weight;
      iab += n * slope * weight * u;
      ibb += n * slope * weight * u * u;
    }
    const determinant = iaa * ibb - iab * iab;
    if (!(determinant > 1e-14 * iaa * ibb)) return null;
    const da = (ibb * ga - iab * gb) / determinant;
    const db = (iaa * gb - iab * ga) / determinant;
    let size = 1;
    let next = logLikelihood(points, a + da, b + db, guess, lapse);
    while (!(next >= likelihood) && size > 1e-10) {
      size /= 2;
      next = logLikelihood(points, a + size * da, b + size * db, guess, lapse);
    }
    if (!(next >= likelihood)) break; // at the maximum, to rounding
    a += size * da;
    b += size * db;
    if (Math.abs(b) > MAX_SLOPE) return null;
    const gain = next - likelihood;
    likelihood = next;
    if (gain < 1e-13 && Math.abs(da) + Math.abs(db) < 1e-9 * (1 + Math.abs(a) + Math.abs(b))) break;
  }
  return { intercept: a, slope: b, logLikelihood: likelihood };
}
