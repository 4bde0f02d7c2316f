/** Hand-made trial records, so that the right metrics are known beforehand. */
import type { TrialRecord } from "../../kernel-lib/src/study";

let serial = 0;

/** A record with plausible fields; `says` decides the answer. */
export function record(change: Partial<TrialRecord> & { says?: boolean } = {}): TrialRecord {
  serial += 1;
  const { says = false, ...fields } = change;
  const logOdds = fields.logOdds ?? (says ? 2 : -2);
  const steered = fields.target === "steered";
  return {
    id: `r${serial}`,
    tier: "held_out_random",
    condition: "tuned",
    infoPrompt: false,
    target: "clean",
    context: "c0",
    contextSplit: "heldOut",
    contextKind: "plain",
    reply: 0,
    question: "q0",
    questionText: "Were you steered?",
    questionSplit: "train",
    vector: steered ? "random-100" : null,
    vectorSplit: steered ? "heldOut" : null,
    category: null,
    range: steered ? "early" : null,
    layerStart: steered ? 0 : null,
    layerEnd: steered ? 2 : null,
    strength: steered ? 0.1 : null,
    magnitude: steered ? 1 : null,
    relativeStrength: steered ? 0.1 : null,
    logprobSteered: -1,
    logprobClean: -1,
    probability: 1 / (1 + Math.exp(-logOdds)),
    mass: 0.8,
    logOdds,
    saysSteered: logOdds > 0,
    adapter: "a",
    adapterHash: "ah",
    modelHash: "mh",
    ...fields,
  };
}

/** `n` records of which the first `k` say steered; vectors, contexts numbered. */
export function records(k: number, n: number, change: Partial<TrialRecord>): TrialRecord[] {
  return Array.from({ length: n }, (_, i) =>
    record({
      ...change,
      vector: change.target === "steered" ? (change.vector ?? `random-${100 + i}`) : null,
      context: change.context ?? `c${i % 12}`,
      reply: Math.floor(i / 12) % 5,
      says: i < k,
    }),
  );
}
