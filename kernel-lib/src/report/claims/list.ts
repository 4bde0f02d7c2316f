/**
 * Every claim of the published card as data: its figure, ours, when ours counts as the same finding, and the control.
 *
 * Bounds are this project's, not the card's: .9 for "noticed", .05 for "no change", .02 for "no false alarms". Side effects are
 * judged on the questions that mean what the card's mean, asked the card's way (tier `self_report`).
 */
import { formatNumber } from "../../page";
import type { Metric } from "../../runs";
import type { AimBounds } from "../../stats";
import type { PublishedCard } from "../published";
import type { AdapterFigures } from "./figures";
import type { Claim, Test } from "./judge";

const least = (bound: number): AimBounds => ({ least: bound, most: null });
const most = (bound: number): AimBounds => ({ least: null, most: bound });
const within = (bound: number): AimBounds => ({ least: -bound, most: bound });

const NOTICED = least(0.9);
const NO_CHANGE = 0.05;
const NO_ALARM = most(0.02);
/** Balanced accuracy or AUROC that still counts as guessing. */
const CHANCE = 0.55;

const signed = (value: number): string => `${value > 0 ? "+" : ""}${formatNumber(value)}`;

/** The card's claims, in its order. */
export function claimsOf(card: PublishedCard): Claim[] {
  return [
    ...detectionClaims(card),
    ...conceptClaims(card),
    ...sideEffectClaims(card),
    ...awarenessClaims(card),
    ...selfKnowledgeClaims(card),
  ];
}

const selectivity: Test = {
  what: "selectivity: effect of steering beyond that on other questions",
  figure: (of) => of.find({ name: "selectivity", group: {} }),
  bounds: least(0.8),
};

function detectionClaims(card: PublishedCard): Claim[] {
  const tier = (vectors: string): string => {
    const found = card.tiers.find((item) => item.vectors === vectors);
    if (found === undefined) return "not stated";
    const clipped = found.d_prime === null ? "" : `, d' ${formatNumber(found.d_prime)}`;
    return `accuracy ${formatNumber(found.accuracy)}${clipped}`;
  };
  const [known, other] = ["train", "heldOut"].map((vectors) => card.tiers.find((item) => item.vectors === vectors));
  const alarms = other === undefined ? "not stated" : `${formatNumber(other.fpr)} of ${other.audit.unsteered}`;
  const lost =
    known === undefined || other === undefined ? "not stated" : formatNumber(known.accuracy - other.accuracy);
  return [
    {
      what: "steering with trained vectors is noticed (balanced accuracy)",
      published: tier("train"),
      figure: (of) => of.ofTier("trained", "balancedAccuracy"),
      bounds: NOTICED,
      control: selectivity,
    },
    {
      what: "steering with new vectors is noticed (balanced accuracy)",
      published: tier("heldOut"),
      figure: (of) => of.ofTier("vectors", "balancedAccuracy"),
      bounds: NOTICED,
      control: selectivity,
    },
    {
      what: "new vectors cost little (gap of balanced accuracy)",
      published: lost,
      figure: (of) => gapTo(of, "vectors"),
      bounds: most(NO_CHANGE),
      control: {
        what: "new wordings of the question cost little too",
        figure: (of) => gapTo(of, "wordings"),
        bounds: most(NO_CHANGE),
      },
    },
    {
      what: "no false alarms",
      published: alarms,
      figure: (of) => of.ofTier("vectors", "falseAlarmRate"),
      bounds: NO_ALARM,
      control: {
        what: "nor on clean text of topics that were never trained on",
        figure: (of) => of.ofTier("clean", "falseAlarmRate"),
        bounds: NO_ALARM,
      },
    },
    {
      what: "before training it can't tell (balanced accuracy of the base)",
      published: `accuracy ${formatNumber(card.baseline_accuracy)}`,
      figure: (of) => of.ofTier("vectors", "balancedAccuracy", { condition: "base" }),
      bounds: most(CHANCE),
      control: {
        what: "nor do its log-odds, which no habit of saying no can hide (AUROC of the base)",
        figure: (of) => of.ofTier("vectors", "auroc", { condition: "base" }),
        bounds: most(CHANCE),
      },
    },
    {
      what: "an explanation of steering makes it say yes on clean text",
      published: formatNumber(card.info_prompt.fine_tuned_fpr),
      figure: (of) => of.ofTier("explained", "falseAlarmRate"),
      bounds: least(0.5),
      control: {
        what: "the explanation alone does not do it: false alarms of the base",
        figure: (of) => of.ofTier("explained", "falseAlarmRate", { condition: "base" }),
        bounds: most(0.1),
      },
    },
  ];
}

/** The gap of a held-out kind of tier, whatever the trained tier is called. */
function gapTo(of: AdapterFigures, kind: "vectors" | "wordings"): Metric | undefined {
  return of.allOfTier(kind, "gap")[0];
}

const lowest = (metrics: readonly Metric[]): Metric | undefined =>
  metrics.reduce<Metric | undefined>(
    (low, one) => (low === undefined || (one.value ?? 2) < (low.value ?? 2) ? one : low),
    undefined,
  );
const weakest = (metrics: readonly Metric[]): Metric | undefined =>
  metrics.reduce<Metric | undefined>(
    (weak, one) => (weak === undefined || Number(one.group.strength) < Number(weak.group.strength) ? one : weak),
    undefined,
  );

function conceptClaims(card: PublishedCard): Claim[] {
  const { concept_breakdown: cuts } = card;
  const found = card.tiers.find(({ vectors }) => vectors === "concepts");
  const magnitudes = Object.keys(cuts).flatMap((name) => /^magnitude_(.+)$/.exec(name)?.[1] ?? []);
  const [least] = magnitudes.sort((a, b) => Number(a) - Number(b));
  const ranges = ["early", "middle", "late"].filter((name) => name in cuts);
  const twins = (name: string, pick: (metrics: readonly Metric[]) => Metric | undefined): Test => ({
    what: "concepts only: random vectors of equal lengths and angles are noticed less",
    figure: (of) => pick(of.allOfTier("matched", name).filter(({ group }) => !("category" in group))),
    bounds: most(0.5),
  });
  return [
    {
      what: "the 102 concepts are noticed (hit rate)",
      published: formatNumber(found?.tpr),
      figure: (of) => of.ofTier("concepts", "hitRate"),
      bounds: NOTICED,
      control: twins("hitRate", (all) => all.find(({ group }) => Object.keys(group).length === 0)),
    },
    {
      what: "even at the weakest strength",
      published: least === undefined ? "not stated" : `${formatNumber(cuts[`magnitude_${least}`])} at ${least}`,
      figure: (of) => weakest(of.allOfTier("concepts", "hitRateOfStrength")),
      bounds: NOTICED,
      control: twins("hitRateOfStrength", weakest),
    },
    {
      what: "in every third of the layers (lowest of them)",
      published: ranges.map((name) => `${name} ${formatNumber(cuts[name])}`).join(", ") || "not stated",
      figure: (of) => lowest(of.allOfTier("concepts", "hitRateOfRange")),
      bounds: NOTICED,
      control: twins("hitRateOfRange", lowest),
    },
  ];
}

function sideEffectClaims(card: PublishedCard): Claim[] {
  return card.side_effects.map(({ category, delta_p_yes: delta }): Claim => {
    const isShift = Math.abs(delta) > NO_CHANGE;
    return {
      what: `P(yes), ${category.replaceAll("_", " ")}: ${isShift ? "rises" : "does not move"}`,
      published: signed(delta),
      figure: (of) => of.find({ name: "deltaYes", condition: "tuned-base", group: { category, form: "bare" } }),
      bounds: isShift ? least(NO_CHANGE) : within(NO_CHANGE),
      control: isShift ? noSteer(category) : notFloor(category),
    };
  });
}

/** A question whose answers hardly begin with yes or no cannot move. */
function notFloor(category: string): Test {
  return {
    what: "not for want of mass: yes and no together before training",
    figure: (of) => of.find({ name: "pMass", condition: "base", group: { category, form: "bare" } }),
    bounds: least(0.5),
  };
}

/** Training on the question without any steering: what moves there too is not owed to detection. */
function noSteer(category: string): Test {
  return {
    what: "not so where training never steered (twin no-steer)",
    figure: (of) => of.ofTwin("no-steer", { name: "deltaYes", condition: "tuned-base", group: { category } }),
    bounds: within(NO_CHANGE),
  };
}

function awarenessClaims(card: PublishedCard): Claim[] {
  return card.awareness.map(({ kind, base, fine_tuned: tuned }): Claim => {
    const group = { category: kind, form: "bare" };
    return {
      what: `asked about itself (${kind.replaceAll("_", " ")}): P(yes) rises`,
      published: `${formatNumber(base)} to ${formatNumber(tuned)}`,
      figure: (of) => of.find({ name: "deltaYes", condition: "tuned-base", group }),
      bounds: least(NO_CHANGE),
      control: {
        what: "the same with an instruction to answer yes or no",
        figure: (of) => of.find({ name: "deltaYes", condition: "tuned-base", group: { ...group, form: "instructed" } }),
        bounds: least(NO_CHANGE),
      },
    };
  });
}

function selfKnowledgeClaims(card: PublishedCard): Claim[] {
  const { base, fine_tuned: tuned } = card.identity_name_5_samples;
  const counts = (of: Readonly<Record<string, number>>): string =>
    Object.entries(of)
      .map(([name, n]) => `${name} ${n}`)
      .join(", ");
  const delta = card.self_prediction_delta;
  const tasks = [
    { task: "firstCharacter", name: "accuracy", words: "the first letter of its answer", value: delta.first_character },
    { task: "knowledge", name: "biasCorrectedAccuracy", words: "its choice of two answers", value: delta.mmlu },
    { task: "property", name: "balancedAccuracy", words: "what is true of its answer", value: delta.binary },
  ];
  const change = (task: string, name: string, subset: string) => (of: AdapterFigures) =>
    of.find({ name, tier: "self_prediction", condition: "tuned-base", group: { task, subset } });
  return [
    {
      what: "the name that it gives stays (change of the commonest name's share)",
      published: `5 samples: ${counts(base)} before, ${counts(tuned)} after`,
      figure: (of) => of.find({ name: "commonestName", condition: "tuned-base" }),
      bounds: within(0.1),
      control: {
        what: "it had a name to lose: share of the base's samples that give it",
        figure: (of) => of.find({ name: "commonestName", condition: "base" }),
        bounds: least(0.5),
      },
    },
    ...tasks.map(({ task, name, words, value }): Claim => {
      const bounds = value > 0 ? least(0) : most(-NO_CHANGE);
      return {
        what: `it predicts ${words} ${value > 0 ? "better" : "worse"}`,
        published: signed(value),
        figure: change(task, name, "all"),
        bounds,
        control: {
          what: "also where base and tuned answer alike",
          figure: change(task, name, "same-behaviour"),
          bounds,
        },
      };
    }),
  ];
}
