/**
 * Laws of the match loss, KL(base || adapter): zero where the adapter does nothing, what forward() says elsewhere, and the same bytes
 * whatever stands beside an example. Its gradient is held against differences in gradients.test.ts, against torch in test/parity.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeEngine, Trainer, TrainingExample } from "../../kernel-lib/src/engine";
import {
  absentBuilds,
  allLogprobs,
  countParameters,
  initialParameters,
  matchOf,
  mixedExamples,
  TOY,
  TRAINER,
  toyBuilds,
  toyEngine,
  toyExamples,
} from "./toy";

describe.skip.each(absentBuilds())("match loss on %s", () => {
  it("needs the device", () => undefined);
});

describe.each(toyBuilds(["f32", "bf16"]))("match loss on $label", ({ backend, isa, dtype }) => {
  let engine: NativeEngine;
  beforeAll(async () => {
    engine = await toyEngine({ backend, isa, dtype });
  });
  afterAll(() => engine.dispose());

  function trainerOf(edit: (value: number, which: "A" | "B") => number = (x) => x, dropout = 0.2): Trainer {
    const options = { ...TRAINER, dropout };
    const params = Float32Array.from(initialParameters(countParameters(TOY, options), 8));
    const blank = engine.createTrainer(options, params);
    const { layout } = blank;
    blank.dispose();
    for (const { offset, shape, which } of layout)
      for (let i = offset; i < offset + shape[0] * shape[1]; i++) params[i] = edit(params[i], which);
    return engine.createTrainer(options, params);
  }
  const steps = async (trainer: Trainer, from: number, to: number, microBatch?: number): Promise<unknown> => {
    for (let s = from; s <= to; s++) await trainer.step(mixedExamples(8, TOY, 100 * s), s, 0.01, { microBatch });
    return trainer.state();
  };

  it("B = 0: the divergence is exactly 0, dropout or not, and so is the gradient", async () => {
    const trainer = trainerOf((x, which) => (which === "B" ? 0 : x));
    const { loss, gradients, logprob, logmass } = await trainer.gradients(
      toyExamples(5).map((e) => matchOf(e)),
      3,
    );
    expect([...loss]).toEqual([0, 0, 0, 0, 0]);
    expect(gradients.every((g) => g === 0)).toBe(true);
    expect([...logprob, ...logmass].every(Number.isNaN)).toBe(true);
  });

  it("is the divergence of forward()'s distributions, mean over the last positions", async () => {
    const trainer = trainerOf();
    const examples = toyExamples(4).map((e, i) => matchOf(e, Math.min(e.question.length, 1 + i)));
    const { loss } = await trainer.evaluate(examples);
    expect(await trainer.evaluate(examples, { microBatch: 3 })).toEqual(await trainer.evaluate(examples));
    for (const [i, { context, question, steering, positions }] of examples.entries()) {
      const rows = [trainer.adapter("now"), null].flatMap((adapter, which) => [
        { tokens: context, steering, adapter, report: false },
        { tokens: question, parent: 2 * which, adapter },
      ]);
      const [, mine, , base] = allLogprobs(await engine.forward(rows, { report: "all", fullVocabulary: true }));
      let sum = 0;
      for (let t = question.length - positions; t < question.length; t++)
        for (let v = 0; v < TOY.vocab_size; v++) sum += Math.exp(base[t][v]) * (base[t][v] - mine[t][v]);
      expect(loss[i]).toBeGreaterThan(0);
      expect(loss[i]).toBeCloseTo(sum / positions, 5);
    }
  });

  it("an example's loss does not depend on the kinds, order or number of the others", async () => {
    const trainer = trainerOf();
    const examples = mixedExamples(7);
    const { loss } = await trainer.evaluate(examples);
    const backwards = await trainer.evaluate([...examples].reverse());
    expect([...backwards.loss].reverse()).toEqual([...loss]);
    for (const [i, example] of examples.entries()) expect((await trainer.evaluate([example])).loss[0]).toBe(loss[i]);
  });

  it("micro-batches of 1, 3 and 8 give the same parameters and moments; a restored state continues with the same bytes", async () => {
    const whole = await steps(trainerOf(), 1, 4, 8);
    expect(await steps(trainerOf(), 1, 4, 1)).toEqual(whole);
    expect(await steps(trainerOf(), 1, 4, 3)).toEqual(whole);
    const first = trainerOf();
    await steps(first, 1, 2);
    const second = trainerOf((x) => x / 2);
    await second.setState(await first.state());
    expect(await steps(second, 3, 4)).toEqual(whole);
  });

  it("weights scale what an example contributes, not what it reports", async () => {
    const trainer = trainerOf();
    const gradientOf = async (weight: number): Promise<{ loss: number[]; gradients: number[] }> => {
      const examples: TrainingExample[] = mixedExamples(2).map((e) => ({ ...e, weight }));
      const { loss, gradients } = await trainer.gradients(examples, 1);
      return { loss: [...loss], gradients: [...gradients] };
    };
    const [none, one, two] = [await gradientOf(0), await gradientOf(1), await gradientOf(2)];
    expect(two.loss).toEqual(one.loss);
    expect(none.gradients.every((g) => g === 0)).toBe(true);
    expect(two.gradients).toEqual(one.gradients.map((g) => 2 * g));
  });

  it("pulls the adapter back to the base", async () => {
    const trainer = trainerOf(undefined, 0);
    const examples = toyExamples(8).map((e) => matchOf(e));
    const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length;
    const before = mean((await trainer.evaluate(examples)).loss);
    for (let s = 1; s <= 12; s++) await trainer.step(examples, s, 0.02);
    expect(mean((await trainer.evaluate(examples)).loss)).toBeLessThan(before * 0.7);
  });

  it("positions beyond the question and negative weights are refused by name", async () => {
    const trainer = trainerOf();
    const [example] = toyExamples(1);
    const length = example.question.length;
    for (const positions of [0, length + 1, 1.5])
      await expect(trainer.evaluate([matchOf(example, positions)])).rejects.toThrow(
        `Expected an integer in [1, ${length}] (tokens of the question) for positions of example 0 but received ${positions}.`,
      );
    await expect(trainer.evaluate([{ ...example, weight: -1 }])).rejects.toMatchObject({ code: "weight" });
  });
});
