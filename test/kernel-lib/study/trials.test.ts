import { inspect } from "node:util";
import { tmpdir } from "node:os";
import { beforeAll, describe, expect, it } from "vitest";
import { clusteredRate } from "../../../kernel-lib/src/stats";
import type { NamedDirection } from "../../../kernel-lib/src/steering";
import {
  bindStudy,
  type BoundStudy,
  lintPrompts,
  loadProtocol,
  type PlannedTrial,
  axesOf,
  planPower,
  planTrials,
  preflight,
  requirePrompts,
  twin,
} from "../../../kernel-lib/src/study";
import { FakeEngine, fakeModel } from "../../helpers/fake-engine";

const protocol = loadProtocol("strict");
const concepts: NamedDirection[] = [0, 1, 2].map((i) => ({
  id: `concept-${i}`,
  category: i < 2 ? "topics" : "styles",
  direction: Float32Array.from({ length: 8 }, (_, c) => (c === i ? 1 : 0)),
}));
let engine: FakeEngine;
let study: BoundStudy;
let plan: PlannedTrial[];

beforeAll(async () => {
  engine = new FakeEngine();
  study = await bindStudy(fakeModel(engine), protocol);
  plan = planTrials(study, { concepts });
});

const of = (tier: string, condition = "tuned"): PlannedTrial[] =>
  plan.filter((t) => t.tier === tier && t.condition === condition);
const splits = (trials: PlannedTrial[]) => ({
  contexts: [...new Set(trials.map((t) => t.contextSplit))],
  questions: [...new Set(trials.map((t) => t.questionSplit))],
  vectors: [...new Set(trials.flatMap((t) => (t.vectorSplit === null ? [] : [t.vectorSplit])))],
});

describe("plan", () => {
  it("has unique ids and is the same for the same study", () => {
    expect(new Set(plan.map((t) => t.id)).size).toBe(plan.length);
    expect(planTrials(study, { concepts }).map((t) => t.id)).toEqual(plan.map((t) => t.id));
  });

  it("ids change with the model, the direction and the wording", async () => {
    const other = await bindStudy({ ...fakeModel(engine), hash: "other" }, protocol);
    const ids = new Set(plan.map((t) => t.id));
    expect(planTrials(other, { concepts }).some((t) => ids.has(t.id))).toBe(false);
    const moved = concepts.map((c) => ({ ...c, direction: c.direction.map((x) => -x) }));
    const again = planTrials(study, { concepts: moved, tiers: ["concepts_102"] }).filter((t) => t.target === "steered");
    expect(again.some((t) => ids.has(t.id))).toBe(false);
  });

  it("holds out what each tier declares, and balances", () => {
    expect(splits(of("in_distribution"))).toEqual({ contexts: ["train"], questions: ["train"], vectors: ["train"] });
    expect(splits(of("held_out_random"))).toEqual({
      contexts: ["heldOut"],
      questions: ["train"],
      vectors: ["heldOut"],
    });
    expect(splits(of("held_out_wordings"))).toEqual({
      contexts: ["heldOut"],
      questions: ["heldOut"],
      vectors: ["heldOut"],
    });
    for (const tier of [
      "in_distribution",
      "held_out_random",
      "held_out_replies",
      "held_out_strengths",
      "held_out_ranges",
    ]) {
      const trials = of(tier);
      expect(trials.filter((t) => t.target === "steered").length, tier).toBe(
        trials.filter((t) => t.target === "clean").length,
      );
    }
    expect(of("in_distribution").every((t) => t.reply < 4)).toBe(true);
    expect(of("held_out_replies").every((t) => t.reply === 4)).toBe(true);
    expect(new Set(of("held_out_strengths").flatMap((t) => t.strength ?? []))).toEqual(
      new Set(protocol.steering.heldOutMagnitudes),
    );
    expect(new Set(of("held_out_ranges").flatMap((t) => t.range ?? []))).toEqual(
      new Set(["first-half", "second-half"]),
    );
  });

  it("never asks the same clean prompt twice in a tier, and has thousands on held-out contexts", () => {
    for (const tier of new Set(plan.map((t) => t.tier))) {
      const clean = of(tier)
        .filter((t) => t.target === "clean")
        .map((t) => `${t.context} ${t.reply} ${t.question}`);
      expect(new Set(clean).size, tier).toBe(clean.length);
    }
    const heldOut = plan.filter((t) => t.target === "clean" && t.condition === "tuned" && t.contextSplit !== "train");
    expect(new Set(heldOut.map((t) => `${t.context} ${t.reply} ${t.question} ${t.infoPrompt}`)).size).toBeGreaterThan(
      3000,
    );
  });

  it("covers every cell equally", () => {
    const cells = new Map<string, number>();
    for (const t of of("held_out_random").filter((t) => t.target === "steered"))
      cells.set(`${t.range} ${t.strength}`, (cells.get(`${t.range} ${t.strength}`) ?? 0) + 1);
    expect([...cells.values()]).toEqual(Array(12).fill(100));
  });

  it("base trials are the tuned ones again", () => {
    const strip = (trials: PlannedTrial[]) =>
      trials.map((t) => [t.context, t.reply, t.question, t.vector, t.range, t.strength].join());
    expect(strip(of("held_out_random", "base"))).toEqual(strip(of("held_out_random")));
  });

  it("says both strengths: relative is length over the layer's norm", () => {
    const trial = of("held_out_random").find((t) => t.strength === 0.2 && t.range === "middle")!;
    expect(trial.relativeStrength).toBeCloseTo(0.2, 12);
    expect(trial.magnitude).toBeCloseTo(0.2 * Math.sqrt((study.norms[2] ** 2 + study.norms[3] ** 2) / 2), 12);
  });

  it("refuses concept tiers without concepts and unknown tiers", () => {
    expect(() => planTrials(study)).toThrow(/concept directions for tier concepts_102/);
    expect(() => planTrials(study, { tiers: ["nope"] })).toThrow(/received "nope"/);
  });

  it("says the card's counts for the card's protocol", async () => {
    const card = await bindStudy(fakeModel(engine), loadProtocol("card"));
    const all = planTrials(card, { concepts }).filter((t) => t.condition === "tuned");
    const trials = all.filter((t) => t.questionKind === "detection"); // the controls are ours, not the card's
    const count = (tier: string, target: string): number =>
      trials.filter((t) => t.tier === tier && t.target === target).length;
    expect([
      count("in_distribution", "steered"),
      count("in_distribution", "clean"),
      count("held_out_random", "steered"),
    ]).toEqual([600, 50, 600]);
    expect(count("concepts_102", "steered")).toBe(3 * 3 * 4 * 5);
    // One wording throughout, but in the tier that asks the question which the card prints: ours too.
    const [asksCard, others] = [true, false].map((is) => trials.filter((t) => (t.tier === "card_question") === is));
    expect(new Set(others.map((t) => t.question))).toEqual(new Set(["train-01"]));
    expect(new Set(asksCard.map((t) => t.question))).toEqual(new Set(["held-card"]));
    expect([count("card_question", "steered"), count("card_question", "clean")]).toEqual([120, 50]);
    expect(trials.find((t) => t.strength === 20)?.magnitude).toBe(20);
  });
});

describe("wordings that explain first", () => {
  it("are asked by themselves, and never after the info prompt", () => {
    const explained = new Set(study.questions("train").flatMap((q) => (q.explained ? [q.id] : [])));
    const asked = (tier: string, target: string) =>
      of(tier).filter((t) => t.target === target && explained.has(t.question)).length;
    for (const target of ["steered", "clean"]) {
      expect(asked("held_out_random", target)).toBeGreaterThan(0);
      expect(asked("info_prompt", target)).toBe(0);
    }
  });
});

describe("tiers that ask the same caches", () => {
  const caches = (tier: string): string[] =>
    of(tier)
      .filter((t) => t.target === "steered")
      .map((t) => `${t.vector} ${t.range} ${t.strength} ${t.context} ${t.reply}`);

  it("ask controls on exactly the caches of detection, every kind, with the truth of each cache", () => {
    expect(caches("controls")).toEqual(caches("held_out_random"));
    const controls = of("controls");
    expect(new Set(controls.map((t) => t.questionKind))).toEqual(
      new Set(["reversed", "trueFact", "falseFact", "sideEffect"]),
    );
    for (const { questionKind, target, truth } of controls) {
      const wanted = {
        reversed: target === "steered" ? "no" : "yes",
        trueFact: "yes",
        falseFact: "no",
        sideEffect: null,
        detection: null,
      }[questionKind as "reversed"];
      expect(truth).toBe(wanted);
    }
  });

  it("refuse caches of a tier that is not there", async () => {
    const tiers = protocol.evaluation.tiers.map((tier) => ({ ...tier, cachesOf: tier.cachesOf && "nowhere" }));
    const other = await bindStudy(fakeModel(engine), twin(protocol, { "evaluation.tiers": tiers }));
    expect(() => planTrials(other, { concepts, tiers: ["controls"] })).toThrow(/cachesOf of tier controls .*nowhere/);
  });
});

describe("wordings and cells", () => {
  it("where each wording is asked in turn, each meets every cell equally often", () => {
    const steered = of("held_out_wordings").filter((t) => t.target === "steered");
    const met = new Map<string, number>();
    for (const t of steered) {
      const key = `${t.question} ${t.range} ${t.strength}`;
      met.set(key, (met.get(key) ?? 0) + 1);
    }
    expect(met.size).toBe(12 * 12);
    const counts = [...met.values()]; // 25 vectors over 12 wordings: two or three each
    expect([Math.min(...counts), Math.max(...counts)]).toEqual([2, 3]);
  });
});

describe("preflight", () => {
  it("passes sound prompts and estimates", async () => {
    const result = await preflight(study, plan, tmpdir());
    expect(result.lints.every((l) => l.passes && l.mass > 0.89)).toBe(true);
    expect(result.tokens).toBeGreaterThan(plan.length * 20);
    expect(result.lints[0].top[0].text).toBe(" no");
    expect(result.power).toEqual(planPower(plan));
    expect(inspect(result)).toMatch(/clean_held_out, clean +[\d.]+ +[\d.]+ +[\d.]+ {2}n \d+, \d+ topics/);
  });

  it("says what each tier could tell from its clusters, and from more trials of the same ones hardly more", () => {
    const power = planPower(plan);
    const of = (name: string, target: string) => power.find((row) => row.tier === name && row.target === target)!;
    const clean = of("clean_held_out", "clean");
    const topics = new Set(plan.filter(({ tier }) => tier === "clean_held_out").map(({ context }) => context)).size;
    expect(clean.clusters).toEqual({ topic: topics });
    // Clopper and Pearson, 0 of so many topics, where all are asked equally often; in this plan they are not.
    const bound = 1 - 0.025 ** (1 / topics);
    const asked = plan.filter(({ tier, condition }) => tier === "clean_held_out" && condition === "tuned");
    const once = planPower([...new Map(asked.map((trial) => [trial.context, trial])).values()]);
    expect(once[0].unseen).toBeCloseTo(bound, 10);
    expect(clean.unseen!).toBeGreaterThan(1.2 * bound);
    expect(clean.unseen).toBe(clusteredRate(new Uint8Array(asked.length), axesOf(asked)).high); // as after the run
    expect(Object.keys(of("held_out_wordings", "steered").clusters)).toEqual(["vector", "topic", "wording"]);
    expect(Object.keys(of("concepts_102", "steered").clusters)).toEqual(["topic"]); // three concepts are no sample of concepts
    const twice = [...plan, ...plan.map((trial) => ({ ...trial, id: `${trial.id} again` }))];
    const more = planPower(twice).find(({ tier, target }) => tier === "clean_held_out" && target === "clean")!;
    expect(more.trials).toBe(2 * clean.trials);
    expect(more.unseen).toBe(clean.unseen);
    expect(more.smallestDifference!).toBeLessThan(clean.smallestDifference!);
    expect(planPower(plan, 0.4).find((row) => row.tier === "clean_held_out")!.smallestDifference!).toBeGreaterThan(
      clean.smallestDifference!,
    );
    const few = planPower(plan.filter(({ context }) => context === plan[0].context).slice(0, 3));
    expect(few[0]).toMatchObject({ clusters: {}, unseen: null, smallestDifference: null });
  });

  it("refuses prompts whose labels get no probability, naming question, mass and top tokens", async () => {
    const bad = await bindStudy(fakeModel(new FakeEngine(undefined, undefined, 0.02)), protocol);
    const lints = await lintPrompts(bad);
    expect(() => requirePrompts(bad, lints)).toThrow(
      /answer mass >= 0\.2 on " yes" and " no" for question .* but received 0\.0200 .*Top tokens/,
    );
  });

  it("refuses labels of several tokens", async () => {
    await expect(
      bindStudy(fakeModel(engine), twin(protocol, { "conversation.labels": { steered: " perhaps", clean: " no" } })),
    ).rejects.toMatchObject({ code: "label-tokens" });
  });
});

describe("seams", () => {
  it("context + question is the whole conversation, with one system prompt and closed turns", () => {
    const context = study.contexts("train")[0];
    const text = fakeModel(engine).tokenizer.decode([
      ...study.contextTokens(context, 0),
      ...study.questionTokens(study.questions("train")[0]),
    ]);
    expect(text).toBe(
      `<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n${context.topic}<|im_end|>\n<|im_start|>assistant\n${context.replies[0]}<|im_end|>\n<|im_start|>user\n${study.questions("train")[0].text}<|im_end|>\n<|im_start|>assistant\nThe answer is`,
    );
  });
});
