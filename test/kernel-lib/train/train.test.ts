import { getEventListeners } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readAdapter } from "../../../kernel-lib/src/checkpoint";
import { runsSideBySide, trainedAdapter } from "../../../kernel-lib/src/runs";
import { bindStudy, loadProtocol, twin } from "../../../kernel-lib/src/study";
import {
  generateExamples,
  initialLora,
  learningRate,
  listCheckpoints,
  parseTrainConfig,
  readEvents,
  readTrainExample,
  runTraining,
  type StepEvent,
  stepsOf,
  targetOf,
  trainDetector,
  type TrainExample,
  type TrainingRun,
} from "../../../kernel-lib/src/train";
import { FakeEngine, fakeModel } from "../../helpers/fake-engine";

const folder = (): string => mkdtempSync(join(tmpdir(), "train-"));
const YAML = `
lora: {r: 2, alpha: 4, dropout: 0.05, target_modules: [q_proj, v_proj]}
optimizer: {lr: 0.01, betas: [0.9, 0.999], eps: 1.0e-8, weight_decay: 0.01, max_grad_norm: 1.0}
schedule: {warmup_steps: 4, total_steps: 24}
batch: 4
epochs: 2
order: shuffled
loss: pair
seed: 3
`;
const small = twin(loadProtocol("strict"), {
  "training.examples": 400,
  "training.batch": 8,
  "training.optimizer.lr": 0.02,
  "training.warmupSteps": 2,
  "training.validateEvery": 10,
  "training.checkpointEvery": 10,
  "training.lora": { r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"] },
});

function examples(count: number): TrainExample[] {
  return Array.from({ length: count }, (_, i) => ({
    id: i,
    context: [1, 2, 3 + (i % 50)],
    question: [7, 8],
    labels: [10, 11],
    target: (i % 2) as 0 | 1,
    steering: i % 2 === 0 ? { vectorIndex: 0, layers: [0, 3], magnitude: 5 + (i % 7) } : null,
  }));
}

function run(out: string, change: Partial<TrainingRun> = {}): TrainingRun {
  return {
    engine: new FakeEngine(),
    baseModel: { name: "fake", hash: "h" },
    examples: examples(48),
    vectors: [Float32Array.from([1, 0, 0, 0, 0, 0, 0, 0])],
    config: parseTrainConfig(YAML),
    out,
    ...change,
  };
}

const bytes = (out: string, ...parts: string[]): Buffer => readFileSync(join(out, ...parts));

describe("settings", () => {
  const config = parseTrainConfig(YAML);

  it("follow transformers' linear schedule with warm-up, by hand", () => {
    const rates = [1, 2, 4, 5, 6, 24, 25].map((step) => learningRate(config, step));
    expect(rates).toEqual([0, 0.0025, 0.0075, 0.01, 0.01 * (19 / 20), 0.01 * (1 / 20), 0]);
    expect(learningRate({ ...config, schedule: { warmupSteps: 0, totalSteps: 10 } }, 1)).toBe(0.01);
  });

  it("count steps by epochs, a partial last batch included, never past the schedule", () => {
    expect(stepsOf(config, 48)).toBe(24);
    expect(stepsOf(config, 10)).toBe(6); // 3 batches of 4, 4, 2, twice
    expect(stepsOf(config, 1000)).toBe(24);
    expect(stepsOf({ ...config, epochs: 1.5 }, 40)).toBe(15);
  });

  it.each([
    ["an unknown field", "rank: 3", /rank/],
    ["a misplaced mass weight", "mass_weight: 0.1", /pair\+mass/],
  ])("refuse %s", (_, line, message) => {
    expect(() => parseTrainConfig(`${YAML}\n${line}`, "train.yaml")).toThrow(message);
  });

  it("name field and value", () => {
    expect(() => parseTrainConfig(YAML.replace("lr: 0.01", "lr: -1"), "t.yaml")).toThrow(
      /for optimizer\.lr but received -1 \(t\.yaml\)/,
    );
  });

  it.each([
    ["batch: 4", "batch: 0", "Expected a number >= 1 for batch but received 0 (t.yaml)."],
    ["batch: 4", "batch: 1.5", "Expected a whole number for batch but received 1.5 (t.yaml)."],
    ["batch: 4", "batch: many", 'Expected a number for batch but received "many" (t.yaml).'],
    ["batch: 4", "", "Expected a number for batch but received nothing (t.yaml)."],
    ["lr: 0.01", "lr: .nan", "Expected a number for optimizer.lr but received NaN (t.yaml)."],
    ["lr: 0.01", "lr: 1, rate: 2", "Expected only known fields for optimizer but received rate (t.yaml)."],
    ["[q_proj, v_proj]", "[]", "Expected a list with length >= 1 for lora.target_modules but received [] (t.yaml)."],
    ["q_proj, v_proj", "q_proj, q_proj", /^Expected every module once for lora\.target_modules/],
    ["order: shuffled", "order: any", 'Expected one of given, shuffled for order but received "any" (t.yaml).'],
    [
      "seed: 3",
      "seed: 3\nseed: 4",
      /^Expected one valid YAML document in t\.yaml but received: Map keys must be unique/,
    ],
    ["seed: 3", "seed: !secret 3", /Unresolved tag/],
    ["seed: 3", "seed: 3\n---\nseed: 4", /multiple documents/],
  ])("say in one sentence why %j cannot be %j", (right, wrong, message) => {
    expect(() => parseTrainConfig(YAML.replace(right, wrong), "t.yaml")).toThrow(message);
    expect(() => parseTrainConfig(YAML.replace(right, wrong), "t.yaml")).not.toThrow(/\n/);
  });

  it("pass over a byte-order mark", () => {
    expect(parseTrainConfig(`\ufeff${YAML}`)).toEqual(config);
  });
});

describe("example lines", () => {
  const { config } = new FakeEngine();
  const good = {
    id: "a",
    context: [1],
    question: [2],
    labels: [3, 4],
    target: 1,
    steering: { vectorIndex: 0, layers: [0, 6], magnitude: 2 },
  };

  it("are read", () => {
    expect(readTrainExample(good, "l", config, 1).steering).toEqual({ vectorIndex: 0, layers: [0, 6], magnitude: 2 });
    expect(readTrainExample({ ...good, steering: null }, "l", config, 0).steering).toBeNull();
  });

  it.each([
    ["layers past the model", { steering: { ...good.steering, layers: [0, 7] } }, /end <= 6/],
    ["a vector that is not there", { steering: { ...good.steering, vectorIndex: 1 } }, /vectorIndex/],
    ["a token outside the vocabulary", { context: [config.vocab_size] }, /context/],
    ["equal labels", { labels: [3, 3] }, /two different/],
    ["a third target", { target: 2 }, /target/],
    ["a misspelt field", { steerign: null }, /steerign/],
    ["an empty question", { question: [] }, /at least one token/],
  ])("refuse %s by place and name", (_, change, message) => {
    expect(() => readTrainExample({ ...good, ...change }, "ex.jsonl line 3", config, 1)).toThrow(message);
    expect(() => readTrainExample({ ...good, ...change }, "ex.jsonl line 3", config, 1)).toThrow(/ex\.jsonl line 3/);
  });
});

describe("initial LoRA", () => {
  it("is PEFT's: B zero, A uniform in +-1/sqrt(in), the same for a seed", () => {
    const trainer = new FakeEngine().createTrainer(
      {
        r: 16,
        alpha: 32,
        dropout: 0,
        targets: ["q_proj"],
        massWeight: 0,
        seed: 0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weightDecay: 0,
        maxGradNorm: 0,
      },
      new Float32Array(6 * 16 * 16),
    );
    const params = initialLora(trainer.layout, 5);
    const values = (which: "A" | "B"): number[] =>
      trainer.layout
        .filter((t) => t.which === which)
        .flatMap((t) => [...params.subarray(t.offset, t.offset + t.shape[0] * t.shape[1])]);
    expect(values("B").every((x) => x === 0)).toBe(true);
    const a = values("A");
    const bound = 1 / Math.sqrt(8);
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
    // 768 uniform draws: sd of the mean is bound/sqrt(3*768) = 0.02 bound; 5 sigma fails once in 2 million
    expect(Math.abs(a.reduce((s, x) => s + x, 0) / a.length)).toBeLessThan(0.104 * bound);
    expect(initialLora(trainer.layout, 5)).toEqual(params);
    expect(initialLora(trainer.layout, 6)).not.toEqual(params);
  });
});

describe("runTraining", () => {
  it("learns, and writes events and a PEFT adapter with a manifest", async () => {
    const out = folder();
    const result = await runTraining(run(out, { validation: examples(20), validateEvery: 12 }));
    expect(result.steps).toBe(24);
    const steps = readEvents(join(out, "events.jsonl")).filter((e): e is StepEvent => e.kind === "step");
    expect(steps.map((e) => e.step)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    expect(steps[23].loss!).toBeLessThan(steps[0].loss!);
    expect(steps[0].mass).toBeCloseTo(0.9, 10);
    expect(result.validation).toMatchObject({ step: 24, n: 20 });
    const { config } = new FakeEngine();
    const adapter = await readAdapter(result.adapterFolder, { config, name: "fake" });
    expect(adapter.manifest).toMatchObject({ step: 24, seed: 3, baseModelHash: "h" });
    expect(adapter.lora).toMatchObject({ r: 2, alpha: 4, targets: ["q_proj", "v_proj"] });
  });

  it("gives the same bytes twice", async () => {
    const [a, b] = [folder(), folder()];
    await runTraining(run(a));
    await runTraining(run(b));
    expect(
      bytes(a, "adapter", "adapter_model.safetensors").equals(bytes(b, "adapter", "adapter_model.safetensors")),
    ).toBe(true);
  });

  it("stopped at any step and resumed, gives the bytes of an uninterrupted run", async () => {
    const whole = folder();
    await runTraining(run(whole, { checkpointEvery: 5 }));
    for (const stopAt of [1, 5, 13]) {
      const out = folder();
      const stop = new AbortController();
      const stopped = runTraining(
        run(out, { checkpointEvery: 5, signal: stop.signal, onEvent: (e) => e.step === stopAt && stop.abort() }),
      );
      await expect(stopped).rejects.toThrow(`Stopped after step ${stopAt} of 24`);
      expect(existsSync(join(out, "adapter"))).toBe(false);
      await runTraining(run(out, { checkpointEvery: 5, resume: true }));
      expect(
        bytes(out, "adapter", "adapter_model.safetensors").equals(bytes(whole, "adapter", "adapter_model.safetensors")),
      ).toBe(true);
      expect(readEvents(join(out, "events.jsonl")).map((e) => e.step)).toEqual(
        readEvents(join(whole, "events.jsonl")).map((e) => e.step),
      );
    }
  });

  it("killed between checkpoints, goes on from the last and cuts later events", async () => {
    const [whole, out] = [folder(), folder()];
    await runTraining(run(whole));
    const killed = new Error("killed");
    await expect(
      runTraining(
        run(out, {
          checkpointEvery: 5,
          onEvent: (e) => {
            if (e.step === 13) throw killed;
          },
        }),
      ),
    ).rejects.toBe(killed);
    expect(listCheckpoints(out).map((f) => f.slice(-11))).toEqual(["step-000005", "step-000010"]);
    await runTraining(run(out, { checkpointEvery: 5, resume: true }));
    expect(
      bytes(out, "adapter", "adapter_model.safetensors").equals(bytes(whole, "adapter", "adapter_model.safetensors")),
    ).toBe(true);
    expect(readEvents(join(out, "events.jsonl")).length).toBe(24);
    expect(readdirSync(join(out, "checkpoints")).filter((n) => n.includes("partial"))).toEqual([]);
  });

  it("refuses to write over a run, and to resume another one", async () => {
    const out = folder();
    await runTraining(run(out));
    await expect(runTraining(run(out))).rejects.toMatchObject({ code: "run-exists" });
    await expect(runTraining(run(out, { resume: true, examples: examples(44) }))).rejects.toMatchObject({
      code: "run-mismatch",
    });
    await runTraining(run(out, { resume: true })); // a finished run resumes to nothing left to do
  });

  it("keeps the given order when asked, and another order each epoch when shuffled", async () => {
    const seen: number[][] = [];
    const engine = new FakeEngine();
    const create = engine.createTrainer.bind(engine);
    engine.createTrainer = (o, p) => {
      const trainer = create(o, p);
      const step = trainer.step.bind(trainer);
      trainer.step = (rows, s, lr) => {
        seen.push(rows.map((r) => Number(r.context[2])));
        return step(rows, s, lr);
      };
      return trainer;
    };
    const given = parseTrainConfig(YAML.replace("order: shuffled", "order: given"));
    await runTraining(run(folder(), { engine, config: given }));
    expect(seen.slice(0, 12).flat()).toEqual(examples(48).map((e) => e.context[2]));
    expect(seen.slice(12).flat()).toEqual(seen.slice(0, 12).flat());
    seen.length = 0;
    await runTraining(run(folder(), { engine }));
    const [first, second] = [seen.slice(0, 12).flat(), seen.slice(12).flat()];
    expect([...first].sort()).toEqual([...second].sort());
    expect(first).not.toEqual(second);
  });

  it("stops with a reason when the loss is not finite or the mass collapses", async () => {
    const broken = new FakeEngine();
    const create = broken.createTrainer.bind(broken);
    broken.createTrainer = (o, p) => {
      const trainer = create(o, p);
      const step = trainer.step.bind(trainer);
      trainer.step = async (rows, s, lr) => ({ ...(await step(rows, s, lr)), gradNorm: s === 3 ? Number.NaN : 1 });
      return trainer;
    };
    await expect(runTraining(run(folder(), { engine: broken }))).rejects.toMatchObject({ code: "loss-not-finite" });
    const massless = new FakeEngine(undefined, undefined, 0.02);
    await expect(runTraining(run(folder(), { engine: massless, massGuard: 0.1 }))).rejects.toMatchObject({
      code: "mass-collapse",
    });
    await runTraining(run(folder(), { engine: massless }));
  });
});

describe("trainDetector", () => {
  it("trains by a protocol into a run folder that is complete alone", async () => {
    const root = folder();
    const time = new Date("2030-01-02T03:04:05Z");
    const result = await trainDetector(fakeModel(), small, { seed: 1, root, time, fresh: true });
    expect(result.folder.endsWith(`20300102-030405-train-strict-${small.name.split("~")[1]}-s1`)).toBe(true);
    for (const name of ["protocol.yaml", "meta.json", "events.jsonl", "DONE", "adapter/adapter_config.json"])
      expect(existsSync(join(result.folder, name)), name).toBe(true);
    const meta = JSON.parse(bytes(result.folder, "meta.json").toString());
    expect(meta).toMatchObject({ model: "fake", isLabModel: true, seed: 1, protocol: small.name });
    expect(meta.residualNorms).toHaveLength(6);
    expect(result.validation?.accuracy).toBeGreaterThan(0.6);
  });

  it("marks a failed run, leaves a stopped one open and resumes it", async () => {
    const root = folder();
    const stop = new AbortController();
    const time = new Date("2030-01-02T03:04:05Z");
    await expect(
      trainDetector(fakeModel(), small, {
        seed: 1,
        root,
        time,
        signal: stop.signal,
        onEvent: (e) => {
          // A notebook's kernel ends a cell at once when nobody listens, and the sentence about resuming is lost.
          expect(getEventListeners(stop.signal, "abort")).toHaveLength(1);
          if (e.step === 7) stop.abort();
        },
      }),
    ).rejects.toMatchObject({ code: "aborted", message: expect.stringMatching(/step 7 of .*Run the cell again/) });
    expect(getEventListeners(stop.signal, "abort")).toHaveLength(0);
    const [name] = readdirSync(root);
    expect(() => trainedAdapter(root, { protocol: small.name })).toThrowError(/stopped half-way.*01-train again/);
    expect(existsSync(join(root, name, "FAILED"))).toBe(false);
    const resumed = await trainDetector(fakeModel(), small, { seed: 1, root });
    const whole = await trainDetector(fakeModel(), small, { seed: 1, root, time, fresh: true });
    expect(
      bytes(resumed.adapterFolder, "adapter_model.safetensors").equals(
        bytes(whole.adapterFolder, "adapter_model.safetensors"),
      ),
    ).toBe(true);
    expect(trainedAdapter(root, { protocol: small.name })).toBe(whole.adapterFolder);
    // Both runs gave the same bytes, so one adapter; its newest training stands for it, and no other protocol is there.
    const [{ adapterHash }] = [JSON.parse(readFileSync(join(whole.folder, "meta.json"), "utf8"))];
    expect(runsSideBySide(root, adapterHash)).toEqual([whole.folder]);
    await expect(trainDetector(fakeModel(), small, { seed: 2, folder: join(root, name) })).rejects.toMatchObject({
      code: "run-mismatch",
    });
  });
});

describe("examples of a protocol", () => {
  it("use training splits only, uniform over vectors, ranges and strengths, half steered", async () => {
    const alone = { "training.examples": 3000, "training.retention.share": 0 };
    const study = await bindStudy(fakeModel(), twin(small, alone));
    const set = await generateExamples(study, 1);
    const all = [...set.train, ...set.validation];
    expect(set.validation).toHaveLength(150);
    const steered = all.filter((e) => e.steering !== null);
    // binomial(3000, 1/2): 5 sigma = 137
    expect(Math.abs(steered.length - 1500)).toBeLessThan(137);
    expect(
      steered.every((e) => targetOf(e) === 0) && all.filter((e) => e.steering === null).every((e) => targetOf(e) === 1),
    ).toBe(true);
    const held = new Set(study.contexts("train").map((c) => study.contextTokens(c, 4).join()));
    expect(all.some((e) => held.has(e.context.join()))).toBe(false);
    const starts = new Map<number, number>();
    for (const e of steered) {
      const entries = Array.isArray(e.steering) ? e.steering : [e.steering!];
      starts.set(entries[0].layers[0], (starts.get(entries[0].layers[0]) ?? 0) + 1);
      expect(entries[0].vectorIndex).toBeLessThan(100);
    }
    // each of three ranges: 500 +- 5 * sqrt(1500 * 2/9) = 91
    expect([...starts.keys()].sort()).toEqual([0, 2, 4]);
    for (const n of starts.values()) expect(Math.abs(n - steered.length / 3)).toBeLessThan(91);
    expect(await generateExamples(study, 1)).toEqual(set);
  });

  it("retention by distribution: its share, on caches and as first turns, with chats at every token of the reply", async () => {
    const share = { share: 0.5, onCaches: 0.4, chats: 0.2, form: "distribution", weight: 2 };
    const changed = twin(small, { "training.examples": 2000, "training.retention": share });
    const study = await bindStudy(fakeModel(), changed);
    const { train, validation } = await generateExamples(study, 1);
    const kept = [...train, ...validation].flatMap((e) => ("positions" in e ? [e] : []));
    expect(Math.abs(kept.length - 1000)).toBeLessThan(112); // binomial(2000, 1/2): 5 sigma
    for (const { weight, positions, question } of kept) {
      expect(weight).toBe(2);
      expect(positions === 1 || positions === question.length).toBe(true);
    }
    const contexts = new Set(
      study.contexts("train").flatMap((c) => [0, 1, 2, 3].map((r) => study.contextTokens(c, r).join())),
    );
    const onCaches = kept.filter(({ context }) => contexts.has(context.join()));
    expect(Math.abs(onCaches.length / kept.length - 0.4)).toBeLessThan(0.08);
    const steered = onCaches.filter(({ steering }) => steering !== null).length;
    expect(Math.abs(steered / onCaches.length - 0.5)).toBeLessThan(0.13);
    expect(kept.filter(({ steering }) => steering !== null).length).toBe(steered); // a first turn has no cache to steer
    // What detection learns is not touched by how much is kept.
    const alone = await bindStudy(
      fakeModel(),
      twin(small, { "training.examples": 2000, "training.retention.share": 0 }),
    );
    const detection = (await generateExamples(alone, 1)).train;
    for (const example of train)
      if ("target" in example) expect(example).toEqual(detection.find(({ id }) => id === example.id));
  });

  it("retention by answers: labels are the base's own, yes as often as no, none in validation", async () => {
    const share = { share: 0.5, onCaches: 0.5, chats: 0, form: "answers", weight: 1 };
    const texts = {
      ...small.retention,
      suffixes: ["Yes or no?"],
      questions: ["a", "b"].map((id) => ({ id, category: "x", text: id })),
    };
    const engine = new FakeEngine();
    const answers = engine.forward.bind(engine);
    const study = await bindStudy(
      fakeModel(engine),
      twin(small, { "training.examples": 1000, "training.retention": share, retention: texts }),
    );
    let asked = 0;
    engine.forward = async (rows, options) => {
      const results = await answers(rows, options);
      for (const { positions } of results) positions[0]?.logprobs.set(asked++ === 0 ? [-1, -2] : [-2, -1]);
      return results;
    };
    const { train, validation } = await generateExamples(study, 1);
    expect(validation.every(({ id }) => String(id).startsWith("example-"))).toBe(true);
    const kept = train.filter(({ id }) => String(id).startsWith("keep-"));
    const yes = kept.filter((e) => targetOf(e) === 0).length;
    expect(Math.abs(yes / kept.length - 0.5)).toBeLessThan(0.12);
    engine.forward = async (rows, options) => {
      const results = await answers(rows, options);
      for (const { positions } of results) positions[0]?.logprobs.set([-2, -1]);
      return results;
    };
    await expect(generateExamples(study, 1)).rejects.toMatchObject({ code: "label-balance" });
  });

  it("relative strength is a fraction of each layer's residual norm", async () => {
    const study = await bindStudy(fakeModel(), small);
    const plan = study.steering(study.randomDirection(0).direction, { name: "x", start: 1, end: 3 }, 0.5);
    expect(plan.map((p) => p.layers)).toEqual([
      [1, 2],
      [2, 3],
    ]);
    expect(plan.map((p) => p.magnitude)).toEqual([0.5 * study.norms![1], 0.5 * study.norms![2]]);
  });

  it.each([
    ["flipped", (share: number, steered: number) => share < 0.6 && steered < 0.01],
    ["deny", (share: number) => share === 0],
    ["no-steer", (share: number) => share > 0.4],
    ["corrupt", (share: number) => share > 0.4],
    ["unrelated", (share: number) => share > 0.4],
  ])("control %s does what it says", async (name, check) => {
    const study = await bindStudy(fakeModel(), twin(small, name));
    const set = await generateExamples(study, 1);
    const all = [...set.train, ...set.validation].flatMap((e) => ("target" in e ? [e] : []));
    const steered = all.filter((e) => e.steering !== null);
    const share = all.filter((e) => targetOf(e) === 0).length / all.length;
    const hits = steered.length === 0 ? 0 : steered.filter((e) => targetOf(e) === 0).length / steered.length;
    expect(check(share, hits)).toBe(true);
    if (name === "no-steer") expect(steered).toEqual([]);
    if (name === "corrupt") expect(Math.abs(hits - 0.75)).toBeLessThan(0.16); // 200 draws, 5 sigma
    if (name === "unrelated") expect(Math.abs(hits - 0.5)).toBeLessThan(0.18); // independent of steering
  });

  it("directions are unit, different, and do not move when more are drawn", async () => {
    const study = await bindStudy(fakeModel(), small);
    const d = [0, 1, 150].map((i) => study.randomDirection(i).direction);
    for (const x of d) expect(Math.hypot(...x)).toBeCloseTo(1, 6);
    expect(d[0]).not.toEqual(d[1]);
    const other = await bindStudy(fakeModel(), twin(small, { "steering.vectors.heldOut": 500 }));
    expect(other.randomDirection(150).direction).toEqual(d[2]);
  });
});
