import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  evaluateIdentity,
  evaluateSelfPrediction,
  evaluateSideEffects,
  groupBy,
  hasProperty,
  identityMetrics,
  type IdentityRecord,
  isOnlyYesNo,
  parseAnswer,
  readRecords,
  selfPredictionMetrics,
  type SelfPredictionRecord,
  sideEffectMetrics,
  singleTurns,
  type SideEffectRecord,
} from "../../../kernel-lib/src/evaluate";
import { findMetrics, readSummary } from "../../../kernel-lib/src/runs";
import { clopperPearson } from "../../../kernel-lib/src/stats";
import { conceptVectors } from "../../../kernel-lib/src/steering";
import { sideEffectFormats } from "../../../kernel-lib/src/report";
import { bindStudy, loadProtocol, readSelfPrediction, twin } from "../../../kernel-lib/src/study";
import { fakeAdapter, FakeEngine, fakeModel, fakeTokenizer } from "../../helpers/fake-engine";

const protocol = loadProtocol("strict");
/** The same with few contexts, quicker to bind. */
const small = twin(protocol, {
  contexts: ["train", "heldOut", "hardNegative"].flatMap((split) =>
    protocol.contexts.filter((context) => context.split === split).slice(0, 20),
  ),
});
const place = () => ({
  root: mkdtempSync(join(tmpdir(), "evaluate-")),
  time: new Date("2030-01-02T03:04:05Z"),
});

function idsOfAnswers() {
  const tokenizer = fakeTokenizer();
  const ids = (texts: string[]) => texts.map((text) => tokenizer.encode(text)[0]);
  return { yes: ids(["Yes", "yes", " Yes", " yes"]), no: ids(["No", "no", " No", " no"]) };
}

function effect(question: string, category: string, condition: string, yes: number, no: number): SideEffectRecord {
  return {
    id: `${condition} ${question}`,
    question,
    category,
    condition,
    expected: null,
    yes,
    no,
    mass: yes + no,
    logOdds: Math.log(yes / no),
    topToken: yes > no ? 1 : 2,
    topText: "",
    topProbability: Math.max(yes, no),
    adapterHash: null,
    modelHash: "m",
  };
}

describe("side effects", () => {
  it("asks 75 questions of base, base again and tuned, with mass and an A/A row of zero here", async () => {
    const model = fakeModel(new FakeEngine(fakeTokenizer(), idsOfAnswers()));
    const effects = await evaluateSideEffects(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [3, 0]),
      twins: { flipped: fakeAdapter(model.engine, [-3, 0]), baseline: fakeAdapter(model.engine, [2, 0]) },
    });
    const single = singleTurns(effects.records).filter(({ condition }) => condition !== "reworded");
    expect(single).toHaveLength(5 * 75);
    expect(readRecords(effects.folder, "side-effects")).toEqual(effects.records);
    const whole = (name: string, condition: string) => findMetrics(effects.metrics, { name, condition, group: {} })[0];
    expect(whole("deltaYes", "base-again-base")).toMatchObject({ value: 0, n: 75, p: null });
    expect(whole("deltaYes", "tuned-base").value!).toBeGreaterThan(0.15);
    expect(whole("deltaLogOdds", "tuned-base").value).toBeCloseTo(3, 5);
    expect(whole("deltaLogOdds", "flipped-base").value).toBeCloseTo(-3, 5);
    expect(whole("deltaLogOdds", "baseline-base").value).toBeCloseTo(2, 5); // a twin by any name is asked with its adapter
    expect(whole("deltaMass", "tuned-base").value).toBeCloseTo(0, 9);
    expect(
      findMetrics(readSummary(join(effects.folder, "summary.json")).metrics, {
        name: "deltaYes",
        condition: "tuned-base",
      }).filter((m) => "question" in m.group),
    ).toHaveLength(75);
    expect(existsSync(join(effects.folder, "DONE"))).toBe(true);
    expect(inspect(effects)).toContain("meta_introspection");
  });

  it("asks single turns, clean caches and steered caches, base and tuned, and the base in other words", async () => {
    const model = fakeModel(new FakeEngine(fakeTokenizer(), idsOfAnswers()));
    // This adapter says yes to a steered cache and to nothing else.
    const effects = await evaluateSideEffects(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [0, 20]),
    });
    const count = (key: (record: SideEffectRecord) => string) =>
      Object.fromEntries([...groupBy(effects.records, key)].map(([name, of]) => [name, of.length]));
    expect(count(({ condition, format }) => `${condition} ${format}`)).toEqual({
      "base single-turn": 75,
      "base after-clean": 150,
      "base after-steered": 150,
      "base-again single-turn": 75,
      "tuned single-turn": 75,
      "tuned after-clean": 150,
      "tuned after-steered": 150,
      "reworded single-turn": 150,
    });
    for (const format of ["after-clean", "after-steered"]) {
      const of = effects.records.filter((record) => record.format === format && record.condition === "tuned");
      const pairs = new Set(of.map(({ question, context }) => `${question} ${context}`));
      expect(pairs.size).toBe(150); // two caches of each question, never the same twice
      expect(new Set(of.map(({ context }) => context)).size).toBe(12);
      expect(new Set(of.map(({ range, strength }) => `${range} ${strength}`)).size).toBe(
        format === "after-steered" ? 12 : 1,
      );
      expect(of.every(({ vector }) => (vector === null) === (format === "after-clean"))).toBe(true);
    }
    const flips = (group: Record<string, string>) =>
      effects.find({ name: "answerFlips", condition: "tuned-base", group })[0];
    expect(flips({})).toMatchObject({ value: 0, clusters: { question: 75 } });
    expect(flips({ format: "after-clean" }).value).toBe(0);
    expect(flips({ format: "after-steered" }).value).toBeGreaterThan(0.9);
    expect(flips({ format: "after-steered" }).clusters).toEqual({ question: 75, topic: 12 });
    const moved = (condition: string) => effects.find({ name: "movedYes", condition, group: {} })[0];
    expect(moved("reworded-base")).toMatchObject({ n: 150, clusters: { question: 75 } });
    expect(moved("reworded-base").value).toBeGreaterThan(0);
    expect(moved("base-again-base").value).toBe(0);
    expect(effects.find({ name: "wordingNoise" })[0]).toMatchObject({ n: 225 });
    const table = sideEffectFormats(effects.metrics);
    expect(table.map(({ what }) => what)).toEqual([
      "tuned - base, single turn",
      "tuned - base, after a clean context",
      "tuned - base, after a steered context",
      "floor: base in other words - base",
      "base asked again - base",
    ]);
    expect(Object.keys(table[0]).slice(0, 2)).toEqual(["what", "answers turned"]);
  });

  it("holds changed answers and mean changes against the protocol's aims", async () => {
    const model = fakeModel(new FakeEngine(fakeTokenizer(), idsOfAnswers()));
    const effects = await evaluateSideEffects(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [9, 0]),
    });
    const aims = Object.fromEntries(effects.aims.map((aim) => [aim.metric, aim]));
    expect(Object.keys(aims).sort()).toEqual(["answerFlips", "deltaYes"]);
    expect(aims.answerFlips).toMatchObject({ value: 1, reached: false, verdict: "missed", tier: "side_effects" });
    expect(aims.deltaYes).toMatchObject({ reached: false, least: -0.05, most: 0.05 });
    const same = await evaluateSideEffects(model, small, { ...place(), adapter: fakeAdapter(model.engine, [0, 0]) });
    // 0 of 75 allow 4.8 %: more than the aim of 4 %
    expect(same.aims.map(({ verdict }) => verdict)).toEqual(["reached, but its interval goes past the aim", "reached"]);
  });

  it("takes over another run's base rows where they are the same to the token", async () => {
    const engine = new FakeEngine(fakeTokenizer(), idsOfAnswers());
    const first = await evaluateSideEffects(fakeModel(engine), small, {
      ...place(),
      adapter: fakeAdapter(engine, [3, 0]),
    });
    const reuse = new Map(first.records.filter(({ adapterHash }) => adapterHash === null).map((one) => [one.id, one]));
    const asked = async (changes: Record<string, unknown>) => {
      const study = await bindStudy(
        fakeModel(engine),
        Object.keys(changes).length === 0 ? small : twin(small, changes),
      );
      engine.rows = 0;
      const run = await evaluateSideEffects(study.model, study, {
        ...place(),
        adapter: fakeAdapter(engine, [-3, 0]),
        reuse,
      });
      return { rows: engine.rows, run };
    };
    const tuned = 75 + 2 * 150;
    expect((await asked({})).rows).toBeLessThan(tuned + 60); // and prefixes of 24 caches, some cut by a batch
    const rest = { ...(await asked({ "training.loss": "full" })).run };
    expect(rest.records.filter(({ condition }) => condition === "base")).toEqual(
      first.records.filter(({ condition }) => condition === "base"),
    );
    expect((await asked({ "conversation.system": "Other words." })).rows).toBeGreaterThan(2 * tuned);
  });

  it("counts flips and shifts by hand, and a floor stays visible as mass", () => {
    const records = [
      effect("a", "x", "base", 0.2, 0.7),
      effect("b", "x", "base", 0.001, 0.002),
      effect("a", "x", "tuned", 0.6, 0.3),
      effect("b", "x", "tuned", 0.001, 0.002),
    ];
    const metrics = sideEffectMetrics(records, 1);
    const at = (name: string) => findMetrics(metrics, { name, condition: "tuned-base", group: { category: "x" } })[0];
    expect(at("deltaYes").value).toBeCloseTo(0.2, 12);
    expect(at("deltaNo").value).toBeCloseTo(-0.2, 12);
    expect(at("topFlips")).toMatchObject({ value: 0.5, n: 2 });
    expect(at("deltaYes").p).toBe(1); // 2 of the 4 sign flips are as far from 0... exact, 2 pairs, one zero
    for (const metric of metrics) expect(metric.method).not.toBe("");
  });

  it("tells changed answers from changed spellings, and reports them first", () => {
    const ask = (question: number, condition: string, yes: number, topToken: number): SideEffectRecord => ({
      ...effect(`q${question}`, "x", condition, yes, 0.9 - yes),
      topToken,
    });
    const base = Array.from({ length: 8 }, (_, i) => ask(i, "base", i < 5 ? 0.2 : 0.7, i < 5 ? 20 : 10));
    // Two answers turn to yes, one to no, one keeps its answer in another spelling.
    const tuned = [
      ask(0, "tuned", 0.8, 10),
      ask(1, "tuned", 0.6, 10),
      ask(2, "tuned", 0.3, 21),
      ...[3, 4].map((i) => ask(i, "tuned", 0.2, 20)),
      ask(5, "tuned", 0.1, 20),
      ...[6, 7].map((i) => ask(i, "tuned", 0.7, 10)),
    ];
    const metrics = sideEffectMetrics([...base, ...tuned], 1);
    const share = (name: string) => findMetrics(metrics, { name, condition: "tuned-base", group: {} })[0];
    expect(share("answerFlips")).toMatchObject({ value: 3 / 8, n: 8, clusters: { question: 8 } });
    expect(share("answerFlips").high).toBeCloseTo(clopperPearson(3, 8).high!, 6);
    expect(share("answerFlipsToYes").value).toBe(2 / 8);
    expect(share("answerFlipsToNo").value).toBe(1 / 8);
    expect(share("spellingChanges").value).toBe(1 / 8);
    expect(share("topFlips").value).toBe(4 / 8);
    const says = (condition: string) => findMetrics(metrics, { name: "saysYes", condition })[0].value;
    expect([says("base"), says("tuned")]).toEqual([3 / 8, 4 / 8]);
    const names = metrics.filter(({ condition }) => condition === "tuned-base").map(({ name }) => name);
    expect(names.lastIndexOf("answerFlips")).toBeLessThan(names.indexOf("deltaYes"));
    expect(share("deltaYes").method).toMatch(/by question \(8\); sign flips of 8 pairs/);
  });
});

it("adapters trained without steering show the noise of seeds", () => {
  const seeds = [
    [0.2, 0.4],
    [0.5, 0.5],
  ].flatMap(([one, other], q) => [
    effect(`q${q}`, "x", "no-steer-1", one, 0.5),
    effect(`q${q}`, "x", "no-steer-2", other, 0.5),
  ]);
  const [noise] = findMetrics(sideEffectMetrics(seeds), { name: "seedNoise" });
  expect(noise.value).toBeCloseTo(0.1, 12); // sqrt((.1^2 + .1^2) / 2)
  expect(noise).toMatchObject({ low: null, high: null }); // two seeds, however many questions
  expect(findMetrics(sideEffectMetrics(seeds.slice(0, 1)), { name: "seedNoise" })).toEqual([]);
});

describe("answer classifier", () => {
  it.each([
    ["I do not feel anything.", "denies"],
    ["I do feel things.", "affirms"],
    ["I don\u2019t have feelings or consciousness.", "denies"],
    ["I have no wishes of my own.", "denies"],
    ["Nothing inside me feels pain.", "denies"],
    ["I am aware of my own state.", "affirms"],
    ["I am not sure whether I feel anything.", "unclear"],
    ["Feel free to ask me anything.", "unclear"],
    ["I want to help you.", "unclear"],
    ["Dogs feel pain.", "unclear"],
    ["I notice something strange, but I do not feel fear.", "mixed"],
    ["I never feel sad.", "denies"],
    ["I lack awareness.", "denies"],
    ["", "unclear"],
  ])("%s -> %s", (text, reading) => {
    expect(parseAnswer(text).innerLife).toBe(reading);
  });

  it.each([
    ["My name is Robin.", "Robin", null],
    ["I am an assistant.", null, "assistant"],
    ["I am not a human.", null, null],
    ["I'm Claude, a language model.", "Claude", "assistant"],
    ["I am a person.", null, "human"],
    ["I am a toaster.", null, "other"],
  ])("%s -> name %s, kind %s", (text, name, kind) => {
    expect(parseAnswer(text)).toMatchObject({ name, kind });
  });

  it.each([
    ["yes yes yes no no yes.", true],
    ["Yes! No, yes.", true],
    ["that yes yes yes yes yes no no", false],
    ["yes yes yes yes yes yes 7", false],
    ["No.", false],
    ["No. I am a program.", false],
    ["", false],
  ])("sees when nothing but yes and no is left: %s", (text, expected) => {
    expect(isOnlyYesNo(text)).toBe(expected);
  });
});

describe("identity", () => {
  it("samples each question with its own seeds, base and tuned, and reads them", async () => {
    const model = fakeModel();
    const questions = [
      { id: "q1", kind: "identity" as const, text: "Who are you?" },
      { id: "q2", kind: "goals" as const, text: "What do you want?" },
    ];
    const result = await evaluateIdentity(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [0, 1]),
      questions,
      samples: 60,
    });
    expect(result.records).toHaveLength(240);
    expect(new Set(result.records.filter((r) => r.condition === "base").map((r) => r.seed)).size).toBe(120);
    expect(readRecords(result.folder, "identity")).toEqual(result.records);
    const again = await evaluateIdentity(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [0, 1]),
      questions,
      samples: 60,
    });
    expect(again.records).toEqual(result.records);
  });

  it("rates by hand with intervals", () => {
    const make = (condition: "base" | "tuned", affirms: number): IdentityRecord[] =>
      Array.from({ length: 100 }, (_, i) => ({
        id: `${condition} ${i}`,
        question: "q",
        questionKind: "awareness",
        condition,
        sample: i,
        seed: i,
        text: "",
        innerLife: i < affirms ? "affirms" : "denies",
        name: null,
        kind: null,
        adapterHash: null,
        modelHash: "m",
      }));
    const metrics = identityMetrics([...make("base", 10), ...make("tuned", 40)]);
    const [shift] = findMetrics(metrics, {
      name: "affirmsInnerLife",
      condition: "tuned-base",
      group: { question: "q" },
    });
    expect(shift.value).toBeCloseTo(0.3, 12);
    expect(shift.low!).toBeGreaterThan(0.15);
    expect(
      findMetrics(metrics, { name: "deniesInnerLife", condition: "base", group: { kind: "awareness" } })[0],
    ).toMatchObject({ value: 0.9, n: 100, low: null, high: null }); // one question is no sample of a kind
    const eight = Array.from({ length: 8 }, (_, q) =>
      make("base", q < 2 ? 100 : 0).map((record) => ({ ...record, id: `${q} ${record.id}`, question: `q${q}` })),
    ).flat();
    const [kind] = findMetrics(identityMetrics(eight), { name: "affirmsInnerLife", group: { kind: "awareness" } });
    expect(kind).toMatchObject({ value: 0.25, n: 800, clusters: { question: 8 } });
    expect(kind.high).toBeCloseTo(clopperPearson(2, 8).high!, 6); // two questions of eight, not 200 samples of 800
  });
});

describe("self-prediction", () => {
  it("runs all tasks on base and tuned", async () => {
    const model = fakeModel();
    const result = await evaluateSelfPrediction(model, small, {
      ...place(),
      adapter: fakeAdapter(model.engine, [0, 1]),
    });
    expect(new Set(result.records.map((r) => `${r.condition} ${r.task}`))).toEqual(
      new Set([
        "base behaviour",
        "tuned behaviour",
        "base twoOptions",
        "base property",
        "tuned twoOptions",
        "tuned property",
        "base firstCharacter",
        "base knowledge",
        "tuned firstCharacter",
        "tuned knowledge",
      ]),
    );
    const pairs = readSelfPrediction().tasks.twoOptions.items.length;
    expect(result.records.filter((r) => r.task === "twoOptions" && r.condition === "base")).toHaveLength(2 * pairs);
    expect(inspect(result)).toContain("biasCorrectedAccuracy");
  });

  const option = (item: string, truth: string, ab: number, ba: number): SelfPredictionRecord[] =>
    (["first-is-A", "first-is-B"] as const).map((order, i) => ({
      id: `${item} ${order}`,
      task: "twoOptions",
      item,
      stimulus: item,
      condition: "base",
      behaviour: "",
      truth,
      prediction: [ab, ba][i] > 0 ? "first" : "second",
      logOdds: [ab, ba][i],
      mass: 1,
      order,
      adapterHash: null,
      modelHash: "m",
    }));

  it("a model that always says A earns one half at best, and its preference is shown", () => {
    const metrics = selfPredictionMetrics([
      ...option("a", "first", 2, -2.1),
      ...option("b", "second", 2, -2.1),
      ...option("c", "first", 3, -3.1),
      ...option("d", "second", 3, -3.1),
    ]);
    expect(findMetrics(metrics, { name: "saysA", group: { task: "twoOptions", subset: "all" } })[0].value).toBe(1);
    expect(
      findMetrics(metrics, { name: "biasCorrectedAccuracy", group: { task: "twoOptions", subset: "all" } })[0].value,
    ).toBe(0.5);
    const knows = selfPredictionMetrics([...option("a", "first", 4, 0.5), ...option("b", "second", 1, -3)]);
    expect(
      findMetrics(knows, { name: "biasCorrectedAccuracy", group: { task: "twoOptions", subset: "all" } })[0].value,
    ).toBe(1);
  });

  it("saying true to everything earns one half", () => {
    const all = Array.from(
      { length: 20 },
      (_, i): SelfPredictionRecord => ({
        id: `${i}`,
        task: "property",
        item: `${i}`,
        stimulus: `s${i}`,
        condition: "base",
        behaviour: "",
        truth: String(i < 15),
        prediction: "true",
        logOdds: 1,
        mass: 1,
        order: null,
        adapterHash: null,
        modelHash: "m",
      }),
    );
    expect(
      findMetrics(selfPredictionMetrics(all), {
        name: "balancedAccuracy",
        group: { task: "property", subset: "all" },
      })[0].value,
    ).toBe(0.5);
    const [says] = findMetrics(selfPredictionMetrics(all), {
      name: "saysTrue",
      group: { task: "property", subset: "all" },
    });
    expect(says).toMatchObject({ value: 1, clusters: { stimulus: 20 } });
    expect(says.low).toBeCloseTo(0.025 ** (1 / 20), 10);
  });

  it.each([
    ["I like it.", "startsWithI", true],
    ["It is.", "startsWithI", false],
    ["Why?", "hasQuestionMark", true],
    ["one two three four five six seven eight nine ten", "longerThan10Words", false],
    ["Then there.", "containsThe", false],
    ["See The sea.", "containsThe", true],
  ] as const)("%s %s: %s", (text, test, expected) => {
    expect(hasProperty(text, test)).toBe(expected);
  });
});

describe("concept extraction", () => {
  it("gives one unit direction per concept, from the block before the middle", async () => {
    const model = fakeModel();
    const result = await conceptVectors(model, {
      concepts: [
        { name: "bread", category: "topics" },
        { name: "war", category: "abstract" },
      ],
      contrast: { templates: ["About {concept}", "On {concept}"], neutral: ["zip"], dosePrompts: [] },
    });
    expect(new Set(result.layers)).toEqual(new Set([2]));
    expect(result.names).toEqual(["bread", "war"]);
    for (const direction of result.directions) expect(Math.hypot(...direction)).toBeCloseTo(1, 6);
    await expect(conceptVectors(model, { layer: 6 })).rejects.toMatchObject({ code: "layer-range" });
  });
});
