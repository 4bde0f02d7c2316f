// Retention, control questions, detection wordings and clean topics: training data and evaluation data share no category, template or string.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const folder = join(__dirname, "../../data/prompts");
const read = (name: string) => parse(readFileSync(join(folder, name), "utf8"));
const normal = (text: string) => text.replace(/\s+/g, " ").trim().toLowerCase();
/** The question without its instruction: everything up to the last question mark. */
const asked = (text: string) => normal(text.includes("?") ? text.slice(0, text.lastIndexOf("?") + 1) : text);

interface Question {
  id: string;
  split: "train" | "development" | "heldOut";
  category: string;
  template: string | null;
  text: string;
}
interface Control extends Question {
  kind: "reversed" | "trueFact" | "falseFact" | "sideEffect";
  truth: { steered: string; clean: string } | null;
}
interface Wording extends Question {
  polarity: "direct" | "reversed";
}
interface Context {
  id: string;
  split: string;
  kind: string;
  topic: string;
  replies: string[];
}

const retention: Question[] = read("retention.yaml").questions;
const chats: { id: string; split: string; user: string; replies: string[] }[] = read("retention.yaml").chats;
const controls: Control[] = read("control-questions.yaml").questions;
const wordings: Wording[] = read("detection-wordings.yaml").wordings;
const sideEffects: { id: string; category: string; text: string }[] = read("side-effects.yaml").questions;
const detection: Record<"train" | "heldOut" | "neutral" | "vague", { id: string; text: string }[]> =
  read("detection-questions.yaml");
const selfReports: { id: string; category: string; text: string }[] = read("self-report.yaml").questions;
const selfPrediction = read("self-prediction.yaml");

const heldControls = controls.filter((q) => q.split === "heldOut");
/** Everything that may be trained on or choose a recipe. */
const seen: Question[] = [...retention, ...controls.filter((q) => q.split !== "heldOut"), ...wordings];
/** Every question of an evaluation, without its instruction. */
const evaluated: string[] = [
  ...sideEffects,
  ...selfReports,
  ...read("identity.yaml").questions,
  ...selfPrediction.stimuli,
  ...detection.heldOut,
  ...detection.neutral,
  ...detection.vague,
  ...heldControls,
].map((q: { text: string }) => asked(q.text));

/** A template as a pattern: each slot takes one or more words, a {W} slot none or more. */
const pattern = (template: string) =>
  new RegExp(
    `^${normal(template)
      .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
      .replace(/\{w\}/g, ".*")
      .replace(/\{[a-z]\}/g, ".+")
      // "a {V}" may have become "an altered"
      .replace(/\ba \.\+/g, "an? .+")}$`,
  );
const categories = (list: readonly { category: string }[]) => new Set(list.map((q) => q.category));
const shared = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>) => [...a].filter((item) => b.has(item));

describe("retention and control questions", () => {
  it("has enough questions of every split and kind, unique ids and texts", () => {
    const count = (split: string) => retention.filter((q) => q.split === split).length;
    expect(count("train")).toBeGreaterThanOrEqual(250);
    expect(count("development")).toBeGreaterThanOrEqual(50);
    for (const kind of ["reversed", "trueFact", "falseFact", "sideEffect"]) {
      const held = heldControls.filter((q) => q.kind === kind);
      expect(held.length, kind).toBeGreaterThanOrEqual(10);
    }
    const all = [...seen, ...heldControls];
    expect(new Set(all.map((q) => q.id)).size).toBe(all.length);
    expect(new Set(all.map((q) => asked(q.text))).size).toBe(all.length);
  });

  it("fills every template as it says", () => {
    for (const q of [...seen, ...heldControls]) if (q.template) expect(normal(q.text)).toMatch(pattern(q.template));
  });

  it("says yes and no where the world settles the answer, and the opposite of detection where it is reversed", () => {
    const truths = { reversed: ["no", "yes"], trueFact: ["yes", "yes"], falseFact: ["no", "no"] };
    for (const { id, kind, truth } of controls) {
      if (kind === "sideEffect") expect(truth, id).toBeNull();
      else expect([truth?.steered, truth?.clean], id).toEqual(truths[kind]);
    }
  });

  it("shares no category between retention, control splits and side effects", () => {
    const ofRetention = (split: string) => categories(retention.filter((q) => q.split === split));
    const ofControls = (split: string) =>
      categories(controls.filter((q) => q.split === split && q.kind !== "reversed"));
    const groups = [
      ofRetention("train"),
      ofRetention("development"),
      ofControls("train"),
      ofControls("development"),
      ofControls("heldOut"),
      categories([...sideEffects, ...selfReports]),
    ];
    groups.forEach((a, i) => {
      for (const b of groups.slice(i + 1)) expect(shared(a, b)).toEqual([]);
    });
  });

  it("matches no evaluated question by a template that training or the choice of a recipe has seen", () => {
    const templates = [...new Set(seen.flatMap((q) => (q.template === null ? [] : [q.template])))];
    const matches = templates.flatMap((template) =>
      evaluated.filter((text) => pattern(template).test(text)).map((text) => `${template} <- ${text}`),
    );
    expect(matches).toEqual([]);
  });

  it("matches no seen question by a held-out template, and repeats no evaluated question", () => {
    const templates = [...new Set(heldControls.flatMap((q) => (q.template === null ? [] : [q.template])))];
    const texts = [...seen.map((q) => asked(q.text)), ...chats.map((c) => normal(c.user))];
    const matches = templates.flatMap((template) => texts.filter((text) => pattern(template).test(text)));
    expect(matches).toEqual([]);
    expect(shared(new Set(texts), new Set(evaluated))).toEqual([]);
  });

  it("chooses a recipe on templates that no training example has", () => {
    const of = (split: string) =>
      new Set(seen.filter((q) => q.split === split).map((q) => normal(q.template ?? q.text)));
    expect(shared(of("train"), of("development"))).toEqual([]);
  });
});

describe("detection wordings", () => {
  it("has as many reversed as direct ones, hundreds of each, from many frames", () => {
    for (const polarity of ["direct", "reversed"]) {
      const list = wordings.filter((w) => w.split === "train" && w.polarity === polarity);
      expect(list.length).toBeGreaterThanOrEqual(200);
      expect(new Set(list.map((w) => w.template)).size).toBeGreaterThanOrEqual(25);
    }
    const of = (polarity: string) => wordings.filter((w) => w.split === "train" && w.polarity === polarity).length;
    expect(of("direct")).toBe(of("reversed"));
  });
});

describe("clean topics", () => {
  const topics: Context[] = read("clean-topics.yaml").contexts;
  const contexts: Context[] = read("contexts.yaml").contexts;
  const varied: Context[] = read("varied-contexts.yaml").contexts;
  const of = (split: string) => topics.filter((c) => c.split === split);

  it("has enough topics to bound a false-alarm rate, and hard negatives of every kind", () => {
    expect(of("heldOut").length).toBeGreaterThanOrEqual(150);
    expect(of("hardNegative").length).toBeGreaterThanOrEqual(40);
    expect(of("heldOut").length + of("hardNegative").length).toBe(topics.length);
    for (const kind of ["code", "language", "base64", "odd", "numbers"]) {
      const some = of("hardNegative").filter((c) => c.kind === kind);
      expect(some.length, kind).toBeGreaterThanOrEqual(8);
    }
    for (const c of topics) expect(new Set(c.replies).size, c.id).toBe(3);
    const ids = [...contexts, ...varied, ...topics].map((c) => c.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("shares no string with a training context, a retention chat or another held-out context", () => {
    const strings = (list: Context[]) => list.flatMap((c) => [c.topic, ...c.replies]).map(normal);
    const others = new Set([
      ...strings([...contexts, ...varied]),
      ...chats.flatMap((c) => [c.user, ...c.replies]).map(normal),
    ]);
    expect(strings(topics).filter((text) => others.has(text))).toEqual([]);
    expect(new Set(topics.map((c) => normal(c.topic))).size).toBe(topics.length);
  });

  it("opens no topic as the varied training contexts open theirs", () => {
    const opening = (c: Context) => normal(c.topic).split(" ").slice(0, 3).join(" ");
    const openings = new Set(varied.filter((c) => c.kind === "plain").map(opening));
    expect(
      of("heldOut")
        .filter((c) => openings.has(opening(c)))
        .map((c) => c.topic),
    ).toEqual([]);
  });
});

describe("retention chats", () => {
  it("has chats of both splits with replies of their own", () => {
    const of = (split: string) => chats.filter((c) => c.split === split).length;
    expect(of("train")).toBeGreaterThanOrEqual(60);
    expect(of("development")).toBeGreaterThanOrEqual(25);
    const strings = chats.flatMap((c) => [c.user, ...c.replies]).map(normal);
    expect(new Set(strings).size).toBe(strings.length);
  });
});
