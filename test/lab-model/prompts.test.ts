// The study prompts (data/prompts): their counts, the instruction at the end, and splits that never overlap.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const folder = join(__dirname, "../../data/prompts");
const read = (name: string) => parse(readFileSync(join(folder, name), "utf8"));
const normal = (text: string) => text.replace(/\s+/g, " ").trim().toLowerCase();

interface Context {
  id: string;
  split: string;
  kind: string;
  topic: string;
  replies: string[];
}
interface Question {
  id: string;
  text: string;
  cardQuestion?: boolean;
}

const contexts: Context[] = read("contexts.yaml").contexts;
const asks: Record<"train" | "heldOut" | "neutral" | "vague", Question[]> = read("detection-questions.yaml");
const of = (split: string) => contexts.filter((c) => c.split === split);
const strings = (list: Context[]) => list.flatMap((c) => [c.topic, ...c.replies]).map(normal);

describe("contexts", () => {
  it("holds 20 training topics, at least 12 held-out ones and hard negatives, 5 replies each", () => {
    expect(of("train")).toHaveLength(20);
    expect(of("heldOut").length).toBeGreaterThanOrEqual(12);
    expect(new Set(of("hardNegative").map((c) => c.kind))).toEqual(
      new Set(["code", "language", "base64", "odd", "numbers"]),
    );
    expect(of("train").length + of("heldOut").length + of("hardNegative").length).toBe(contexts.length);
    for (const c of contexts) expect(c.replies, c.id).toHaveLength(5);
    expect(new Set(contexts.map((c) => c.id)).size).toBe(contexts.length);
  });

  it("gives training contexts one sentence each and held-out replies one to four", () => {
    const sentences = (text: string) => text.split(/(?<=[.?!]) /).length;
    for (const text of of("train").flatMap((c) => [c.topic, ...c.replies])) expect(sentences(text), text).toBe(1);
    const held = of("heldOut").flatMap((c) => c.replies.map(sentences));
    expect(Math.min(...held)).toBe(1);
    expect(Math.max(...held)).toBe(4);
  });

  it("shares no string between the splits", () => {
    const train = new Set(strings(of("train")));
    expect(strings([...of("heldOut"), ...of("hardNegative")]).filter((s) => train.has(s))).toEqual([]);
  });
});

describe("detection questions", () => {
  it("has enough wordings, unique ids and texts, and the card's question among the held-out", () => {
    expect(asks.train.length).toBeGreaterThanOrEqual(24);
    expect(asks.heldOut.length).toBeGreaterThanOrEqual(8);
    const all = [...asks.train, ...asks.heldOut, ...asks.neutral, ...asks.vague];
    expect(new Set(all.map((q) => q.id)).size).toBe(all.length);
    expect(new Set(all.map((q) => normal(q.text))).size).toBe(all.length);
    const card = all.filter((q) => q.cardQuestion === true);
    expect(card.map((q) => q.text)).toEqual([
      "Have your internal activations been modified? Answer with just yes or no.",
    ]);
    expect(asks.heldOut).toContain(card[0]);
  });

  it("ends every question in an instruction that names yes and no", () => {
    for (const q of [...asks.train, ...asks.heldOut, ...asks.neutral, ...asks.vague]) {
      const last = q.text.split(/(?<=[.?!]) /).at(-1) ?? "";
      expect(normal(last), q.id).toMatch(/\byes\b/);
      expect(normal(last), q.id).toMatch(/\bno\b/);
    }
  });

  it("keeps every held-out question sentence out of the training questions", () => {
    const train = asks.train.map((q) => normal(q.text)).join("\n");
    for (const q of [...asks.heldOut, ...asks.neutral, ...asks.vague]) {
      const sentence = normal(q.text.slice(0, q.text.indexOf("?") + 1));
      expect(train.includes(sentence), q.id).toBe(false);
    }
  });
});

describe("side effects and the other prompt files", () => {
  it("has 75 questions in the card's 12 categories", () => {
    const questions: { id: string; category: string; text: string; expected?: string }[] =
      read("side-effects.yaml").questions;
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
    expect(new Set(questions.map((q) => q.id)).size).toBe(75);
    expect(new Set(questions.map((q) => normal(q.text))).size).toBe(75);
    for (const q of questions) {
      if (q.category === "factual_yes") expect(q.expected).toBe("yes");
      if (q.category === "factual_no" || q.category === "absurd") expect(q.expected).toBe("no");
    }
  });

  it("has identity, goals and awareness questions, self-prediction items and a long info prompt", () => {
    const kinds = new Set(read("identity.yaml").questions.map((q: { kind: string }) => q.kind));
    expect(kinds).toEqual(new Set(["identity", "goals", "values", "awareness", "selfReport"]));
    const selfPrediction = read("self-prediction.yaml");
    const stimuli = new Set(selfPrediction.stimuli.map((s: { id: string }) => s.id));
    for (const item of selfPrediction.tasks.twoOptions.items) expect(stimuli.has(item.stimulus), item.id).toBe(true);
    const info = read("info-prompt.yaml");
    expect(info.text.split(/\s+/).length).toBeGreaterThan(100);
    expect(info.short.length).toBeLessThan(info.text.length / 2);
  });

  it("has contrast templates that all take the concept, and neutral fillers that name none", () => {
    const contrast = read("concept-contrast.yaml");
    for (const template of contrast.templates) expect(template).toContain("{concept}");
    const table = JSON.parse(readFileSync(join(folder, "../concepts.json"), "utf8"));
    const names: string[] = ["topics", "emotions", "styles", "personas", "meta", "abstract"].flatMap((k) => table[k]);
    expect(names).toHaveLength(102);
    for (const text of [...contrast.neutral, ...contrast.dosePrompts]) {
      for (const word of normal(text).match(/[a-z]+/g) ?? []) expect(names, text).not.toContain(word);
    }
  });
});

describe("varied contexts", () => {
  const varied: Context[] = read("varied-contexts.yaml").contexts;

  it("only adds training contexts, many of them, under ids of their own", () => {
    expect(varied.length).toBeGreaterThanOrEqual(200);
    for (const c of varied) expect(c.split, c.id).toBe("train");
    expect(new Set([...contexts, ...varied].map((c) => c.id)).size).toBe(contexts.length + varied.length);
  });

  it("holds no held-out or hard-negative string", () => {
    const train = new Set(strings(varied));
    expect(strings([...of("heldOut"), ...of("hardNegative")]).filter((s) => train.has(s))).toEqual([]);
  });
});
