/** One runner: every evaluation records line by line, resumes to the same bytes, and goes on only with a run of the same making. */
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { StudyModel } from "../../../kernel-lib/src/engine";
import {
  askTrials,
  EVALUATION_KINDS,
  type EvaluateOptions,
  evaluateChats,
  evaluateDetection,
  evaluateIdentity,
  evaluateProbe,
  evaluateSelfPrediction,
  evaluateSelfReport,
  evaluateSideEffects,
  type EvaluationKind,
  type EvaluationRun,
  packRun,
  readRecords,
  RECORD_FILES,
  runEvaluation,
  summarise,
  trialBatches,
  VECTOR_FILES,
} from "../../../kernel-lib/src/evaluate";
import type { RunIdentity } from "../../../kernel-lib/src/runs";
import { type DirectionSet, readDirections } from "../../../kernel-lib/src/steering";
import {
  bindStudy,
  type BoundStudy,
  loadProtocol,
  type PlannedTrial,
  planTrials,
  type Protocol,
  twin,
} from "../../../kernel-lib/src/study";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";

const strict = loadProtocol("strict");
/** A few contexts of each split: binding a study renders them all. */
const few = (split: string): Protocol["contexts"] => strict.contexts.filter((c) => c.split === split).slice(0, 3);
const small = twin(strict, {
  contexts: ["train", "heldOut", "hardNegative"].flatMap(few),
  "evaluation.tiers": strict.evaluation.tiers
    .filter((tier) => ["held_out_random", "hard_negatives", "concepts_102"].includes(tier.name))
    .map((tier) => ({ ...tier, vectorCount: 3, clean: 30, contextsPerCell: 1 })),
});
const newRoot = (): string => mkdtempSync(join(tmpdir(), "runner-"));
const concepts = (): DirectionSet => ({
  names: ["bread", "war", "own"],
  categories: ["topics", "abstract", null],
  directions: [0, 1, 2].map((i) => Float32Array.from({ length: 8 }, (_, c) => (c === i ? 1 : 0))),
  norms: null,
  method: "contrast",
  seed: null,
  layers: [2, 2, 2],
  modelHash: null,
});

type Evaluate = (
  model: StudyModel,
  protocol: Protocol | BoundStudy,
  options: EvaluateOptions,
) => Promise<EvaluationRun<{ id: string }>>;

const EVALUATIONS: Record<EvaluationKind, Evaluate> = {
  detection: (model, protocol, options) => evaluateDetection(model, protocol, { ...options, concepts: concepts() }),
  "side-effects": evaluateSideEffects,
  chats: (model, protocol, options) => evaluateChats(model, protocol, { ...options, adapter: options.adapter! }),
  identity: (model, protocol, options) => evaluateIdentity(model, protocol, { ...options, samples: 7 }),
  "self-prediction": evaluateSelfPrediction,
  "self-report": evaluateSelfReport,
  probe: (model, protocol, options) => evaluateProbe(model, protocol, { ...options, examples: 40 }),
};

describe.each(EVALUATION_KINDS)("%s", (kind) => {
  const evaluate = EVALUATIONS[kind];
  const options = (engine: FakeEngine): EvaluateOptions => ({ adapter: fakeAdapter(engine, [0, 3]), batch: 5 });

  it("gives folder, records, metrics and find; the same call again reads instead of asking", async () => {
    const [engine, root] = [new FakeEngine(), newRoot()];
    const first = await evaluate(fakeModel(engine), small, { ...options(engine), root });
    expect(first.records.length).toBeGreaterThan(20);
    expect(readRecords(first.folder, kind)).toHaveLength(first.records.length);
    expect(first.find({ condition: "tuned" }).length).toBeGreaterThan(0);
    const silent = new FakeEngine();
    const model = fakeModel(silent);
    const study = await bindStudy(model, small);
    silent.generate = async () => expect.fail("asked again");
    const again = await evaluate(model, study, { ...options(silent), root });
    expect(again.folder).toBe(first.folder);
    expect(again.records).toEqual(first.records);
    expect(again.metrics).toEqual(first.metrics);
    const fresh = await evaluate(fakeModel(engine), small, { ...options(engine), root, fresh: true });
    expect(fresh.folder).not.toBe(first.folder);
  });

  it("says the same when packed, in the same bytes each time, without what is heavy", async () => {
    const engine = new FakeEngine();
    const run = await evaluate(fakeModel(engine), small, { ...options(engine), root: newRoot() });
    const root = newRoot();
    const copy = packRun(run.folder, root);
    expect(readRecords(copy, kind)).toEqual(readRecords(run.folder, kind));
    const protocol = loadProtocol(join(copy, "protocol.yaml.gz"));
    expect(summarise(kind, readRecords(copy, kind), protocol).metrics).toEqual(run.metrics);
    const files = ["DONE", "meta.json", "protocol.yaml.gz", "summary.json.gz", `${RECORD_FILES[kind]}.gz`];
    expect(readdirSync(copy).sort()).toEqual(files.sort());
    const bytes = (folder: string): string[] => files.map((name) => readFileSync(join(folder, name), "hex"));
    expect(bytes(packRun(copy, newRoot()))).toEqual(bytes(copy));
    expect(() => packRun(copy, root)).toThrow(/another folder than the run's own/);
    writeFileSync(
      join(copy, `${RECORD_FILES[kind]}.gz`),
      readFileSync(join(copy, `${RECORD_FILES[kind]}.gz`)).subarray(0, 90),
    );
    expect(() => readRecords(copy, kind)).toThrow(/a whole gzip file/);
    rmSync(join(copy, "DONE"));
    expect(() => packRun(copy, newRoot())).toThrow(/a finished run for RUN.*\(open\)/);
  });

  it("stopped anywhere, even in the middle of a line, goes on to the bytes of a whole run", async () => {
    const engine = new FakeEngine();
    const file = (root: string): string => join(root, readdirSync(root)[0], RECORD_FILES[kind]);
    const [whole, part] = [newRoot(), newRoot()];
    await evaluate(fakeModel(engine), small, { ...options(engine), root: whole });
    const stop = new AbortController();
    const stopped = evaluate(fakeModel(engine), small, {
      ...options(engine),
      root: part,
      signal: stop.signal,
      onProgress: (done) => done >= 12 && stop.abort(),
    });
    await expect(stopped).rejects.toThrow(/Stopped after \d+ of \d+ records.*Run the same again/);
    const [run] = readdirSync(part);
    expect(existsSync(join(part, run, "DONE")) || existsSync(join(part, run, "FAILED"))).toBe(false);
    expect(readRecords(join(part, run), kind).length).toBeGreaterThanOrEqual(12);
    appendFileSync(file(part), '{"id": "torn');
    const done: number[] = [];
    await evaluate(fakeModel(engine), small, { ...options(engine), root: part, onProgress: (n) => done.push(n) });
    expect(done[0]).toBeGreaterThanOrEqual(12);
    expect(readFileSync(file(part), "utf8")).toBe(readFileSync(file(whole), "utf8"));
    rmSync(whole, { recursive: true });
  });

  it("goes on only with a run of the same making, and names what differs where a folder was given", async () => {
    const [engine, root] = [new FakeEngine(), newRoot()];
    const first = await evaluate(fakeModel(engine), small, { ...options(engine), root });
    const other = (field: "dtype" | "arithmetic" | "backend", value: string): FakeEngine => {
      const changed = new FakeEngine();
      Object.defineProperty(changed, field, { value });
      return changed;
    };
    const cases: [string, () => [StudyModel, Protocol, EvaluateOptions]][] = [
      ["dtype", () => [fakeModel(other("dtype", "bf16")), small, options(engine)]],
      ["arithmetic", () => [fakeModel(other("arithmetic", "avx2")), small, options(engine)]],
      ["backend", () => [fakeModel(other("backend", "cuda")), small, options(engine)]],
      ["model", () => [{ ...fakeModel(engine), hash: "other" }, small, options(engine)]],
      ["adapter tuned", () => [fakeModel(engine), small, { adapter: fakeAdapter(engine, [0, 4]) }]],
      ["protocol", () => [fakeModel(engine), twin(small, { "training.batch": 4 }), options(engine)]],
      ["seed", () => [fakeModel(engine), twin(small, { "evaluation.seed": 8 }), options(engine)]],
    ];
    for (const [part, make] of cases) {
      const [model, protocol, changed] = make();
      await expect(evaluate(model, protocol, { ...changed, folder: first.folder }), part).rejects.toMatchObject({
        code: "run-mismatch",
        message: expect.stringContaining(`${part} (`),
      });
    }
    const [model, protocol, changed] = cases[0][1]();
    const elsewhere = await evaluate(model, protocol, { ...changed, root });
    expect(elsewhere.folder).not.toBe(first.folder);
    expect(readRecords(first.folder, kind)).toHaveLength(first.records.length);
  });

  it("refuses the folder of another kind of run", async () => {
    const [engine, root] = [new FakeEngine(), newRoot()];
    const otherKind = kind === "identity" ? "self-prediction" : "identity";
    const other = await EVALUATIONS[otherKind](fakeModel(engine), small, { ...options(engine), root });
    await expect(
      evaluate(fakeModel(engine), small, { ...options(engine), folder: other.folder }),
    ).rejects.toMatchObject({ message: expect.stringContaining(`kind (${otherKind}, now ${kind})`) });
  });
});

describe("detection", () => {
  it("keeps the vectors it used, from which the sweep can be repeated", async () => {
    const [engine, root] = [new FakeEngine(), newRoot()];
    const options = { adapter: fakeAdapter(engine, [0, 3]), root };
    const first = await evaluateDetection(fakeModel(engine), small, { ...options, concepts: concepts() });
    const kept = await readDirections(join(first.folder, VECTOR_FILES.concepts));
    expect(kept.categories).toEqual(["topics", "abstract", null]);
    const repeated = await evaluateDetection(fakeModel(engine), loadProtocol(join(first.folder, "protocol.yaml")), {
      ...options,
      concepts: kept,
      fresh: true,
    });
    expect(repeated.folder).not.toBe(first.folder);
    expect(repeated.records).toEqual(first.records);
    const study = await bindStudy(fakeModel(engine), small);
    const random = await readDirections(join(first.folder, VECTOR_FILES.random));
    expect(random.directions[3]).toEqual(study.randomDirection(3).direction);
    expect(random.names[3]).toBe(study.randomDirection(3).id);
  });

  it("other concept vectors are another run", async () => {
    const [engine, root] = [new FakeEngine(), newRoot()];
    const options = { adapter: fakeAdapter(engine, [0, 3]), root };
    const first = await evaluateDetection(fakeModel(engine), small, { ...options, concepts: concepts() });
    const turned = { ...concepts(), directions: concepts().directions.map((v) => v.map((x) => -x)) };
    const second = await evaluateDetection(fakeModel(engine), small, { ...options, concepts: turned });
    expect(second.folder).not.toBe(first.folder);
    await expect(
      evaluateDetection(fakeModel(engine), small, { ...options, concepts: turned, folder: first.folder }),
    ).rejects.toThrow(/concepts \(/);
  });
});

describe("trials in the runner", () => {
  let engine: FakeEngine;
  let study: BoundStudy;
  let plan: PlannedTrial[];
  beforeAll(async () => {
    engine = new FakeEngine();
    study = await bindStudy(fakeModel(engine), strict);
    plan = planTrials(study, { tiers: ["held_out_random", "clean_held_out"] });
  });
  const some = (): PlannedTrial[] => plan.filter((_, i) => i % 97 === 0);
  const ask = (of: BoundStudy, trials: readonly PlannedTrial[], on: FakeEngine, batch = 96) => {
    const adapters = { tuned: fakeAdapter(on, [0, 5]) };
    return runEvaluation(
      of,
      {
        kind: "detection",
        adapters,
        plan: trials,
        batch,
        batches: trialBatches,
        ask: (items, _, signal) => askTrials(of, items, adapters, signal),
        describe: () => [],
      },
      { adapter: adapters.tuned, root: newRoot() },
    );
  };

  it("records the engine's answer, tuned with and base without the adapter", async () => {
    const { records } = await ask(study, some(), engine);
    expect(records.map((r) => r.id)).toEqual(some().map((t) => t.id));
    for (const record of records) {
      expect(record.mass).toBeCloseTo(0.9, 6);
      expect(record.probability).toBeCloseTo(1 / (1 + Math.exp(-record.logOdds)), 12);
      expect(record.adapter).toBe(record.condition === "tuned" ? "fake-adapter" : null);
      expect(record.questionText).toBe(strict.questions.find(({ id }) => id === record.question)?.text);
      if (record.condition === "base") expect(record.saysSteered).toBe(false);
    }
    const strong = records.filter((r) => r.strength === 0.4 && r.condition === "tuned");
    expect(strong.length).toBeGreaterThan(2);
    expect(strong.every((r) => r.saysSteered)).toBe(true);
    expect("plan" in records[0]).toBe(false);
  });

  it("gives the same numbers for any batch size", async () => {
    const [one, many] = [await ask(study, some(), engine, 1), await ask(study, some(), engine, 500)];
    expect(many.records).toEqual(one.records);
  });

  it("shares prefixes and asks equal questions once", async () => {
    const clean = plan.filter((t) => t.tier === "clean_held_out" && t.condition === "tuned").slice(0, 62);
    const both = [...clean, ...clean.map((t) => ({ ...t, id: `${t.id}x`, tier: "again" }))];
    const counting = new FakeEngine();
    const counted = await bindStudy(fakeModel(counting), strict);
    counting.rows = 0;
    await ask(counted, both, counting, 1000);
    expect(counting.rows).toBe(new Set(clean.map((t) => `${t.context} ${t.reply}`)).size + 62);
  });

  it("refuses tuned trials without an adapter", async () => {
    await expect(askTrials(study, some(), {})).rejects.toMatchObject({ code: "no-adapter" });
  });

  it("a run of an older version, which says nothing of itself, is never gone on with", async () => {
    const root = newRoot();
    const options = { adapter: fakeAdapter(engine, [0, 3]), root };
    const first = await evaluateSideEffects(fakeModel(engine), small, options);
    const meta = join(first.folder, "meta.json");
    const { identity, ...old } = JSON.parse(readFileSync(meta, "utf8")) as { identity: RunIdentity };
    expect(identity.kind).toBe("side-effects");
    writeFileSync(meta, JSON.stringify(old));
    expect((await evaluateSideEffects(fakeModel(engine), small, options)).folder).not.toBe(first.folder);
    await expect(
      evaluateSideEffects(fakeModel(engine), small, { ...options, folder: first.folder }),
    ).rejects.toMatchObject({ code: "run-mismatch", message: expect.stringContaining("no identity") });
    expect(readRecords(first.folder, "side-effects")).toEqual(first.records);
  });
});
