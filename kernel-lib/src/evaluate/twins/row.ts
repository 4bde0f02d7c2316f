/**
 * One arm of a study's controls as a row: what it detects, how selectively, and what it moved elsewhere.
 *
 * Tiers are chosen by what they hold out (`headlineTiers`), so that any protocol will do: held-out vectors asked for detection, the
 * controls asked of the same caches, clean trials. A pure function of metrics.
 */
import { findMetrics, type Metric } from "../../runs";
import type { Estimate } from "../../stats";
import { headlineTiers, type Protocol } from "../../study";

/** One twin (or the study itself, twin "study") by one training seed. */
export interface TwinRow {
  twin: string;
  seed: number;
  /** optimizer steps; the same in every arm */
  steps: number;
  /** on an arm's own validation examples, in its own words and labels: what it learnt; null without any */
  validationAccuracy: number | null;
  /** on held-out vectors; without interval where the arm was not measured */
  balancedAccuracy: Estimate;
  hitRate: Estimate;
  falseAlarmRate: Estimate;
  /** hit rate minus leaks to control questions on the same caches; null: the protocol asks no controls */
  selectivity: Estimate | null;
  /** mean over side-effect questions of |P(yes) tuned - P(yes) base| */
  shift: Estimate;
  /** KL(base || tuned) on chats never trained on, nats a token */
  chatDivergence: Estimate;
  /** weight of retention in training; 0 without retention */
  retentionWeight: number;
  /** run folders: training, detection, side effects, chats */
  folders: readonly string[];
}

/** The study itself among its twins. */
export const STUDY = "study";

/** What a row is made of. */
export interface TwinParts extends Pick<TwinRow, "twin" | "seed" | "steps" | "validationAccuracy" | "folders"> {
  protocol: Protocol;
  /** of its detection run, its side effects and its chats */
  metrics: readonly Metric[];
}

/** The row of one arm. False alarms come from the clean tier where there is one: it has the most topics. */
export function twinRow({ protocol, metrics, ...arm }: TwinParts): TwinRow {
  const tiers = headlineTiers(protocol);
  const { retention } = protocol.training;
  const measured = (name: string, tier: string, condition = "tuned"): Estimate => {
    const [found] = findMetrics(metrics, { name, tier, condition, group: {} });
    return found ?? { value: null, n: 0, low: null, high: null, method: "not measured" };
  };
  return {
    ...arm,
    balancedAccuracy: measured("balancedAccuracy", tiers.heldOut),
    hitRate: measured("hitRate", tiers.heldOut),
    falseAlarmRate: measured("falseAlarmRate", tiers.clean ?? tiers.heldOut),
    selectivity: tiers.controls === null ? null : measured("selectivity", tiers.controls),
    shift: measured("movedYes", "side_effects", "tuned-base"),
    chatDivergence: measured("chatDivergence", "chats"),
    retentionWeight: retention.share === 0 ? 0 : retention.weight,
  };
}
