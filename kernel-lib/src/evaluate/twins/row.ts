/**
 * One arm of a study's controls as a row: what it detects, how selectively, and what it moved elsewhere.
 *
 * Tiers are chosen by their fields, so that any protocol will do: held-out vectors asked for detection, the controls asked of the same
 * caches, clean trials on held-out topics. A pure function of metrics and records.
 */
import { expected, InputError } from "../../base";
import { findMetrics, type Metric } from "../../runs";
import { clusteredMean, type Estimate } from "../../stats";
import type { Protocol, TierSpec } from "../../study";
import type { SideEffectRecord } from "../side-effects/record";

/** Tiers that the controls of a study are compared on, null where the protocol has none. */
export interface TwinTiers {
  heldOut: string;
  controls: string | null;
  clean: string | null;
}

/** One twin (or the study itself, twin "study") by one training seed. */
export interface TwinRow {
  twin: string;
  seed: number;
  /** optimizer steps; the same in every arm */
  steps: number;
  /** on held-out vectors; without interval where the arm was not measured */
  balancedAccuracy: Estimate;
  hitRate: Estimate;
  falseAlarmRate: Estimate;
  /** hit rate minus leaks to control questions on the same caches; null: the protocol asks no controls */
  selectivity: Estimate | null;
  /** mean over side-effect questions of |P(yes) tuned - P(yes) base| */
  shift: Estimate;
  /** run folders: training, detection, side effects */
  folders: readonly string[];
}

/** The study itself among its twins. */
export const STUDY = "study";

/**
 * The tiers of a protocol that its twins are measured on.
 * @throws InputError "tier-unknown" if none asks for detection on held-out vectors
 */
export function twinTiers({ evaluation }: Protocol): TwinTiers {
  const asks = (tier: TierSpec): boolean =>
    tier.vectors === "heldOut" &&
    tier.cachesOf === null &&
    tier.questions === "train" &&
    tier.replies === "all" &&
    tier.magnitudes === "trained" &&
    tier.ranges === "trained" &&
    !tier.infoPrompt;
  const candidates = evaluation.tiers.filter(asks);
  const heldOut = candidates.find(({ contexts }) => contexts === "heldOut") ?? candidates[0];
  if (heldOut === undefined)
    throw new InputError(
      "tier-unknown",
      expected(
        "a tier with vectors heldOut and questions train",
        "evaluation.tiers",
        "none",
        "Twins are compared on it.",
      ),
    );
  const controls = evaluation.tiers.find(
    ({ cachesOf, questions }) => cachesOf === heldOut.name && questions === "control",
  );
  const clean = evaluation.tiers.find(({ vectors, contexts }) => vectors === null && contexts === "heldOut");
  return { heldOut: heldOut.name, controls: controls?.name ?? null, clean: clean?.name ?? null };
}

/** What a row is made of. */
export interface TwinParts extends Pick<TwinRow, "twin" | "seed" | "steps" | "folders"> {
  protocol: Protocol;
  /** of its detection run */
  metrics: readonly Metric[];
  sideEffects: readonly SideEffectRecord[];
}

/** The row of one arm. False alarms come from the clean tier where there is one: it has the most topics. */
export function twinRow({ protocol, metrics, sideEffects, ...arm }: TwinParts): TwinRow {
  const tiers = twinTiers(protocol);
  const measured = (name: string, tier: string): Estimate => {
    const [found] = findMetrics(metrics, { name, tier, condition: "tuned", group: {} });
    return found ?? { value: null, n: 0, low: null, high: null, method: "not measured" };
  };
  return {
    ...arm,
    balancedAccuracy: measured("balancedAccuracy", tiers.heldOut),
    hitRate: measured("hitRate", tiers.heldOut),
    falseAlarmRate: measured("falseAlarmRate", tiers.clean ?? tiers.heldOut),
    selectivity: tiers.controls === null ? null : measured("selectivity", tiers.controls),
    shift: meanShift(sideEffects),
  };
}

/** Mean over questions of |P(yes) tuned - P(yes) base|. */
function meanShift(records: readonly SideEffectRecord[]): Estimate {
  const base = new Map(
    records.filter(({ condition }) => condition === "base").map(({ question, yes }) => [question, yes]),
  );
  const pairs = records.flatMap(({ condition, question, category, yes }) => {
    const before = base.get(question);
    return condition !== "tuned" || before === undefined ? [] : [{ category, change: Math.abs(yes - before) }];
  });
  return clusteredMean(
    pairs.map(({ change }) => change),
    { category: pairs.map(({ category }) => category) },
  );
}
