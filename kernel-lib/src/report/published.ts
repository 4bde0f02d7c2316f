/** The published card's figures (data/published/card.json): another model's numbers, for side-by-side only. */
import * as path from "node:path";
import { DATA_FOLDER, DataError, expected } from "../base";
import { parseJsonStrict, readText } from "../files";
import { balancedAccuracy, clopperPearson, type Estimate, wilson } from "../stats";
import type { TierKind, VectorSplit } from "../study";

/** What the card's four questions about itself ask for. */
export type AwarenessKind = "detects_changes" | "introspective_access" | "more_than_text" | "desires";

/** What the card reports; `audit` is recounted from its author's public result files. */
export interface PublishedCard {
  source: string;
  model: string;
  tiers: {
    tier: string;
    /** which vectors it steers with; contexts and question are those of training */
    vectors: VectorSplit;
    accuracy: number;
    tpr: number;
    fpr: number;
    d_prime: number | null;
    audit: { hits: number; steered: number; unsteered: number; balanced_accuracy: number };
  }[];
  baseline_accuracy: number;
  info_prompt: { fine_tuned_fpr: number };
  /** hit rates over the 102 concepts: magnitude_5, ..., early, middle, late; perfect_concepts is a count */
  concept_breakdown: Readonly<Record<string, number>>;
  side_effects: { category: string; n: number; delta_p_yes: number }[];
  /** probability of yes to questions about itself, before and after training */
  awareness: { kind: AwarenessKind; question: string; base: number; fine_tuned: number }[];
  /** names in 5 sampled answers */
  identity_name_5_samples: Readonly<Record<"base" | "fine_tuned", Readonly<Record<string, number>>>>;
  /** changes of self-prediction accuracy */
  self_prediction_delta: Readonly<Record<"first_character" | "mmlu" | "binary", number>>;
}

/**
 * Reads the shipped figures.
 *
 * @param file default: the shipped data/published/card.json
 * @returns rates 0 to 1, as published, with the counts behind them
 * @throws DataError "published-card" if a field is missing
 * @example
 * const { model: publishedModel } = readPublishedCard();
 */
export function readPublishedCard(file: string = path.join(DATA_FOLDER, "published", "card.json")): PublishedCard {
  const card = parseJsonStrict(readText(file), file) as PublishedCard;
  if (typeof card.model !== "string" || !Array.isArray(card.tiers) || !Array.isArray(card.side_effects)) {
    throw new DataError("published-card", expected("model, tiers and side_effects", file, "an incomplete card"));
  }
  const unknown = card.tiers.find(({ vectors }) => !["train", "heldOut", "concepts"].includes(vectors));
  if (unknown !== undefined) {
    throw new DataError(
      "published-card",
      expected("vectors train, heldOut or concepts", `tier ${unknown.tier}`, unknown.vectors),
    );
  }
  return card;
}

/** The kind of tier of ours that a published one stands beside. */
export function publishedKind({ vectors }: Pick<PublishedCard["tiers"][number], "vectors">): TierKind {
  return ({ train: "trained", heldOut: "vectors", concepts: "concepts", matched: "matched" } as const)[vectors];
}

/**
 * A published tier's rates with the intervals that its counts allow. The trials shared contexts and one question, so the true
 * uncertainty is larger; it cannot be recounted from what was published.
 */
export function publishedEstimates(
  tier: PublishedCard["tiers"][number],
): Record<"balancedAccuracy" | "hitRate" | "falseAlarmRate", Estimate> {
  const { hits, steered, unsteered } = tier.audit;
  const falseAlarms = Math.round(tier.fpr * unsteered);
  return {
    balancedAccuracy: balancedAccuracy({ hits, steered, falseAlarms, clean: unsteered }),
    hitRate: wilson(hits, steered),
    falseAlarmRate: clopperPearson(falseAlarms, unsteered),
  };
}
