/**
 * Labels of clusters -> whole numbers, and what can be said of clusters alone: Kish's effective number, design effect, ICC.
 *
 * A cluster is what was sampled once and asked many times: a vector, a topic, a wording. Trials may belong to several axes at
 * once (crossed clusters). A null label means that the axis does not apply to the trial (a clean trial has no vector).
 */
import { expected, InputError } from "../base";
import { checkSeries } from "./estimate";

export type ClusterLabel = string | number;

/** One label per trial for each axis: `{ vector: [...], topic: [...] }`. */
export type ClusterAxes = Readonly<Record<string, ArrayLike<ClusterLabel | null>>>;

/** Axes with fewer clusters are no sample of anything: they are held fixed, and a figure resting on them has no interval. */
export const MIN_CLUSTERS = 6;

/** One axis coded 0 .. size-1; a null label gets a code of its own (that trial shares nothing on this axis). */
export interface CodedAxis {
  name: string;
  codes: Int32Array;
  size: number;
}

/** @throws InputError "unpaired" if an axis does not give one label per trial */
export function codeAxis(name: string, labels: ArrayLike<ClusterLabel | null>, n: number): CodedAxis {
  if (labels.length !== n)
    throw new InputError("unpaired", expected(`${n} labels, one per trial,`, `axis ${name}`, labels.length));
  const known = new Map<ClusterLabel, number>();
  const codes = new Int32Array(n);
  let size = 0;
  for (let i = 0; i < n; i++) {
    const label = labels[i];
    let code = label === null ? undefined : known.get(label);
    if (code === undefined) {
      code = size;
      size += 1;
      if (label !== null) known.set(label, code);
    }
    codes[i] = code;
  }
  return { name, codes, size };
}

/** The axis of pairs: trials share a code only where they share it on both. */
export function intersect(one: CodedAxis, other: CodedAxis): CodedAxis {
  const known = new Map<number, number>();
  const codes = new Int32Array(one.codes.length);
  for (let i = 0; i < codes.length; i++) {
    const pair = one.codes[i] * other.size + other.codes[i];
    let code = known.get(pair);
    if (code === undefined) {
      code = known.size;
      known.set(pair, code);
    }
    codes[i] = code;
  }
  return { name: `${one.name} x ${other.name}`, codes, size: known.size };
}

/**
 * Kish's effective number of equally weighted clusters (or observations): (sum w)^2 / sum w^2.
 *
 * @param weights such as trials per cluster, >= 0
 * @returns between 1 and the number of weights; 0 for none
 * @throws InputError "not-finite"
 *
 * @example
 * kish([100, 10, 10]); // 1.41: three topics, but one of them carries the figure
 */
export function kish(weights: ArrayLike<number>): number {
  checkSeries("weights", weights);
  let [sum, squares] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i];
    squares += weights[i] ** 2;
  }
  return squares === 0 ? 0 : sum ** 2 / squares;
}

/**
 * Kish's design effect of equal clusters: 1 + (m - 1) icc, the factor by which the variance exceeds that of independent trials.
 *
 * @param perCluster m, trials per cluster, >= 1
 * @param icc intraclass correlation, 0 (independent) to 1 (a cluster is one observation)
 * @throws InputError "design"
 *
 * @example
 * designEffect(160, 0.1); // 16.9: 2,240 trials of 14 topics are worth 133
 */
export function designEffect(perCluster: number, icc: number): number {
  if (!(perCluster >= 1 && Number.isFinite(perCluster)))
    throw new InputError("design", expected("trials per cluster >= 1", "perCluster", perCluster));
  if (!(icc >= 0 && icc <= 1)) throw new InputError("design", expected("0 <= icc <= 1", "icc", icc));
  return 1 + (perCluster - 1) * icc;
}

/**
 * Intraclass correlation of one axis by analysis of variance: (MSB - MSW) / (MSB + (m0 - 1) MSW), m0 the mean cluster size
 * corrected for unequal sizes (Donner 1986). For a planner: measure it on one run, size the next by it.
 *
 * @param values one per trial (0 and 1 for yes/no)
 * @param labels one per trial, none null
 * @returns null where undefined: fewer than two clusters, no cluster of two, or values all alike; never below 0
 * @throws InputError "not-finite", "unpaired"
 *
 * @example
 * intraclassCorrelation([1, 1, 0, 0], ["a", "a", "b", "b"]); // 1: the cluster decides
 */
export function intraclassCorrelation(values: ArrayLike<number>, labels: ArrayLike<ClusterLabel>): number | null {
  checkSeries("values", values);
  const { codes, size } = codeAxis("labels", labels, values.length);
  const n = values.length;
  if (size < 2 || n <= size) return null;
  const [sums, counts] = [new Float64Array(size), new Float64Array(size)];
  let total = 0;
  for (let i = 0; i < n; i++) {
    sums[codes[i]] += values[i];
    counts[codes[i]] += 1;
    total += values[i];
  }
  let [between, within, squares] = [0, 0, 0];
  for (let g = 0; g < size; g++) {
    between += counts[g] * (sums[g] / counts[g] - total / n) ** 2;
    squares += counts[g] ** 2;
  }
  for (let i = 0; i < n; i++) within += (values[i] - sums[codes[i]] / counts[codes[i]]) ** 2;
  const [msb, msw] = [between / (size - 1), within / (n - size)];
  const m0 = (n - squares / n) / (size - 1);
  const scale = msb + (m0 - 1) * msw;
  return scale === 0 ? null : Math.max(0, (msb - msw) / scale);
}
