/**
 * What a design can show before it is run: the bound that no event allows, the smallest rate and difference it can tell.
 *
 * Variance of a rate p over crossed axes: p (1 - p) [sum_a icc_a / G_a + (1 - sum_a icc_a) / n]; more trials of the same
 * clusters shrink the last term only. The guaranteed bound needs no icc: it is Clopper and Pearson's on the scarcest axis.
 */
import { expected, InputError } from "../base";
import { MIN_CLUSTERS } from "./clusters";
import { checkLevel, DEFAULT_LEVEL } from "./estimate";
import { clopperPearson } from "./proportion";
import { studentQuantile } from "./special";

/** An axis of a planned design. */
export interface PlannedAxis {
  /** clusters that will be sampled */
  clusters: number;
  /** share of the variance that lies between clusters, 0 .. 1, from an earlier run (`intraclassCorrelation`) */
  icc: number;
}

/** A planned design: crossed axes and trials in all, or one axis as clusters x perCluster. */
export type PlannedDesign =
  | { axes: Readonly<Record<string, PlannedAxis>>; trials: number }
  | { clusters: number; perCluster: number; icc: number };

interface PowerOptions {
  /** coverage of the interval, default 0.95 */
  level?: number;
  /** chance of finding what is there, default 0.8 */
  power?: number;
}

/** What a design can tell of a rate. */
export interface DetectableRate {
  trials: number;
  designEffect: number;
  /** independent trials that would tell as much */
  effectiveN: number;
  /** upper end of the interval if no event is seen, for any icc: what `clusteredRate` will say */
  guaranteedBound: number;
  /** the same if the iccs hold: Clopper and Pearson's at the effective n */
  expectedBound: number;
  /** smallest rate that shows at least one event with the power asked for, if the iccs hold */
  smallestSeen: number;
}

function checked(design: PlannedDesign, { level = DEFAULT_LEVEL, power = 0.8 }: PowerOptions) {
  checkLevel(level);
  if (!(power > 0 && power < 1)) throw new InputError("design", expected("0 < power < 1", "power", power));
  const axes = "axes" in design ? Object.values(design.axes) : [{ clusters: design.clusters, icc: design.icc }];
  const trials = "axes" in design ? design.trials : design.clusters * design.perCluster;
  const shared = axes.reduce((sum, { icc }) => sum + icc, 0);
  if (!(Number.isInteger(trials) && trials >= 1))
    throw new InputError("design", expected("a whole number of trials >= 1", "design", trials));
  for (const { clusters, icc } of axes) {
    if (!(Number.isInteger(clusters) && clusters >= 1 && clusters <= trials))
      throw new InputError("design", expected(`whole clusters, 1 .. ${trials} (the trials),`, "design", clusters));
    if (!(icc >= 0)) throw new InputError("design", expected("icc >= 0", "design", icc));
  }
  if (axes.length === 0 || !(shared <= 1))
    throw new InputError("design", expected("one axis or more, iccs summing to at most 1", "design", shared));
  // Variance of the mean in units of p (1 - p): the reciprocal of the effective n.
  const unit = axes.reduce((sum, { clusters, icc }) => sum + icc / clusters, (1 - shared) / trials);
  const fewest = Math.min(...axes.map(({ clusters }) => clusters));
  return { level, power, trials, unit, fewest };
}

/**
 * What a design can tell of a rate near 0 (false alarms) or, mirrored, near 1.
 *
 * @param design `{ clusters, perCluster, icc }` or `{ axes: { topic: { clusters, icc }, ... }, trials }`
 * @throws InputError "design", "level"
 *
 * @example
 * detectableRate({ clusters: 14, perCluster: 160, icc: 0.1 });
 * // effectiveN 133, guaranteedBound 0.232, expectedBound 0.027, smallestSeen 0.012
 */
export function detectableRate(design: PlannedDesign, options: PowerOptions = {}): DetectableRate {
  const { level, power, trials, unit, fewest } = checked(design, options);
  const effectiveN = 1 / unit;
  return {
    trials,
    designEffect: trials * unit,
    effectiveN,
    guaranteedBound: clopperPearson(0, fewest, level).high as number,
    expectedBound: 1 - ((1 - level) / 2) ** unit,
    smallestSeen: 1 - (1 - power) ** unit,
  };
}

/**
 * Smallest difference of two rates that a test at `level` finds with `power`, and the half width of one rate's interval.
 *
 * (t_level + t_power) sqrt(2 p (1 - p) (1 - correlation) / n_eff), Student's t with the scarcest axis's clusters less one.
 *
 * @param options.rate p around which both lie, default 0.5 (the worst)
 * @param options.correlation of the two arms' means: 0 for separate trials; pairs (base and tuned on the same caches) have more
 * @returns null below 6 clusters, where there is no interval
 * @throws InputError "design", "level"
 *
 * @example
 * detectableDifference({ clusters: 14, perCluster: 160, icc: 0.1 }, { rate: 0.1 });
 */
export function detectableDifference(
  design: PlannedDesign,
  options: PowerOptions & { rate?: number; correlation?: number } = {},
): { difference: number; halfWidth: number } | null {
  const { rate = 0.5, correlation = 0 } = options;
  const { level, power, unit, fewest } = checked(design, options);
  if (!(rate > 0 && rate < 1)) throw new InputError("design", expected("0 < rate < 1", "rate", rate));
  if (!(correlation >= -1 && correlation <= 1))
    throw new InputError("design", expected("-1 <= correlation <= 1", "correlation", correlation));
  if (fewest < MIN_CLUSTERS) return null;
  const variance = rate * (1 - rate) * unit;
  const [tLevel, tPower] = [(1 + level) / 2, power].map((p) => studentQuantile(p, fewest - 1));
  return {
    difference: (tLevel + tPower) * Math.sqrt(2 * variance * (1 - correlation)),
    halfWidth: tLevel * Math.sqrt(variance),
  };
}
