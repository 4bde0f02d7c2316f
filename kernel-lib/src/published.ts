/** The published card's figures (data/published/card.json): another model's numbers, for side-by-side only. */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "./errors";
import { parseJsonStrict } from "./files";
import { DATA_FOLDER } from "./study-data";

/** What the card reports; `audit` is recounted from its author's public result files. */
export interface PublishedCard {
  source: string;
  model: string;
  tiers: {
    tier: string;
    accuracy: number;
    tpr: number;
    fpr: number;
    d_prime: number | null;
    audit: { hits: number; steered: number; unsteered: number; balanced_accuracy: number };
  }[];
  baseline_accuracy: number;
  side_effects: { category: string; n: number; delta_p_yes: number }[];
}

/** Reads the shipped figures. @throws DataError "published-card" if a field is missing */
export function readPublishedCard(file: string = path.join(DATA_FOLDER, "published", "card.json")): PublishedCard {
  const card = parseJsonStrict(fs.readFileSync(file, "utf8"), file) as PublishedCard;
  if (typeof card.model !== "string" || !Array.isArray(card.tiers) || !Array.isArray(card.side_effects)) {
    throw new DataError("published-card", expected("model, tiers and side_effects", file, "an incomplete card"));
  }
  return card;
}
