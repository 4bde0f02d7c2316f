/**
 * Interval of a mean that lies within [0, 1], from its variance and the number of clusters behind it.
 *
 * Gaffke's bound (Gaffke 2005; Learned-Miller and Thomas 2019): add one cluster at the worst value (1 for the upper end, 0 for
 * the lower), weigh the G + 1 clusters by Dirichlet(1, ..., 1), take the quantile. Here the weighted mean's distribution is a beta
 * law of the same mean and variance, so there is nothing to draw. Clusters that are all yes or all no give Clopper and
 * Pearson's interval of G clusters exactly; 0 events in 14 topics allow .23, however often each was asked, because
 * P(no event) <= (1 - p)^G for any spread of rates over clusters. The bound never falls when events are added. The price: an
 * interval wider than a t or logit interval by about (1 - value) / G, which is what an unseen kind of cluster could do.
 */
import { betaQuantile, normalQuantile, studentQuantile } from "./special";

/** What the mean rests on. */
export interface BoundedMean {
  /** within [0, 1] */
  value: number;
  /** sampling variance of the mean */
  variance: number;
  /** degrees of freedom of that variance: effective clusters of the scarcest axis, less one */
  freedom: number;
  /** trials, where the mean is a rate: no cluster makes it worth more than that many */
  trials?: number;
}

/** Upper end: mean and variance of the weighted mean with one more cluster at 1, then a beta quantile. */
function upper({ value, variance, freedom }: BoundedMean, p: number): number {
  if (value >= 1) return 1;
  const g = freedom + 1;
  const mean = (g * value + 1) / (g + 1);
  // Sum of squares about that mean over (g + 1)(g + 2): the clusters' own, g (g - 1) variance, and that of the one added.
  const spread = (g * freedom * variance + ((1 - value) ** 2 * g) / (g + 1)) / ((g + 1) * (g + 2));
  // A beta law needs spread < mean (1 - mean); the largest it can have is all mass at 0 and 1.
  const size = (mean * (1 - mean)) / spread - 1;
  if (size <= 0) return 1;
  return betaQuantile(p, mean * size, (1 - mean) * size);
}

/**
 * Both ends, allowing for an unseen kind of cluster; exact where every cluster is all or nothing.
 *
 * @param level as 0.95
 */
export function boundedInterval(of: BoundedMean, level: number): { low: number; high: number } {
  const p = (1 + level) / 2;
  return { low: 1 - upper({ ...of, value: 1 - of.value }, p), high: upper(of, p) };
}

/**
 * Both ends if all clusters are of the kinds seen: Clopper and Pearson's interval at the effective n, shrunk by Student's t
 * (Korn and Graubard 1998). Narrower, and wrong where a rare kind of cluster decides (coverage in docs/statistics.md).
 * Without variance it says nothing, and the bounded interval stands in.
 */
export function effectiveInterval(of: BoundedMean, level: number): { low: number; high: number } {
  const { value, variance, freedom, trials = Number.POSITIVE_INFINITY } = of;
  if (variance === 0) return boundedInterval(of, level);
  const p = (1 + level) / 2;
  const shrink = (normalQuantile(p) / studentQuantile(p, freedom)) ** 2;
  const n = Math.min(trials, (shrink * value * (1 - value)) / variance);
  const k = value * n;
  return {
    low: k <= 0 ? 0 : betaQuantile(1 - p, k, n - k + 1),
    high: k >= n ? 1 : betaQuantile(p, k + 1, n - k),
  };
}
