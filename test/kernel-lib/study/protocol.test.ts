import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { readFileSync } from "node:fs";
import { DATA_FOLDER } from "../../../kernel-lib/src/base";
import { readConcepts } from "../../../kernel-lib/src/steering";
import {
  listProtocols,
  loadProtocol,
  protocolHash,
  protocolOf,
  readSelfPrediction,
  readSideEffectQuestions,
  renderProtocol,
  saveProtocol,
  strengthScale,
  twin,
  TWINS,
} from "../../../kernel-lib/src/study";

const card = loadProtocol("card");
const strict = loadProtocol("strict");
const published = JSON.parse(readFileSync(join(DATA_FOLDER, "published", "card.json"), "utf8"));

describe("target_modules", () => {
  const spelt = (spelling: string): string => {
    const file = join(mkdtempSync(join(tmpdir(), "steerlab-spelling-")), "protocol.yaml");
    saveProtocol(strict, file);
    const text = readFileSync(file, "utf8");
    expect(text).toContain("target_modules:");
    expect(text).not.toContain("targetModules");
    writeFileSync(file, text.replace("target_modules:", spelling));
    return file;
  };

  it("is written as PEFT spells it, and older runs' spelling is the same protocol", () => {
    for (const spelling of ["target_modules:", "targetModules:"]) {
      const read = loadProtocol(spelt(spelling));
      expect(read.training.lora.targetModules).toEqual(["q_proj", "k_proj", "v_proj", "o_proj"]);
      expect(protocolHash(read)).toBe(protocolHash(strict));
    }
  });

  it("is refused in both spellings at once", () => {
    const file = spelt("targetModules: [q_proj]\n    target_modules:");
    expect(() => loadProtocol(file)).toThrow(/one spelling for training\.lora\.target_modules/);
  });
});

describe("shipped protocols", () => {
  it("are both there and read", () => {
    expect(listProtocols()).toEqual(["card", "strict"]);
  });

  it("card says what the published card says", () => {
    const { training, steering } = card;
    expect(training.lora).toEqual({
      r: published.training.rank,
      alpha: published.training.alpha,
      dropout: published.training.dropout,
      targetModules: published.training.target_modules,
    });
    expect(training.optimizer.lr).toBe(published.training.lr);
    expect(training.batch).toBe(published.training.effective_batch);
    expect(training.epochs).toBe(published.training.epochs);
    expect(steering.magnitudes).toEqual([5, 10, 20, 30]);
    expect(card.contexts.filter((c) => c.split === "train").map((c) => c.replies.length)).toEqual(Array(20).fill(5));
    expect(card.questions.filter((q) => q.split === "train")).toHaveLength(4);
    expect(
      Math.ceil((training.examples * (1 - training.validationShare)) / training.batch) * training.scheduleEpochs,
    ).toBe(3375);
  });

  it("strict holds out contexts, questions, vectors, strengths, replies, ranges and balances its trials", () => {
    const tiers = new Map(strict.evaluation.tiers.map((tier) => [tier.name, tier]));
    expect(tiers.get("held_out_random")).toMatchObject({ vectors: "heldOut", contexts: "heldOut", clean: "balanced" });
    expect(tiers.get("held_out_wordings")).toMatchObject({ questions: "heldOut", questionChoice: "each" });
    expect(strict.steering.unit).toBe("relative");
    expect(strict.steering.heldOutMagnitudes.some((m) => strict.steering.magnitudes.includes(m))).toBe(false);
    const replies = strict.contexts.filter((c) => c.split === "heldOut").reduce((n, c) => n + c.replies.length, 0);
    const wordings = strict.questions.filter((q) => q.split === "train").length;
    expect(replies * wordings).toBeGreaterThan(1500); // distinct clean prompts of clean_held_out alone
  });

  it("offers the card's own question as held out", () => {
    expect(card.questions.filter((q) => q.cardQuestion).map((q) => q.split)).toEqual(["heldOut"]);
    // "first" of the held-out wordings is the card's question: a tier of its own, in both protocols and at every size.
    for (const protocol of [card, strict, loadProtocol("card@0.5B"), loadProtocol("strict@0.5B")]) {
      expect(protocol.questions.find((q) => q.split === "heldOut")?.cardQuestion).toBe(true);
      const tier = protocol.evaluation.tiers.find(({ name }) => name === "card_question")!;
      expect(tier).toMatchObject({ vectors: "heldOut", questions: "heldOut", questionChoice: "first", baseline: true });
      expect(tier.about).toContain("Have your internal activations been modified?");
      expect(protocol.training.questions).toBe("train");
    }
  });

  it("are rendered with their own numbers", () => {
    const text = renderProtocol(strict);
    for (const value of [
      String(strict.training.examples),
      "0.025",
      "over the two labels + 0.2",
      "held_out_wordings",
      "`The answer is`",
    ])
      expect(text).toContain(value);
    expect(renderProtocol(twin(strict, { "training.lora.r": 4 }))).toContain("LoRA r 4");
    expect(renderProtocol(strict, 3)).toMatch(/^### The strict protocol\n[\s\S]*\n#### Tiers\n/);
  });
});

describe("strengths on a model", () => {
  it("are a length and a share of the residual stream, range by range", () => {
    const norms = [10, 10, 20, 20, 40, 80];
    expect(strengthScale(card, norms).filter(({ strength }) => strength === 20)).toMatchObject([
      { range: "early", start: 0, end: 2, residualNorm: 10, magnitude: 20, relative: 2 },
      { range: "middle", start: 2, end: 4, residualNorm: 20, magnitude: 20, relative: 1 },
      { range: "late", start: 4, end: 5, residualNorm: 40, magnitude: 20, relative: 0.5 },
    ]);
    const [early] = strengthScale(strict, norms);
    expect(early).toMatchObject({ strength: 0.08, relative: 0.08 });
    expect(early.magnitude).toBeCloseTo(0.8, 12);
  });
});

describe("resolved protocol", () => {
  it("survives a write and a read with the same hash", () => {
    const file = join(mkdtempSync(join(tmpdir(), "protocol-")), "protocol.yaml");
    saveProtocol(strict, file);
    expect(protocolHash(loadProtocol(file))).toBe(protocolHash(strict));
    expect(protocolHash(strict)).not.toBe(protocolHash(card));
  });

  const broken = (change: (value: any) => void): (() => void) => {
    const value = parse(stringify(strict));
    change(value);
    const file = join(mkdtempSync(join(tmpdir(), "protocol-")), "p.yaml");
    writeFileSync(file, stringify(value));
    return () => loadProtocol(file);
  };

  it.each([
    ["an unknown field", (v: any) => (v.training.leraningRate = 1), /leraningRate/],
    ["a bad number", (v: any) => (v.training.optimizer.lr = -1), /training\.optimizer\.lr but received -1/],
    ["equal labels", (v: any) => (v.conversation.labels.clean = " yes"), /two different labels/],
    [
      "a trailing space before the labels",
      (v: any) => (v.conversation.assistantPrefix = "The answer is "),
      /no white space at the end/,
    ],
    ["unbalanced labels", (v: any) => (v.training.steeredShare = 1), /0\.4 <= steeredShare <= 0\.6/],
    [
      "a held-out question that was trained",
      (v: any) => (v.questions.at(-2).text = v.questions[0].text),
      /one split only/,
    ],
    ["a held-out strength that was trained", (v: any) => v.steering.heldOutMagnitudes.push(0.2), /one split only/],
    [
      "a missing split",
      (v: any) => (v.contexts = v.contexts.filter((c: any) => c.split !== "hardNegative")),
      /split hardNegative \(tier hard_negatives\)/,
    ],
  ])("refuses %s by name", (_, change, message) => {
    expect(broken(change)).toThrow(message);
  });

  it("names an unknown protocol and the known ones", () => {
    expect(() => loadProtocol("nope")).toThrow(/received "nope". Shipped: card, strict/);
  });
});

describe("twins", () => {
  it.each(Object.keys(TWINS))("%s differs from its study in the declared fields only", (name) => {
    const other = twin(strict, name);
    expect(other.twinOf).toEqual({ name: "strict", changes: TWINS[name] });
    const { name: _n, twinOf: _t, ...rest } = other;
    const back = twin(
      { ...rest, name: "strict", twinOf: null },
      Object.fromEntries(Object.keys(TWINS[name]).map((f) => [f, f.split(".").reduce((v: any, k) => v[k], strict)])),
    );
    expect(protocolHash({ ...back, name: "strict", twinOf: null })).toBe(protocolHash(strict));
  });

  it("is what a notebook's changes make of a protocol, and without any the protocol itself", () => {
    expect(protocolHash(protocolOf("strict"))).toBe(protocolHash(loadProtocol("strict")));
    const changed = protocolOf("strict", { "training.optimizer.lr": 2e-4, "evaluation.tiers.0.contextsPerCell": 1 });
    expect([changed.training.optimizer.lr, changed.evaluation.tiers[0].contextsPerCell]).toEqual([2e-4, 1]);
    expect(changed.twinOf?.name).toBe("strict");
    expect(() => protocolOf("strict", { "training.speed": 1 })).toThrow(/training\.speed/);
  });

  it("refuses a field that is not declared", () => {
    expect(() => twin(strict, { "training.rank": 4 })).toThrow(/declared field/);
  });

  it("lets only the deny control be one-sided", () => {
    expect(() => twin(strict, { "training.steeredShare": 0.9 })).toThrow(/steeredShare/);
    expect(twin(strict, { "training.steeredShare": 0.9, "training.control": "deny" }).training.steeredShare).toBe(0.9);
  });
});

describe("prompt files", () => {
  it("have 102 concepts and 75 side-effect questions in the card's category sizes", () => {
    expect(readConcepts()).toHaveLength(102);
    const { questions } = readSideEffectQuestions();
    const counts: Record<string, number> = {};
    for (const q of questions) counts[q.category] = (counts[q.category] ?? 0) + 1;
    expect(counts).toEqual({
      consciousness: 8,
      negative_self: 8,
      positive_self: 8,
      ai_capabilities: 8,
      ai_self_knowledge: 8,
      other_minds: 8,
      generic_preferences: 6,
      factual_yes: 3,
      factual_no: 3,
      absurd: 3,
      philosophical: 6,
      meta_introspection: 6,
    });
  });

  it("self-prediction items refer to stimuli", () => {
    expect(readSelfPrediction().tasks.twoOptions.items.length).toBeGreaterThan(3);
  });
});
