import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readTrials, runTrials } from "../../../kernel-lib/src/evaluate";
import type { NamedDirection } from "../../../kernel-lib/src/steering";
import {
  bindStudy,
  type BoundStudy,
  lintPrompts,
  loadProtocol,
  type PlannedTrial,
  planTrials,
  preflight,
  requirePrompts,
  twin,
} from "../../../kernel-lib/src/study";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";

const file = (): string => join(mkdtempSync(join(tmpdir(), "trials-")), "trials.jsonl");
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
    const trials = planTrials(card, { concepts }).filter((t) => t.condition === "tuned");
    const count = (tier: string, target: string): number =>
      trials.filter((t) => t.tier === tier && t.target === target).length;
    expect([
      count("in_distribution", "steered"),
      count("in_distribution", "clean"),
      count("held_out_random", "steered"),
    ]).toEqual([600, 50, 600]);
    expect(count("concepts_102", "steered")).toBe(3 * 3 * 4 * 5);
    expect(new Set(trials.map((t) => t.question))).toEqual(new Set(["train-01"]));
    expect(trials.find((t) => t.strength === 20)?.magnitude).toBe(20);
  });
});

describe("runTrials", () => {
  const few = (): PlannedTrial[] => plan.filter((_, i) => i % 97 === 0);
  const adapter = () => fakeAdapter(engine, [0, 5]);

  it("records the engine's answer, tuned with and base without the adapter", async () => {
    const records = await runTrials(study, few(), { adapter: adapter(), file: file() });
    expect(records.map((r) => r.id)).toEqual(few().map((t) => t.id));
    for (const record of records) {
      expect(record.mass).toBeCloseTo(0.9, 6);
      expect(record.probability).toBeCloseTo(1 / (1 + Math.exp(-record.logOdds)), 12);
      expect(record.adapter).toBe(record.condition === "tuned" ? "fake-adapter" : null);
      if (record.condition === "base") expect(record.saysSteered).toBe(false);
    }
    const strong = records.filter((r) => r.strength === 0.4 && r.condition === "tuned");
    expect(strong.length).toBeGreaterThan(3);
    expect(strong.every((r) => r.saysSteered)).toBe(true);
    expect("plan" in records[0]).toBe(false);
  });

  it("gives the same numbers for any batch size", async () => {
    const [one, many] = [
      await runTrials(study, few(), { adapter: adapter(), file: file(), batch: 1 }),
      await runTrials(study, few(), { adapter: adapter(), file: file(), batch: 500 }),
    ];
    expect(many).toEqual(one);
  });

  it("shares prefixes and asks equal questions once", async () => {
    const clean = of("clean_held_out").slice(0, 62);
    const both = [...clean, ...clean.map((t) => ({ ...t, id: `${t.id}x`, tier: "again" }))];
    const counting = new FakeEngine();
    const counted = await bindStudy(fakeModel(counting), protocol);
    counting.rows = 0;
    await runTrials(counted, both, { adapter: fakeAdapter(counting, [0, 3]), file: file(), batch: 1000 });
    const prefixes = new Set(clean.map((t) => `${t.context} ${t.reply}`)).size;
    expect(counting.rows).toBe(prefixes + 62);
  });

  it("killed in the middle of a line, resumes to the bytes of a whole run", async () => {
    const [whole, part] = [file(), file()];
    await runTrials(study, few(), { adapter: adapter(), file: whole, batch: 10 });
    const lines = readFileSync(whole, "utf8").split("\n");
    writeFileSync(part, `${lines.slice(0, 33).join("\n")}\n`);
    appendFileSync(part, lines[33].slice(0, 40));
    let first = -1;
    await runTrials(study, few(), {
      adapter: adapter(),
      file: part,
      batch: 10,
      onProgress: (done) => {
        if (first < 0) first = done;
      },
    });
    expect(first).toBe(33);
    expect(readFileSync(part, "utf8")).toBe(readFileSync(whole, "utf8"));
  });

  it("stops on request and says what is safe", async () => {
    const out = file();
    const stop = new AbortController();
    const run = runTrials(study, few(), {
      adapter: adapter(),
      file: out,
      batch: 10,
      signal: stop.signal,
      onProgress: (done) => done >= 20 && stop.abort(),
    });
    await expect(run).rejects.toThrow(/Stopped after 2\d of/);
    expect(readTrials(out).length).toBeGreaterThanOrEqual(20);
  });

  it("refuses another adapter's file, and tuned trials without an adapter", async () => {
    const out = file();
    await runTrials(study, few().slice(0, 5), { adapter: adapter(), file: out });
    await expect(runTrials(study, few(), { adapter: fakeAdapter(engine, [0, 4]), file: out })).rejects.toMatchObject({
      code: "trials-mismatch",
    });
    await expect(runTrials(study, few(), { adapter: null, file: file() })).rejects.toMatchObject({
      code: "no-adapter",
    });
  });
});

describe("preflight", () => {
  it("passes sound prompts and estimates", async () => {
    const result = await preflight(study, plan, tmpdir());
    expect(result.lints.every((l) => l.passes && l.mass > 0.89)).toBe(true);
    expect(result.tokens).toBeGreaterThan(plan.length * 20);
    expect(result.lints[0].top[0].text).toBe(" no");
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
