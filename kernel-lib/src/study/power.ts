/**
 * What a plan can tell before it is run: by tier and class its clusters, the smallest rate and the smallest difference.
 *
 * Topics, vectors and wordings are what is sampled (the axes of the intervals after the run); more trials of the same ones tell little
 * more. Clusters asked unequally often are worth fewer: (sum m)^2 / sum m^2 of them (Kish 1965). How alike trials of one cluster are is not
 * known beforehand: an ICC of .1 on each axis is taken, the bound that no event allows needs none.
 */
import { type ClusterAxes, clusteredRate, detectableDifference, detectableRate, MIN_CLUSTERS } from "../stats";
import type { Trial } from "./record";

/** Share of the variance between the clusters of each axis that is taken before anything was measured. */
export const ASSUMED_ICC = 0.1;

/** What one class of a tier could tell. */
export interface TierPower {
  tier: string;
  target: Trial["target"];
  trials: number;
  /** sampled axes with their clusters; those with fewer than 6 are held fixed */
  clusters: Record<string, number>;
  /** without a single event the rate may still be this, whatever the ICC; null where no axis has 6 clusters */
  unseen: number | null;
  /** the smallest rate that shows an event in 4 of 5 runs */
  smallestRate: number | null;
  /** the smallest difference from another rate near one half that a test at .05 finds in 4 of 5 runs */
  smallestDifference: number | null;
}

/**
 * What was sampled once and asked many times: the vector (or concept) of a steered trial, and the topic of every trial.
 *
 * @param ofWordings the figure speaks of new wordings too (tiers of held-out wordings); else it holds for those asked
 */
export function axesOf(trials: readonly Trial[], ofWordings = asksNewWordings(trials)): ClusterAxes {
  const vector = trials.some((trial) => trial.vectorSplit === "concepts") ? "concept" : "vector";
  return {
    [vector]: trials.map((trial) => trial.vector),
    topic: trials.map((trial) => trial.context),
    ...(ofWordings ? { wording: trials.map((trial) => trial.question) } : {}),
  };
}

/** Were these trials asked to learn about wordings? One wording alone says nothing of others. */
function asksNewWordings(trials: readonly Trial[]): boolean {
  return (
    trials.every((trial) => trial.questionSplit === "heldOut") &&
    trials.some((trial) => trial.question !== trials[0].question)
  );
}

/**
 * Clusters and the smallest figures of every tier and class, tuned trials only.
 *
 * @param plan from `planTrials`
 * @returns in the plan's order, steered before clean
 * @example
 * showTable(planPower(planTrials(study)));
 */
export function planPower(plan: readonly Trial[], icc = ASSUMED_ICC): TierPower[] {
  const tuned = plan.filter(({ condition }) => condition === "tuned");
  const tiers = [...new Set(tuned.map(({ tier }) => tier))];
  return tiers.flatMap((tier) =>
    (["steered", "clean"] as const).flatMap((target) => {
      const of = tuned.filter((trial) => trial.tier === tier && trial.target === target);
      return of.length === 0 ? [] : [{ tier, target, trials: of.length, ...powerOf(of, icc) }];
    }),
  );
}

function powerOf(trials: readonly Trial[], icc: number): Omit<TierPower, "tier" | "target" | "trials"> {
  const labels = axesOf(trials);
  const sampled = Object.entries(labels)
    .map(([axis, of]) => [axis, timesAsked(of)] as const)
    .filter(([, times]) => times.length >= MIN_CLUSTERS);
  const clusters = Object.fromEntries(sampled.map(([axis, times]) => [axis, times.length]));
  if (sampled.length === 0) return { clusters, unseen: null, smallestRate: null, smallestDifference: null };
  // What axes share between them cannot be more than all of the spread.
  const share = Math.min(icc, 1 / sampled.length);
  const axes = Object.fromEntries(
    sampled.map(([axis, times]) => [axis, { clusters: Math.round(effectiveCount(times)), icc: share }]),
  );
  const { smallestSeen } = detectableRate({ axes, trials: trials.length });
  const difference = detectableDifference({ axes, trials: trials.length });
  return {
    clusters,
    unseen: clusteredRate(new Uint8Array(trials.length), labels).high,
    smallestRate: smallestSeen,
    smallestDifference: difference?.difference ?? null,
  };
}

/** How often each cluster is asked; trials without one (no vector) count for none. */
function timesAsked(labels: ClusterAxes[string]): number[] {
  const times = new Map<unknown, number>();
  for (const label of Array.from(labels)) if (label !== null) times.set(label, (times.get(label) ?? 0) + 1);
  return [...times.values()];
}

/** Equally asked clusters that would tell as much. */
function effectiveCount(times: readonly number[]): number {
  const [sum, squares] = [times.reduce((a, b) => a + b, 0), times.reduce((a, b) => a + b * b, 0)];
  return sum ** 2 / squares;
}

/** "14 topics, 100 vectors". */
export function clusterText(clusters: Readonly<Record<string, number>>): string {
  const counted = Object.entries(clusters).map(([axis, count]) => `${count} ${axis}s`);
  return counted.length === 0 ? "fewer than 6 of everything" : counted.join(", ");
}
