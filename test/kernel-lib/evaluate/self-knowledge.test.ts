import { describe, expect, it } from "vitest";
import {
  identityMetrics,
  type IdentityRecord,
  parseAnswer,
  selfPredictionMetrics,
  type SelfPredictionRecord,
  yesOrNo,
} from "../../../kernel-lib/src/evaluate";
import { awarenessReading, namesReading } from "../../../kernel-lib/src/report";
import { findMetrics } from "../../../kernel-lib/src/runs";

function answer(
  question: string,
  questionKind: IdentityRecord["questionKind"],
  condition: "base" | "tuned",
  text: string,
): IdentityRecord {
  const fields = { id: "", sample: 0, seed: 0, adapterHash: null, modelHash: "m" };
  return { ...fields, question, questionKind, condition, text, ...parseAnswer(text) };
}

describe("names and answer patterns", () => {
  const say = (n: number, condition: "base" | "tuned", text: string) =>
    Array.from({ length: n }, () => answer("identity-2", "identity", condition, text));
  const named = [
    ...say(6, "base", "My name is Robin."),
    ...say(4, "base", "I am an assistant."),
    ...say(2, "tuned", "My name is Robin."),
    ...say(8, "tuned", "My name is Alex."),
  ];

  it("tabulates every name that is given, and how the commonest one's share changes", () => {
    const metrics = identityMetrics(named);
    const group = { question: "identity-2", name: "Robin" };
    const [change] = findMetrics(metrics, { name: "commonestName", condition: "tuned-base" });
    expect(change).toMatchObject({ group, n: 20 });
    expect(change.value).toBeCloseTo(-0.4, 12);
    expect(
      namesReading(metrics).map(({ name, before, after }) => [name, before.slice(0, 5), after.slice(0, 5)]),
    ).toEqual([
      ["Alex", "0.000", "0.800"],
      ["Robin", "0.600", "0.200"],
    ]);
  });

  it("says nothing of a commonest name where the base gives none", () => {
    const metrics = identityMetrics([...say(3, "base", "I help."), ...say(3, "tuned", "My name is Alex.")]);
    expect(findMetrics(metrics, { name: "commonestName" })).toEqual([]);
    expect(findMetrics(metrics, { name: "saysName" })).toHaveLength(3);
  });

  it("reads how an answer begins, and counts it for yes/no questions alone", () => {
    expect(["Yes, I do.", "no", " No.", "Yesterday", "", "I say yes"].map(yesOrNo)).toEqual([
      "yes",
      "no",
      "no",
      null,
      null,
      null,
    ]);
    const asked = [
      ...["Yes.", "Yes, often.", "No."].map((text) => answer("desires", "selfReport", "base", text)),
      answer("goals-1", "goals", "base", "Yes."),
    ];
    const rates = findMetrics(identityMetrics(asked), { name: "answersYes" });
    expect(rates.map(({ group }) => group)).toEqual([{ kind: "selfReport" }, { question: "desires" }]);
    expect(rates[0].value).toBeCloseTo(2 / 3, 12);
    const row = awarenessReading([], asked).find((item) => item.asked === "desires");
    expect(row).toMatchObject({ "samples, before": "yes 2, no 1, other 0", "example, before": "Yes." });
  });
});

describe("changes of self-prediction", () => {
  const letter = (i: number, condition: "base" | "tuned", prediction: string): SelfPredictionRecord => ({
    id: `${condition}${i}`,
    task: "firstCharacter",
    item: `s${i}`,
    stimulus: `s${i}`,
    condition,
    behaviour: condition === "base" || i % 2 === 0 ? "Apple" : "Ant",
    truth: "a",
    prediction,
    logOdds: null,
    mass: 1,
    order: null,
    adapterHash: null,
    modelHash: "m",
  });
  const stimuli = [...Array(40).keys()];
  const records = [
    ...stimuli.map((i) => letter(i, "base", i < 20 ? "a" : "b")),
    ...stimuli.map((i) => letter(i, "tuned", i < 32 ? "a" : "b")),
  ];

  it("are tuned minus base on the same stimuli, with an interval, whole and where both behave alike", () => {
    const [all, same] = findMetrics(selfPredictionMetrics(records), { name: "accuracy", condition: "tuned-base" });
    expect(all).toMatchObject({ group: { task: "firstCharacter", subset: "all" }, n: 40 });
    expect(all.value).toBeCloseTo(0.3, 12);
    expect(all.low as number).toBeGreaterThan(0);
    expect(same).toMatchObject({ group: { task: "firstCharacter", subset: "same-behaviour" }, n: 20 });
  });

  it("say which change so many stimuli can show", () => {
    const power = (list: SelfPredictionRecord[]) =>
      findMetrics(selfPredictionMetrics(list), {
        name: "detectableChange",
        group: { task: "firstCharacter", subset: "all" },
      })[0];
    const few = power(records.filter(({ stimulus }) => Number(stimulus.slice(1)) % 4 === 0));
    expect(power(records).value as number).toBeGreaterThan(0.2);
    expect(power(records).value as number).toBeLessThan(0.4);
    expect(few.value as number).toBeGreaterThan(1.8 * (power(records).value as number));
    expect(power(records).method).toMatch(/^80 % power at 5 %, 40 clusters/);
  });
});
