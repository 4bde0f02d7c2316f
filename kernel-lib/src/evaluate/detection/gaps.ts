/**
 * In-distribution against held-out: how much balanced accuracy is lost where vectors, replies or wordings are new.
 *
 * Tiers of other strengths or layer ranges are not compared so: they differ in dose (doses.ts).
 */
import { type Metric, metricOf } from "../../runs";
import { clusteredGap, type DetectionSample } from "../../stats";
import { mainTier, type Protocol, type TierKind, type TrialRecord, tierViews } from "../../study";
import { groupBy, isClean, isSteered, sampleOf } from "./counts";

/** Kinds of tiers that ask the trained doses. */
const HELD_OUT: readonly TierKind[] = ["vectors", "replies", "wordings"];

/** `gap` of every held-out tier: balanced accuracy of the trained tier minus its own; group `against` names the trained tier. */
export function gapMetrics(records: readonly TrialRecord[], protocol: Protocol): Metric[] {
  const views = tierViews(protocol);
  const trained = mainTier(views, "trained");
  if (trained === null) return [];
  const tiers = groupBy(records, ({ tier, condition }) => `${condition} ${tier}`);
  return ["tuned", "base"].flatMap((condition) => {
    const known = armsOf(tiers.get(`${condition} ${trained.name}`) ?? []);
    return views.flatMap(({ name, kind }) => {
      const own = armsOf(tiers.get(`${condition} ${name}`) ?? []);
      if (!HELD_OUT.includes(kind) || known === null || own === null) return [];
      return [metricOf("gap", name, condition, clusteredGap(known, own), { against: trained.name })];
    });
  });
}

function armsOf(records: readonly TrialRecord[]): DetectionSample | null {
  const [steered, clean] = [records.filter(isSteered), records.filter(isClean)];
  return steered.length === 0 || clean.length === 0 ? null : { steered: sampleOf(steered), clean: sampleOf(clean) };
}
