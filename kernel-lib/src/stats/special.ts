/**
 * The special functions under the intervals: log-gamma, incomplete beta and gamma, normal and t distributions.
 *
 * Incomplete beta and gamma by series and continued fractions (modified Lentz), quantiles by bisection on them: slow next to
 * rational fits and right to about 1e-13. Sources: Lanczos 1964 (g = 7, 9 terms); Abramowitz and Stegun 6.5, 26.5.
 */

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];
const TINY = 1e-300;
const PRECISION = 1e-16;
const MAX_TERMS = 10_000;

/** ln Gamma(x) for x > 0. */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  let sum = LANCZOS[0];
  for (let i = 1; i < 9; i++) sum += LANCZOS[i] / (x - 1 + i);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/** One step of the modified Lentz evaluation of a continued fraction; never divides by zero. */
const nonZero = (value: number): number => (Math.abs(value) < TINY ? TINY : value);

/** Regularised incomplete beta I_x(a, b), a > 0, b > 0, 0 <= x <= 1. */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  // The fraction converges quickly on this side only; the other follows from symmetry.
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b;
}

function betaFraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / nonZero(1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m < MAX_TERMS; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let change = 1;
    for (const term of [even, odd]) {
      d = 1 / nonZero(1 + term * d);
      c = nonZero(1 + term / c);
      change = c * d;
      value *= change;
    }
    if (Math.abs(change - 1) < PRECISION) break;
  }
  return value;
}

/** Bisects a rising function to `target` on [low, high]; 200 halvings exhaust a double. */
function bisect(rising: (x: number) => number, target: number, low: number, high: number): number {
  let [a, b] = [low, high];
  for (let i = 0; i < 200; i++) {
    const middle = (a + b) / 2;
    if (middle === a || middle === b) break;
    if (rising(middle) < target) a = middle;
    else b = middle;
  }
  return (a + b) / 2;
}

/** The x at which I_x(a, b) = p. */
export function betaQuantile(p: number, a: number, b: number): number {
  return bisect((x) => incompleteBeta(x, a, b), p, 0, 1);
}

/** Upper regularised incomplete gamma Q(1/2, y) = erfc(sqrt(y)), y >= 0. */
function upperGammaHalf(y: number): number {
  const front = Math.exp(-y) * Math.sqrt(y / Math.PI);
  if (y < 1.5) {
    let term = 2; // series of the lower function: y^n / ((1/2)(3/2)...(1/2 + n))
    let sum = term;
    for (let n = 1; n < MAX_TERMS && term > sum * PRECISION; n++) {
      term *= y / (0.5 + n);
      sum += term;
    }
    return 1 - front * sum;
  }
  let b = y + 0.5;
  let c = 1 / TINY;
  let d = 1 / b;
  let value = d;
  for (let i = 1; i < MAX_TERMS; i++) {
    const a = -i * (i - 0.5);
    b += 2;
    d = 1 / nonZero(a * d + b);
    c = nonZero(b + a / c);
    value *= c * d;
    if (Math.abs(c * d - 1) < PRECISION) break;
  }
  return front * value;
}

/** P(Z <= z) of the standard normal. */
export function normalCdf(z: number): number {
  const tail = 0.5 * upperGammaHalf((z * z) / 2);
  return z < 0 ? tail : 1 - tail;
}

/** Density of the standard normal. */
export function normalDensity(z: number): number {
  return Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
}

/** The z at which P(Z <= z) = p, 0 < p < 1; infinite at 0 and 1. */
export function normalQuantile(p: number): number {
  if (p <= 0) return Number.NEGATIVE_INFINITY;
  if (p >= 1) return Number.POSITIVE_INFINITY;
  if (p > 0.5) return -normalQuantile(1 - p); // the lower tail keeps its digits
  return bisect(normalCdf, p, -40, 0);
}

/** The t at which P(T <= t) = p for `freedom` degrees of freedom. */
export function studentQuantile(p: number, freedom: number): number {
  if (p === 0.5) return 0;
  const tail = 2 * Math.min(p, 1 - p); // = I_x(f/2, 1/2) with x = f / (f + t^2)
  const x = betaQuantile(tail, freedom / 2, 0.5);
  const t = Math.sqrt((freedom * (1 - x)) / x);
  return p < 0.5 ? -t : t;
}

/** P(T <= t) of Student's t with `freedom` degrees of freedom. */
export function studentCdf(t: number, freedom: number): number {
  const tail = 0.5 * incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
  return t < 0 ? tail : 1 - tail;
}

/** ln of n choose k. */
export function logChoose(n: number, k: number): number {
  return logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);
}
