/**
 * Hall's transformation (1992, J. R. Stat. Soc. B 54): Student's t of a skewed mean, made to follow its law.
 *
 * A mean of skewed values (divergences, sizes of changes, missing mass) and its standard error go up and down together, so plain t
 * intervals miss on one side. With k the skewness of the mean, T + k T^2 / 3 + k^2 T^3 / 27 + k / 6 has that skewness removed; it rises
 * with T, so an interval is its inverse at Student's quantiles. Without skewness it is t itself. Near k t = 1 the inverse becomes steep
 * and one far value would double the interval for little coverage, so k t is held below .8 (docs/statistics.md has the coverage).
 */

/** Most of |skewness x quantile|. */
const MOST = 0.8;
/** Below this the transformation is t to rounding. */
const NO_SKEWNESS = 1e-6;

/**
 * Skewness of a mean as far as it is corrected.
 *
 * @param k third cumulant of the mean over its variance^1.5
 * @param quantile Student's quantile of the interval or test, > 0
 */
export function correctedSkewness(k: number, quantile: number): number {
  return Math.sign(k) * Math.min(Math.abs(k), MOST / quantile);
}

/** @param t mean over its standard error @param k from `correctedSkewness` */
export function transformedT(t: number, k: number): number {
  return t + (k * t ** 2) / 3 + (k ** 2 * t ** 3) / 27 + k / 6;
}

/** The inverse: where `transformedT` is `x`. */
export function untransformedT(x: number, k: number): number {
  return Math.abs(k) < NO_SKEWNESS ? x : (3 / k) * (Math.cbrt(1 + k * (x - k / 6)) - 1);
}
