/**
 * Two arms that may share clusters (base and tuned, steered and clean, detection and control), brought together.
 */
import { expected, InputError } from "../base";
import type { ClusterAxes, ClusterLabel } from "./clusters";
import type { Estimate } from "./estimate";
import { jackknifeCovariance, jackknifeVariance, type Multiway } from "./multiway";

/** Both arms behind each other; an axis that one arm lacks is null there. */
export function joinArms(arms: readonly { values: Float64Array; clusters: ClusterAxes }[]): {
  values: Float64Array;
  arms: Uint8Array;
  axes: ClusterAxes;
} {
  const names = [...new Set(arms.flatMap((arm) => Object.keys(arm.clusters)))];
  const axes = Object.fromEntries(
    names.map((name) => [
      name,
      arms.flatMap(({ values, clusters }) => {
        const labels = clusters[name];
        if (labels !== undefined && labels.length !== values.length)
          throw new InputError(
            "unpaired",
            expected(`${values.length} labels, one per trial,`, `axis ${name}`, labels.length),
          );
        return labels === undefined ? new Array<ClusterLabel | null>(values.length).fill(null) : Array.from(labels);
      }),
    ]),
  );
  const sizes = arms.map(({ values }) => values.length);
  return {
    values: Float64Array.from(arms.flatMap(({ values }) => Array.from(values))),
    arms: Uint8Array.from(sizes.flatMap((size, arm) => new Array<number>(size).fill(arm))),
    axes,
  };
}

/** Correlation of the two arms' means through the clusters they share; 0 where it can't be told. */
export function armCorrelation(way: Multiway): number {
  const [one, other] = [jackknifeVariance(way, [1, 0]).variance, jackknifeVariance(way, [0, 1]).variance];
  if (one === 0 || other === 0) return 0;
  return Math.max(-1, Math.min(1, jackknifeCovariance(way) / Math.sqrt(one * other)));
}

/** offset + sum weight * estimate, with deviations of the arms' intervals added as correlated errors. */
export function combineArms(
  arms: readonly [Estimate, Estimate],
  weights: readonly [number, number],
  offset: number,
  correlation: number,
): { value: number | null; low: number | null; high: number | null } {
  if (arms.some((arm) => arm.value === null)) return { value: null, low: null, high: null };
  const value = offset + weights[0] * (arms[0].value as number) + weights[1] * (arms[1].value as number);
  const side = (up: boolean): number | null => {
    const reach = arms.map((arm, i) => {
      const end = weights[i] > 0 === up ? arm.high : arm.low;
      return end === null ? null : Math.abs(weights[i] * (end - (arm.value as number)));
    });
    if (reach[0] === null || reach[1] === null) return null;
    if (!Number.isFinite(reach[0] + reach[1])) return up ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    const together = 2 * Math.sign(weights[0] * weights[1]) * correlation * reach[0] * reach[1];
    const length = Math.sqrt(Math.max(0, reach[0] ** 2 + reach[1] ** 2 + together));
    return up ? value + length : value - length;
  };
  return { value, low: side(false), high: side(true) };
}
