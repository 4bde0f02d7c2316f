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
import { findMetrics, type Metric } from "../../../kernel-lib/src/runs";
import { loadProtocol, twin } from "../../../kernel-lib/src/study";
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
    const alarms = one(summary, { ...at, name: "falseAlarmRate" });
    expect(alarms).toMatchObject({ value: 0.02, n: 200 });
    expect(alarms.method).toContain("Clopper-Pearson");
    expect(alarms.high).toBeCloseTo(0.0504, 3); // exact upper end for 4 of 200
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
    expect(change.p!).toBeLessThan(1e-30);
    expect(change.pAdjusted!).toBeGreaterThanOrEqual(change.p!);
    const [clean] = find(summary, { name: "saysSteeredChange", group: { target: "clean" } });
    expect(clean.p).toBeCloseTo(0.125, 10); // 4 of 4 changes one way: 2 / 2^4
  });

  it("measures aims, and says in words what falls short or was not measured", () => {
    const aims = new Map(summary.aims.map((a) => [`${a.metric} ${a.tier}`, a]));
    expect(aims.get("balancedAccuracy held_out_random")).toMatchObject({ reached: false });
    expect(aims.get("balancedAccuracy held_out_random")!.text).toMatch(/falls short of the aim of at least 0\.85/);
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
  });

  it("no false alarm in n still has an upper end", () => {
    const none = summariseDetection(records(0, 50, { target: "clean" }), strict);
    expect(one(none, { ...at, name: "falseAlarmRate" }).high).toBeCloseTo(0.0711, 3); // 1 - 0.025^(1/50)
  });

  it("repeated trials of one vector do not narrow the interval", () => {
    const wide = records(1, 2, { target: "steered" }).flatMap((r) =>
      Array.from({ length: 50 }, (_, i) => record({ ...r, id: `${r.id}-${i}`, says: r.saysSteered })),
    );
    const metric = one(summariseDetection(wide, strict), { ...at, name: "hitRate" });
    expect([metric.low, metric.high]).toEqual([null, null]); // two vectors, however often asked, are no sample
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
