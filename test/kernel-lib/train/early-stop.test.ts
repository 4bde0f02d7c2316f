// Stopping early: when, whose weights are kept, and that a run that was killed or stopped ends at the same step with the same bytes.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadProtocol, twin } from "../../../kernel-lib/src/study";
import {
  choiceText,
  listCheckpoints,
  parseTrainConfig,
  readEvents,
  runTraining,
  type TrainExample,
  type TrainingRun,
  trainConfigOf,
} from "../../../kernel-lib/src/train";
import { FakeEngine } from "../../helpers/fake-engine";

const rule = { metric: "validationAccuracy", patience: 2, minimumSteps: 6 } as const;
const config = {
  ...parseTrainConfig(`
lora: {r: 2, alpha: 4, target_modules: [q_proj]}
optimizer: {lr: 0.05}
schedule: {warmup_steps: 2, total_steps: 40}
batch: 4
epochs: 4
seed: 3
`),
  earlyStop: rule,
};
const examples = (count: number): TrainExample[] =>
  Array.from({ length: count }, (_, i) => ({
    id: i,
    context: [1, 2, 3 + (i % 50)],
    question: [7, 8],
    labels: [10, 11],
    target: (i % 2) as 0 | 1,
    steering: i % 2 === 0 ? { vectorIndex: 0, layers: [0, 3], magnitude: 5 + (i % 7) } : null,
  }));
const run = (out: string, change: Partial<TrainingRun> = {}): TrainingRun => ({
  engine: new FakeEngine(),
  baseModel: { name: "fake", hash: "h" },
  examples: examples(48),
  validation: examples(20),
  validateEvery: 2,
  checkpointEvery: 5,
  vectors: [Float32Array.from([1, 0, 0, 0, 0, 0, 0, 0])],
  config,
  out,
  ...change,
});
const folder = (): string => mkdtempSync(join(tmpdir(), "early-"));
/** What a run leaves, apart from how fast it was. */
const left = (out: string) => ({
  weights: readFileSync(join(out, "adapter", "adapter_model.safetensors")).toString("base64"),
  manifest: readFileSync(join(out, "adapter", "steerlab.json"), "utf8"),
  events: readEvents(join(out, "events.jsonl")).map((event) => ({ ...event, examplesPerSecond: null })),
});

describe("a run that may stop early", () => {
  it("ends after so many validations that are no better, with the weights of the best one", async () => {
    const out = folder();
    const { steps, choice, events } = await runTraining(run(out));
    const accuracies = events.flatMap((event) => (event.kind === "validation" ? [[event.step, event.accuracy!]] : []));
    const best = Math.max(...accuracies.map(([, accuracy]) => accuracy));
    const [first] = accuracies.find(([, accuracy]) => accuracy === best)!;
    expect(steps).toBe(Math.max(first + 2 * rule.patience, rule.minimumSteps));
    expect(steps).toBeLessThan(40);
    expect(choice).toEqual({
      metric: "validationAccuracy",
      step: first,
      value: best,
      stoppedStep: steps,
      plannedSteps: 40,
    });
    const manifest = JSON.parse(left(out).manifest);
    expect(manifest).toMatchObject({
      step: first,
      metrics: { validationStep: first, stoppedStep: steps, plannedSteps: 40 },
    });
    const kept = listCheckpoints(out).find((name) => name.endsWith(String(first).padStart(6, "0")))!;
    expect(readFileSync(join(kept, "adapter_model.safetensors")).toString("base64")).toBe(left(out).weights);
    const last = await runTraining(run(folder(), { config: { ...config, earlyStop: undefined } }));
    expect(last).toMatchObject({ steps: 40, choice: null });
  });

  it("stopped anywhere, or killed and left with an older checkpoint, ends at the same step with the same bytes", async () => {
    const whole = folder();
    const { steps } = await runTraining(run(whole));
    for (let at = 1; at < steps; at++) {
      const out = folder();
      const stop = new AbortController();
      const onEvent: TrainingRun["onEvent"] = ({ step }) => void (step === at && stop.abort());
      await expect(runTraining(run(out, { signal: stop.signal, onEvent }))).rejects.toMatchObject({ code: "aborted" });
      if (at % 3 === 0) rmSync(listCheckpoints(out).pop()!, { recursive: true }); // killed before it was written
      const resumed = await runTraining(run(out, { resume: true }));
      expect(resumed.steps, `stopped at ${at}`).toBe(steps);
      expect(left(out), `stopped at ${at}`).toEqual(left(whole));
    }
    // Killed after the last checkpoint, before the adapter: it takes no further step.
    const before = left(whole);
    rmSync(join(whole, "adapter"), { recursive: true });
    expect((await runTraining(run(whole, { resume: true }))).steps).toBe(steps);
    expect(left(whole)).toEqual(before);
  });

  it("is not before the smallest number of steps, and is another run than one without a rule", async () => {
    const late = { ...config, earlyStop: { ...rule, minimumSteps: 31 } };
    const out = folder();
    expect((await runTraining(run(out, { config: late }))).steps).toBe(32);
    await expect(runTraining(run(out, { resume: true }))).rejects.toMatchObject({ code: "run-mismatch" });
  });
});

describe("the words for a choice", () => {
  const choice = { metric: "validationAccuracy", step: 160, value: 0.95, stoppedStep: 220, plannedSteps: 400 } as const;

  it("name the rule, the step of the end, the step that was kept and why", () => {
    const end = "(rule: 2 validations without a better validation accuracy, from step 6 on).";
    const kept = "The adapter has the weights of step 160, the first with the";
    expect(choiceText(choice, rule)).toBe(
      `Stopped early at step 220 of 400 ${end} ${kept} highest validation accuracy (0.950).`,
    );
    expect(choiceText({ ...choice, stoppedStep: 400 }, rule)).toMatch(/^Not stopped early: all 400 steps were taken/);
    const loss = { ...rule, metric: "validationLoss", patience: 1 } as const;
    expect(choiceText({ ...choice, metric: "validationLoss" }, loss)).toContain("1 validation without a better");
    expect(choiceText({ ...choice, metric: "validationLoss" }, loss)).toContain(`${kept} least validation loss`);
  });
});

describe("the rule in a protocol", () => {
  const strict = loadProtocol("strict");

  it("is off by default, and then no part of what a run is", () => {
    expect(strict.training.earlyStop).toBeNull();
    expect("earlyStop" in trainConfigOf(strict, 100, 1)).toBe(false);
    expect(trainConfigOf(twin(strict, { "training.earlyStop": rule }), 100, 1).earlyStop).toEqual(rule);
  });

  it("needs validations", () => {
    const field = expect.objectContaining({ code: "protocol-field" });
    expect(() => twin(strict, { "training.earlyStop": rule, "training.validateEvery": 0 })).toThrow(field);
    expect(() => twin(strict, { "training.earlyStop": { ...rule, patience: 0 } })).toThrow(field);
  });
});
