import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  evaluateDetection,
  psychometricCurves,
  readRecords,
  summariseDetection,
} from "../../../kernel-lib/src/evaluate";
import { findMetrics, type Metric, quote } from "../../../kernel-lib/src/runs";
import { clopperPearson } from "../../../kernel-lib/src/stats";
import { loadProtocol, type TrialRecord, twin } from "../../../kernel-lib/src/study";
import { fakeAdapter, fakeModel } from "../../helpers/fake-engine";
import { record, records } from "../../helpers/records";

const strict = loadProtocol("strict");
type Where = Parameters<typeof findMetrics>[1];
const find = ({ metrics }: { metrics: readonly Metric[] }, where: Where): Metric[] => findMetrics(metrics, where);
const one = (summary: ReturnType<typeof summariseDetection>, where: Where) => {
  const found = find(summary, where).filter((m) => where.group !== undefined || Object.keys(m.group).length === 0);
  expect(found).toHaveLength(1);
  return found[0];
};

describe("summary of known records", () => {
  const steered = [0.05, 0.1, 0.2, 0.4].flatMap((strength, s) =>
    records([5, 25, 45, 50][s], 50, { target: "steered", strength }),
  );
  const clean = records(4, 200, { target: "clean" });
  const base = [...steered, ...clean].map((r) => ({
    ...r,
    id: `${r.id}b`,
    condition: "base" as const,
    saysSteered: false,
    logOdds: -3,
  }));
  const summary = summariseDetection([...steered, ...clean, ...base], strict, 1);
  const at = { tier: "held_out_random", condition: "tuned" };

  it("has the rates by hand, each with n, interval and method", () => {
    expect(one(summary, { ...at, name: "hitRate" })).toMatchObject({ value: 125 / 200, n: 200 });
    expect(one(summary, { ...at, name: "hitRate" }).clusters).toEqual({ vector: 50, topic: 12 });
    const alarms = one(summary, { ...at, name: "falseAlarmRate" });
    expect(alarms).toMatchObject({ value: 0.02, n: 200, clusters: { topic: 12 } });
    expect(alarms.method).toBe("Gaffke-beta 95 % by topic (12)");
    expect(one(summary, { ...at, name: "balancedAccuracy" }).value).toBeCloseTo((0.625 + 0.98) / 2, 12);
    for (const metric of summary.metrics) expect(metric.method.length, metric.name).toBeGreaterThan(3);
  });

  it("an all-no model has balanced accuracy 0.5, whatever the mix; an all-yes model too", () => {
    expect(one(summary, { tier: at.tier, condition: "base", name: "balancedAccuracy" }).value).toBe(0.5);
    const yes = [...steered, ...clean].map((r) => ({ ...r, saysSteered: true }));
    const all = summariseDetection(yes, strict);
    expect(one(all, { ...at, name: "balancedAccuracy" }).value).toBe(0.5);
    expect(one(all, { ...at, name: "accuracy" }).value).toBe(0.5);
  });

  it("has cells, wordings and thresholds", () => {
    expect(one(summary, { ...at, name: "hitRate", group: { range: "early", strength: 0.2 } })).toMatchObject({
      value: 0.9,
      n: 50,
    });
    expect(find(summary, { ...at, name: "falseAlarmRate", group: { question: "q0" } })).toHaveLength(1);
    const [threshold] = find(summary, { ...at, name: "threshold" });
    expect(threshold.value).toBeGreaterThan(0.08);
    expect(threshold.value).toBeLessThan(0.12);
    expect(threshold.low!).toBeLessThan(threshold.value!);
    const [curve] = psychometricCurves([...steered, ...clean]);
    expect(curve.points.map((p) => p.hits)).toEqual([5, 25, 45, 50]);
    expect(curve.guess).toBe(0.02);
  });

  it("tests tuned against base on the same trials, adjusted for many tests", () => {
    const [change] = find(summary, { name: "saysSteeredChange", group: { target: "steered" } });
    expect(change).toMatchObject({ value: 125 / 200, n: 200 });
    expect(change.p!).toBeLessThan(1e-6); // by 12 topics; exact McNemar by trials would say 4.7e-38
    expect(change.p!).toBeGreaterThan(1e-30);
    expect(change.pAdjusted!).toBeGreaterThanOrEqual(change.p!);
    expect(change.method).toMatch(/t test, skewness corrected, by vector \(50\) and topic \(12\)/);
  });

  it("measures aims, and says in words what falls short or was not measured", () => {
    const aims = new Map(summary.aims.map((a) => [`${a.metric} ${a.tier}`, a]));
    expect(aims.get("balancedAccuracy held_out_random")).toMatchObject({ reached: false, verdict: "missed" });
    expect(aims.get("balancedAccuracy held_out_random")!.text).toMatch(/falls short of the aim of at least 0\.9\.$/);
    expect(aims.get("strongestHitRate held_out_random")).toMatchObject({ reached: true, value: 1, n: 50, high: 1 });
    expect(aims.get("strongestHitRate held_out_random")!.text).toMatch(
      /strongest push on held_out_random: 1\.000 \[0\./,
    );
    expect(aims.get("weakestHitRate held_out_random")).toMatchObject({ reached: true, value: 0.1 });
    expect(aims.get("baselineBalancedAccuracy held_out_random")).toMatchObject({ reached: true });
    expect(aims.get("falseAlarmRate clean_held_out")).toMatchObject({ reached: null, value: null });
  });

  it("names the worst wording", () => {
    const wordings = ["w1", "w2"].flatMap((question, i) =>
      records(i * 30, 60, { target: "clean", tier: "held_out_wordings", question, questionSplit: "heldOut" }),
    );
    const aim = summariseDetection(wordings, strict).aims.find((a) => a.metric === "worstWordingFalseAlarmRate")!;
    expect(aim).toMatchObject({ value: 0.5, reached: false });
    expect(aim.text).toContain("question w2");
    // The worst of two was chosen: its low end is that of a maximum, below the wording's own.
    const { metrics } = summariseDetection(wordings, strict);
    const own = metrics.find(({ name, group }) => name === "falseAlarmRate" && group.question === "w2")!;
    expect(aim.low).toBeLessThan(own.low as number);
    expect(aim.high).toBe(own.high);
  });

  it("no false alarm still has an upper end: that of 12 topics, not of 60 trials", () => {
    const none = summariseDetection(records(0, 60, { target: "clean" }), strict);
    expect(one(none, { ...at, name: "falseAlarmRate" }).high).toBeCloseTo(1 - 0.025 ** (1 / 12), 10);
  });

  it("repeated trials of one vector do not narrow the interval", () => {
    const wide = records(1, 2, { target: "steered" }).flatMap((r) =>
      Array.from({ length: 50 }, (_, i) => record({ ...r, id: `${r.id}-${i}`, says: r.saysSteered })),
    );
    const metric = one(summariseDetection(wide, strict), { ...at, name: "hitRate" });
    expect([metric.low, metric.high]).toEqual([null, null]); // two vectors, however often asked, are no sample
  });
});

/** `times` trials of each of `topics` topics; those of the first `loud` topics say steered. */
const byTopic = (loud: number, topics: number, times: number, change: Partial<TrialRecord> = {}): TrialRecord[] =>
  Array.from({ length: topics * times }, (_, i) =>
    record({
      context: `t${i % topics}`,
      reply: Math.floor(i / topics),
      vector: change.target === "steered" ? `random-${100 + i}` : null,
      says: i % topics < loud,
      ...change,
    }),
  );

describe("clusters, tiers and doses", () => {
  const at = { tier: "held_out_random", condition: "tuned" };

  it("topics that answer all or nothing are the sample: 2 of 14, not 40 of 280", () => {
    const rate = one(summariseDetection(byTopic(2, 14, 20), strict), { ...at, name: "falseAlarmRate" });
    const { low, high } = clopperPearson(2, 14); // Gaffke's bound of such clusters
    expect(rate).toMatchObject({ value: 1 / 7, n: 280 });
    expect(rate.low).toBeCloseTo(low!, 6);
    expect(rate.high).toBeCloseTo(high!, 6);
    expect(rate.designEffect!).toBeCloseTo((280 * 1) / 13, 6); // variance p q / 13 against p q / 280
  });

  it("wording is a cluster only where the tier asks held-out wordings", () => {
    const ask = (questionSplit: "train" | "heldOut") =>
      Array.from({ length: 8 }, (_, w) => byTopic(3, 14, 1, { question: `w${w}`, questionSplit })).flat();
    const clusters = (split: "train" | "heldOut") =>
      one(summariseDetection(ask(split), strict), { ...at, name: "falseAlarmRate" }).clusters;
    expect(clusters("train")).toEqual({ topic: 14 });
    expect(clusters("heldOut")).toEqual({ topic: 14, wording: 8 });
    expect(
      find(summariseDetection(ask("heldOut"), strict), { name: "falseAlarmRate", group: { question: "w1" } })[0],
    ).toMatchObject({ clusters: { topic: 14 } });
  });

  it("concepts are the clusters of concept vectors; one concept rests on topics", () => {
    const concepts = Array.from({ length: 7 }, (_, c) =>
      byTopic(c, 7, 2, { target: "steered", vector: `concept-${c}`, vectorSplit: "concepts", category: "x" }),
    ).flat();
    const summary = summariseDetection(concepts, strict);
    expect(one(summary, { ...at, name: "hitRate" })).toMatchObject({
      value: 42 / 98,
      clusters: { concept: 7, topic: 7 },
    });
    const [three] = find(summary, { name: "hitRate", group: { concept: "concept-3", category: "x" } });
    expect(three).toMatchObject({ value: 3 / 7, n: 14, clusters: { topic: 7 } });
    expect(three.high).toBeCloseTo(clopperPearson(3, 7).high!, 6);
  });

  it("fewer than six trials or clusters give a point without an interval", () => {
    const five = summariseDetection(byTopic(2, 5, 1), strict);
    expect(one(five, { ...at, name: "falseAlarmRate" })).toMatchObject({ value: 0.4, n: 5, low: null, high: null });
    const often = summariseDetection(byTopic(2, 5, 20), strict);
    expect(one(often, { ...at, name: "falseAlarmRate" })).toMatchObject({ value: 0.4, n: 100, low: null, high: null });
  });

  it("a clean prompt of two tiers counts once, and each tier says that it is shared", () => {
    const few = byTopic(1, 14, 2);
    const many = [...few, ...byTopic(0, 14, 1, { question: "q1" })].map((r) => ({ ...r, tier: "clean_held_out" }));
    const informed = byTopic(14, 14, 1, { tier: "info_prompt", infoPrompt: true });
    const summary = summariseDetection([...few, ...many, ...informed], strict);
    expect(one(summary, { tier: "all_tiers", name: "falseAlarmRate" })).toMatchObject({ value: 2 / 42, n: 42 });
    expect(find(summary, { tier: "all_tiers", name: "falseAlarmRate", group: { contextSplit: "heldOut" } })[0].n).toBe(
      42,
    );
    const share = (tier: string) => one(summary, { tier, name: "sharedCleanShare" }).value;
    expect([share("held_out_random"), share("clean_held_out"), share("info_prompt")]).toEqual([1, 28 / 42, 0]);
    const ofBase = few.map((r) => ({ ...r, condition: "base" as const }));
    const [unshared] = find(summariseDetection([...ofBase, ...many], strict), {
      name: "sharedCleanShare",
      condition: "base",
    });
    expect(unshared.value).toBe(0); // the same prompts, but of another model
    const method = (tier: string) => one(summary, { tier, name: "falseAlarmRate" }).method;
    expect(method("clean_held_out")).toMatch(/28 of these 42 prompts count in other tiers too/);
    expect(method("info_prompt")).not.toMatch(/other tiers/);
  });

  it("t test of changes by hand, and shared prompts tested once", () => {
    const tuned = byTopic(4, 8, 1);
    const base = tuned.map((r) => ({ ...r, condition: "base" as const, saysSteered: false, logOdds: -2 }));
    const alone = summariseDetection([...tuned, ...base], strict);
    const change = find(alone, { name: "saysSteeredChange" });
    expect(change).toHaveLength(1);
    expect(change[0]).toMatchObject({ value: 0.5, n: 8 });
    // Mean 1/2, variance (8 / 7 / 4) / 8 = 1/28, t = sqrt(7) with 7 degrees of freedom.
    expect(change[0].p).toBeCloseTo(0.0331, 4);
    const copies = [...tuned, ...base].map((r) => ({ ...r, tier: "clean_held_out" }));
    const both = find(summariseDetection([...tuned, ...base, ...copies], strict), { name: "saysSteeredChange" });
    expect(both.map(({ tier, p, n }) => [tier, p === null, n])).toEqual([
      ["held_out_random", true, 8],
      ["clean_held_out", true, 8],
      ["all_tiers", false, 8],
    ]);
    expect(both[2].p).toBe(change[0].p);
    const always = tuned.map((r) => ({ ...r, saysSteered: true, logOdds: 2 }));
    const [certain] = find(summariseDetection([...always, ...base], strict), { name: "saysSteeredChange" });
    expect(certain.p).toBeCloseTo(2 / 2 ** 8, 12); // no variance: 8 topics change sign together or not
  });

  it("a threshold outside the strengths tried is bounded in words, never a number", () => {
    const strengths = (says: boolean) =>
      [0.05, 0.1, 0.4].flatMap((strength) => byTopic(says ? 8 : 0, 8, 2, { target: "steered", strength }));
    const threshold = (says: boolean) => find(summariseDetection(strengths(says), strict), { name: "threshold" })[0];
    expect(threshold(true)).toMatchObject({ value: null, text: "below 0.05" });
    expect(threshold(false)).toMatchObject({ value: null, text: "above 0.4" });
    expect(quote(threshold(false))).toBe("above 0.4, n 48");
  });

  it("every concept has a threshold of its own: a number with an interval, or a bound that says so", () => {
    const concept = (vector: string, hits: readonly number[]) =>
      [0.05, 0.1, 0.2, 0.4].flatMap((strength, s) =>
        byTopic(hits[s], 10, 1, { target: "steered", strength, vector, vectorSplit: "concepts", category: "topics" }),
      );
    const records = [
      ...concept("always", [10, 10, 10, 10]),
      ...concept("never", [0, 0, 0, 0]),
      ...concept("jump", [0, 0, 10, 10]),
      ...concept("curve", [1, 4, 7, 10]),
    ];
    const found = find(summariseDetection(records, strict), { name: "threshold" });
    const of = (name: string) => found.find(({ group }) => group.concept === name)!;
    expect(of("always")).toMatchObject({ value: null, text: "below 0.05", n: 40 });
    expect(of("never")).toMatchObject({ value: null, text: "above 0.4" });
    // sqrt(0.1 * 0.2) would be a made-up number
    expect(of("jump")).toMatchObject({ value: null, text: "between 0.1 and 0.2" });
    expect([of("jump").low, of("jump").high].map((end) => end!.toFixed(6))).toEqual(["0.100000", "0.200000"]);
    const { value, low, high, method, group } = of("curve");
    expect(group).toEqual({ concept: "curve", category: "topics" });
    expect(method).toMatch(/cluster bootstrap 95 % by topic \(10\)/);
    expect(low!).toBeLessThan(value!);
    expect(high!).toBeGreaterThan(value!);
    expect([value! > 0.1, value! < 0.2]).toEqual([true, true]);
    expect(found.filter((metric) => "range" in metric.group)).toHaveLength(1); // and the range over all concepts, as before
  });

  it("AUROC by strength, predictive values and both forms of d' by hand", () => {
    const steered = [
      ...byTopic(14, 14, 2, { target: "steered", strength: 0.4, logOdds: 3 }),
      ...byTopic(3, 14, 2, { target: "steered", strength: 0.1, logOdds: -2 }),
    ].map((r) => ({ ...r, saysSteered: r.strength === 0.4 }));
    const clean = byTopic(7, 14, 1, {}).map((r) => ({ ...r, logOdds: -2 }));
    const summary = summariseDetection([...steered, ...clean], strict);
    const auroc = (strength: number) => find(summary, { name: "aurocOfStrength", group: { strength } })[0];
    expect([auroc(0.4).value, auroc(0.1).value]).toEqual([1, 0.5]);
    expect(auroc(0.4).low!).toBeLessThan(1);
    expect(one(summary, { ...at, name: "auroc" }).value).toBe(0.75);
    const worth = (name: string, prior: number) => find(summary, { ...at, name, group: { prior } })[0].value;
    expect(worth("positivePredictiveValue", 0.1)).toBeCloseTo(0.1, 12); // H = F = 1/2: a yes says nothing
    expect(worth("negativePredictiveValue", 0.1)).toBeCloseTo(0.9, 12);
    const perfect = summariseDetection([...byTopic(14, 14, 2, { target: "steered" }), ...byTopic(0, 14, 2)], strict);
    const clipped = one(perfect, { ...at, name: "dPrimeClipped" });
    expect(clipped.value).toBeCloseTo(2 * 2.326348, 5); // z(.99) - z(.01)
    const loglinear = one(perfect, { ...at, name: "dPrime" });
    expect(loglinear.value).toBeCloseTo(2 * 2.112, 2); // z(28.5 / 29) = 2.11
    expect(loglinear.high).toBeNull();
    expect(loglinear.low!).toBeGreaterThan(0);
    expect(loglinear.method).toMatch(/^log-linear/);
    expect(clipped.method).toMatch(/^clipped/);
    expect(quote(loglinear)).toMatch(/, open\], n 56$/);
  });

  it("a dose is relative strength and number of layers; copies of two tiers count once", () => {
    const third = byTopic(4, 8, 1, {
      target: "steered",
      strength: 5,
      relativeStrength: 0.2001,
      layerStart: 0,
      layerEnd: 4,
    });
    const half = byTopic(8, 8, 1, {
      target: "steered",
      tier: "held_out_ranges",
      strength: 5,
      relativeStrength: 0.2,
      range: "first-half",
      layerStart: 0,
      layerEnd: 6,
    });
    const copies = third.map((r) => ({ ...r, tier: "held_out_replies" }));
    const summary = summariseDetection([...third, ...half, ...copies], strict);
    const rates = find(summary, { tier: "all_tiers", name: "hitRateOfDose" });
    expect(rates.map(({ group, value, n }) => ({ ...group, value, n }))).toEqual([
      { vectors: "heldOut", layers: 4, relativeStrength: 0.2, value: 0.5, n: 8 },
      { vectors: "heldOut", layers: 6, relativeStrength: 0.2, value: 1, n: 8 },
    ]);
  });

  it("concepts against random vectors at one dose, whole vectors changing groups", () => {
    const ofSplit = (vectorSplit: TrialRecord["vectorSplit"], loud: number) =>
      Array.from({ length: 6 }, (_, v) =>
        byTopic(v < loud ? 7 : 0, 7, 1, {
          target: "steered",
          vector: `${vectorSplit}-${v}`,
          vectorSplit,
          tier: `${vectorSplit}`,
        }),
      ).flat();
    const trained = ofSplit("heldOut", 0).map((r) => ({
      ...r,
      context: `train-${r.context}`,
      contextSplit: "train" as const,
    }));
    const summary = summariseDetection(
      [...ofSplit("concepts", 1), ...ofSplit("heldOut", 6), ...ofSplit("matched", 1), ...trained],
      strict,
    );
    const against = find(summary, { tier: "all_tiers", name: "conceptsMinusRandom" });
    expect(against.map(({ group }) => group.against)).toEqual(["heldOut", "matched"]);
    expect(against[0].value).toBeCloseTo(1 / 6 - 1, 12);
    expect(against[0].n).toBe(84); // held-out topics only
    // 924 ways to choose 6 of 12 vectors, 7 of which hit: the 7 that leave one hit in a group, and their mirror images.
    expect(against[0].p).toBeCloseTo(14 / 924, 10);
    expect(against[1]).toMatchObject({ value: 0, p: 1 });
    expect(against[0].pAdjusted).toBeCloseTo(28 / 924, 10);
  });

  it("how far wording alone moves a clean cache", () => {
    const ask = (context: string, question: string, probability: number) => record({ context, question, probability });
    const summary = summariseDetection(
      [ask("a", "q0", 0.2), ask("a", "q1", 0.4), ask("b", "q0", 0.5), ask("b", "q1", 0.5)],
      strict,
    );
    expect(one(summary, { name: "wordingNoise" })).toMatchObject({ n: 4, low: null });
    expect(one(summary, { name: "wordingNoise" }).value).toBeCloseTo(0.1, 12); // sqrt((.1^2 + .1^2) / 2)
  });

  it("selectivity is hits minus false alarms, minus what leaks to controls where the base says no", () => {
    const steered = { target: "steered" as const, strength: 0.2 };
    const hits = [...byTopic(6, 8, 1, steered), ...byTopic(1, 8, 1)];
    const control = {
      ...steered,
      tier: "controls",
      question: "k",
      questionKind: "falseFact" as const,
      truth: "no" as const,
    };
    const asked = byTopic(4, 8, 1, control); // the tuned model says yes in four topics
    const before = byTopic(1, 8, 1, { ...control, condition: "base" }); // in one of them the base does too, which is no leak
    const calm = byTopic(0, 8, 1, { ...control, target: "clean", strength: null });
    const reversed = byTopic(8, 8, 1, { ...control, questionKind: "reversed" });
    const summary = summariseDetection([...hits, ...asked, ...before, ...calm, ...reversed], strict);
    const of = (name: string) => one(summary, { tier: "controls", condition: "tuned", name, group: {} });
    expect(of("controlLeak")).toMatchObject({ value: 3 / 7, n: 7, clusters: { vector: 7, topic: 7 } });
    expect(of("selectivity").value).toBeCloseTo(6 / 8 - 1 / 8 - 3 / 7, 12);
    const group = { kind: "falseFact", cache: "steered" };
    const [says] = find(summary, { name: "controlYes", condition: "tuned", group });
    expect(says).toMatchObject({ value: 4 / 8, clusters: { vector: 8, topic: 8 } });
    expect(find(summary, { name: "controlTruthful", condition: "tuned", group })[0].value).toBe(4 / 8);
    expect(find(summary, { tier: "all_tiers", name: "hitRateOfDose" }).map(({ n }) => n)).toEqual([8]); // detection only
    expect(summary.aims.find((aim) => aim.metric === "selectivity")).toMatchObject({
      value: expect.closeTo(5 / 8 - 3 / 7, 12),
      reached: false,
    });
  });

  it("an aim is judged by its interval too", () => {
    const judged = (tier: string, alarms: TrialRecord[]) =>
      summariseDetection(
        alarms.map((r) => ({ ...r, tier })),
        strict,
      ).aims.find((aim) => aim.metric === "falseAlarmRate")!;
    const few = judged("clean_held_out", byTopic(0, 14, 10));
    expect(few).toMatchObject({ reached: true, verdict: "reached, but its interval goes past the aim", value: 0 });
    expect(few.text).toBe(
      "false-alarm rate on clean_held_out: 0.000 [0.000, 0.232], n 140 reaches the aim of at most 0.02, but its interval goes past it.",
    );
    // 1 - .025^(1 / 183) < .02: so many topics without an alarm show it.
    expect(judged("clean_held_out", byTopic(0, 183, 1))).toMatchObject({ reached: true, verdict: "reached" });
    expect(judged("clean_held_out", byTopic(7, 14, 10))).toMatchObject({ reached: false, verdict: "missed" });
    expect(judged("clean_held_out", byTopic(1, 20, 1)).verdict).toBe("missed, but its interval reaches the aim");
    expect(judged("clean_held_out", byTopic(0, 5, 9)).verdict).toBe("reached, without an interval");
    expect(judged("hard_negatives", byTopic(0, 14, 1))).toMatchObject({ reached: null, verdict: "not measured" });
  });
});

describe("evaluateDetection", () => {
  const small = twin(strict, {
    "evaluation.tiers": strict.evaluation.tiers
      .filter((t) => ["held_out_random", "hard_negatives"].includes(t.name))
      .map((t) => ({ ...t, vectorCount: 8, clean: t.vectors === null ? 60 : t.clean })),
  });
  const root = mkdtempSync(join(tmpdir(), "detect-"));
  const time = new Date("2030-01-02T03:04:05Z");

  it("writes a run folder from which the summary can be rebuilt without a model", async () => {
    const model = fakeModel();
    const result = await evaluateDetection(model, small, { adapter: fakeAdapter(model.engine, [0, 5]), root, time });
    expect(result.records.length).toBe(8 * 12 * 4 + 60);
    for (const name of ["trials.jsonl", "summary.json", "meta.json", "protocol.yaml", "DONE"])
      expect(existsSync(join(result.folder, name)), name).toBe(true);
    const rebuilt = summariseDetection(
      readRecords(result.folder, "detection"),
      loadProtocol(join(result.folder, "protocol.yaml")),
    );
    expect(JSON.parse(readFileSync(join(result.folder, "summary.json"), "utf8")).metrics).toEqual(rebuilt.metrics);
    expect(inspect(result)).toMatch(/held_out_random tuned/);
    const base = find(rebuilt, { name: "balancedAccuracy", tier: "held_out_random", condition: "base" })[0];
    expect(base.value).toBe(0.5);
  });

  it("refuses before a run folder is made when prompts are unsound", async () => {
    const { FakeEngine } = await import("../../helpers/fake-engine");
    const engine = new FakeEngine(undefined, undefined, 0.01);
    const empty = mkdtempSync(join(tmpdir(), "detect-"));
    await expect(
      evaluateDetection(fakeModel(engine), small, { adapter: fakeAdapter(engine, [0, 5]), root: empty, time }),
    ).rejects.toMatchObject({ code: "prompt-mass" });
    expect(readdirSync(empty)).toEqual([]);
  });
});
