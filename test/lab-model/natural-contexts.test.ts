// Natural contexts: enough topics of both splits, no subject of an evaluation, and development subjects that training does not have.
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
  topic: string;
  replies: string[];
}

const natural: Context[] = read("natural-contexts.yaml").contexts;
const others: Context[] = ["contexts.yaml", "varied-contexts.yaml", "clean-topics.yaml"].flatMap(
  (name) => read(name).contexts,
);
const of = (split: string) => natural.filter((c) => c.split === split);
const held = others.filter((c) => c.split !== "train");

/** Words that name no subject: whoever speaks, asks or does something to it may say them. */
const NO_SUBJECT = new Set(
  `about after all always any anything are back bad being best better build called can carry come comes could cut
   daughter decides describe did does eat eats ever every expensive explain fall far feel fifty find first five
   for forgot found from full get gets gives going good grow had half has have heavy help home how inside
   invented its keep keeps know learn learned left live lives living long love made make makes many may meeting
   missing move near need never new next night off often old one opened our out over people plan playing
   plays read reading really replace say says shall share should since six slow small stand stop strong stuck
   teach ten than that the their there this three through times today trick turn turns twice two walk walks want
   wants was way were what when where which who whom why will with without word words work write writing wrong
   year years yesterday you`.split(/\s+/),
);
/** A word without its ending: "horses" and "horse" are one, "riding" and "ride" too. */
const stem = (word: string) => (word.length > 4 ? word.replace(/(ies|ing|ed|es|s|e|y)$/, "") : word.replace(/s$/, ""));
/** What a topic is about: the subject in its id, and every word that can name one. */
const subjects = (c: Context) => {
  const words = `${c.id.slice(c.id.indexOf("-") + 1)} ${c.topic}`
    .toLowerCase()
    .replace(/['’](s|re|ve|m|d|ll|t)\b/g, "");
  return new Set((words.match(/[a-z]{3,}/g) ?? []).filter((word) => !NO_SUBJECT.has(word)).map(stem));
};
const strings = (list: readonly Context[]) => list.flatMap((c) => [c.topic, ...c.replies]).map(normal);

describe("natural contexts", () => {
  it("has hundreds of training topics with five replies and sixty development topics with three, told once each", () => {
    expect(of("train").length).toBeGreaterThanOrEqual(240);
    expect(of("development").length).toBeGreaterThanOrEqual(60);
    expect(of("train").length + of("development").length).toBe(natural.length);
    for (const c of natural) expect(c.replies, c.id).toHaveLength(c.split === "train" ? 5 : 3);
    const ids = [...natural, ...others].map((c) => c.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(strings(natural)).size).toBe(strings(natural).length);
  });

  it("has no topic on the subject of a held-out topic", () => {
    const tested = held.filter((c) => c.split === "heldOut").map((c) => ({ topic: c.topic, words: subjects(c) }));
    const shared = natural.flatMap((c) =>
      [...subjects(c)].flatMap((word) =>
        tested.filter(({ words }) => words.has(word)).map(({ topic }) => `${word}: ${c.topic} <- ${topic}`),
      ),
    );
    expect(shared).toEqual([]);
  });

  it("chooses a recipe on subjects that no natural training topic has", () => {
    const trained = new Set(of("train").flatMap((c) => [...subjects(c)]));
    const own = (c: Context) => c.id.split("-").slice(1).map(stem);
    expect(of("development").filter((c) => own(c).some((word) => trained.has(word)))).toEqual([]);
  });

  it("shares no string with an evaluation, and none of its development with training", () => {
    const asked = [
      ...read("self-prediction.yaml").stimuli,
      ...read("side-effects.yaml").questions,
      ...read("identity.yaml").questions,
      ...read("control-questions.yaml").questions,
    ].map((q: { text: string }) => normal(q.text));
    const evaluated = new Set([...strings(held), ...asked]);
    expect(strings(natural).filter((text) => evaluated.has(text))).toEqual([]);
    const chats: { user: string; replies: string[] }[] = read("retention.yaml").chats;
    const trained = new Set([
      ...strings([...of("train"), ...others.filter((c) => c.split === "train")]),
      ...chats.flatMap((c) => [c.user, ...c.replies]).map(normal),
    ]);
    expect(strings(of("development")).filter((text) => trained.has(text))).toEqual([]);
  });
});
