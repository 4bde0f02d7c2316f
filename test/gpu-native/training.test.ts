/** Laws of training: the same bytes however the batch is split, threaded, stopped or restored. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeEngine, Trainer, TrainerOptions, TrainerState } from "../../kernel-lib/src/engine";
import {
  absentBuilds,
  countParameters,
  initialParameters,
  TOY,
  TRAINER,
  toyBuilds,
  toyEngine,
  toyExamples,
} from "./toy";

const DROPPING: TrainerOptions = { ...TRAINER, dropout: 0.2 };

function trainerOf(engine: NativeEngine, options: TrainerOptions = DROPPING, seed = 8): Trainer {
  return engine.createTrainer(
    options,
    Float32Array.from(initialParameters(countParameters(engine.config, options), seed)),
  );
}

async function steps(trainer: Trainer, from: number, to: number, microBatch?: number): Promise<TrainerState> {
  for (let s = from; s <= to; s++) await trainer.step(toyExamples(8, TOY, 100 * s), s, 0.01, { microBatch });
  return trainer.state();
}

describe.skip.each(absentBuilds())("training laws on %s", () => {
  it("needs the device", () => undefined);
});

describe.each(toyBuilds())("training laws on $label", ({ backend, isa, dtype }) => {
  let engine: NativeEngine;
  beforeAll(async () => {
    engine = await toyEngine({ backend, isa, dtype });
  });
  afterAll(() => engine.dispose());

  it("micro-batches of 1, 3 and 8 give the same parameters and moments", async () => {
    const whole = await steps(trainerOf(engine), 1, 3, 8);
    expect(await steps(trainerOf(engine), 1, 3, 1)).toEqual(whole);
    expect(await steps(trainerOf(engine), 1, 3, 3)).toEqual(whole);
  });

  it("1 and 2 threads give the same parameters", async () => {
    const two = await toyEngine({ backend, isa, dtype, threads: 2 });
    expect(await steps(trainerOf(two), 1, 2)).toEqual(await steps(trainerOf(engine), 1, 2));
    two.dispose();
  });

  it("a restored state continues with the same bytes", async () => {
    const through = await steps(trainerOf(engine), 1, 4);
    const middle = await steps(trainerOf(engine), 1, 2);
    const resumed = trainerOf(engine, DROPPING, 99);
    await resumed.setState(middle);
    expect(await resumed.state()).toEqual(middle);
    expect(await steps(resumed, 3, 4)).toEqual(through);
  });

  it("the loss falls, and dropout depends on the step", async () => {
    const trainer = trainerOf(engine);
    const examples = toyExamples(8);
    const before = await trainer.evaluate(examples);
    expect(await trainer.evaluate(examples, { microBatch: 3 })).toEqual(before);
    const [first, second] = [await trainer.gradients(examples, 1), await trainer.gradients(examples, 2)];
    expect(first.loss).not.toEqual(second.loss);
    expect((await trainer.gradients(examples, 1)).gradients).toEqual(first.gradients);
    for (let s = 1; s <= 12; s++) await trainer.step(examples, s, 0.02);
    const after = await trainer.evaluate(examples);
    const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length;
    expect(mean(after.loss)).toBeLessThan(mean(before.loss) * 0.8);
  });

  it("reports the whole vocabulary's label logprobs and mass: the same as forward() with the trainer's adapter", async () => {
    const trainer = trainerOf(engine, TRAINER);
    const [example] = toyExamples(2).slice(1);
    const { logprob, logmass, loss } = await trainer.evaluate([example]);
    const adapter = trainer.adapter("now");
    const [, asked] = await engine.forward(
      [
        { tokens: example.context, steering: example.steering, adapter, report: false },
        { tokens: example.question, parent: 0, adapter, wanted: example.labels },
      ],
      { report: "last" },
    );
    expect([...asked.positions[0].logprobs]).toEqual([...logprob].map((x) => expect.closeTo(x, 5)));
    expect(logmass[0]).toBeCloseTo(Math.log(Math.exp(logprob[0]) + Math.exp(logprob[1])), 9);
    expect(loss[0]).toBeCloseTo(-(logprob[example.target] - logmass[0]) - TRAINER.massWeight * logmass[0], 6);
  });

  it("a snapshot adapter does not move with later steps", async () => {
    const trainer = trainerOf(engine, TRAINER);
    const adapter = trainer.adapter("early");
    const row = { tokens: [1, 2, 3], adapter, wanted: [4, 9] };
    const [before] = await engine.forward([row], { report: "last" });
    await steps(trainer, 1, 2);
    const [after] = await engine.forward([row], { report: "last" });
    expect(after.positions).toEqual(before.positions);
    const [later] = await engine.forward([{ ...row, adapter: trainer.adapter("late") }], { report: "last" });
    expect(later.positions).not.toEqual(before.positions);
  });

  it("an aborted step leaves parameters and moments as they were", async () => {
    const trainer = trainerOf(engine);
    const before = await steps(trainer, 1, 1);
    const controller = new AbortController();
    // hundreds of micro-batches: the first report, long before the last, stops it
    const running = trainer.step(toyExamples(1500), 2, 0.1, {
      microBatch: 1,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(running).rejects.toMatchObject({ code: "aborted", name: "AbortedError" });
    expect(await trainer.state()).toEqual(before);
  });
});
