/**
 * The gradient of every A and B entry against central differences, in f64, on a two-layer model with grouped queries.
 *
 * What is differentiated: the question's loss, the context's keys and values being constants. So the differences are taken
 * with a cache that was prefilled by the UNCHANGED parameters and a question asked with the changed ones. A second test shows
 * that this matters: with the context recomputed by the changed parameters the differences are not the gradient.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ModelConfig } from "../../kernel-lib/src/checkpoint";
import type {
  Adapter,
  BatchResult,
  Cache,
  Example,
  NativeEngine,
  NativeTrainer,
  Trainer,
  TrainerOptions,
  TrainingExample,
} from "../../kernel-lib/src/engine";
import { countParameters, initialParameters, matchOf, mixedExamples, TRAINER, toyEngine, toyExamples } from "./toy";

const CONFIG: Partial<ModelConfig> = { num_hidden_layers: 2, vocab_size: 37, intermediate_size: 40 };
/** Central differences at this step are good to about 1e-9 here: truncation step^2, rounding 1e-16 / step. */
const STEP = 1e-5;
const TOLERANCE = 1e-6;

describe("f64 gradient check", () => {
  let engine: NativeEngine;
  let config: ModelConfig;
  beforeAll(async () => {
    engine = await toyEngine({ dtype: "f64", config: CONFIG });
    config = engine.config;
  });
  afterAll(() => engine.dispose());

  function start(options: TrainerOptions): { trainer: Trainer; params: Float64Array } {
    const params = initialParameters(countParameters(config, options), 31);
    return { trainer: engine.createTrainer(options, params), params };
  }

  /** Loss of each example with the context by `frozen` and the question by `moved`, from label logprobs. */
  async function losses(
    examples: Example[],
    contexts: (Cache | null)[],
    adapter: Adapter,
    massWeight: number,
  ): Promise<number[]> {
    const rows = examples.map((e, i) => ({ tokens: e.question, cache: contexts[i], adapter, wanted: e.labels }));
    const results = await engine.forward(rows, { report: "last", shareLayers: false });
    return results.map(({ positions: [{ logprobs }] }, i) => {
      const mass = Math.log(Math.exp(logprobs[0]) + Math.exp(logprobs[1]));
      return mass - logprobs[examples[i].target] - massWeight * mass;
    });
  }

  /** A cache for each example, null for a bare question. */
  async function prefill(examples: Example[], adapter: Adapter): Promise<(Cache | null)[]> {
    const rows = examples
      .filter((e) => e.context.length > 0)
      .map((e) => ({ tokens: e.context, steering: e.steering, adapter, keepCache: true }));
    const caches = rows.length === 0 ? [] : (await engine.forward(rows)).map((r) => r.cache as Cache);
    return examples.map((e) => (e.context.length > 0 ? (caches.shift() as Cache) : null));
  }

  const zeros = (n: number): { m: Float64Array; v: Float64Array } => ({
    m: new Float64Array(n),
    v: new Float64Array(n),
  });

  async function differences(
    trainer: Trainer,
    params: Float64Array,
    examples: Example[],
    massWeight: number,
    frozen: boolean,
    every = 1,
  ): Promise<Float64Array> {
    const base = trainer.adapter("base");
    const held = await prefill(examples, base);
    const out = new Float64Array(params.length);
    const mean = async (): Promise<number> => {
      const adapter = trainer.adapter("moved");
      const contexts = frozen ? held : await prefill(examples, adapter);
      const each = await losses(examples, contexts, adapter, massWeight);
      adapter.dispose();
      return each.reduce((a, b) => a + b, 0) / each.length;
    };
    for (let i = 0; i < params.length; i += every) {
      const moved = params.slice();
      moved[i] = params[i] + STEP;
      await trainer.setState({ params: moved, ...zeros(params.length) });
      const up = await mean();
      moved[i] = params[i] - STEP;
      await trainer.setState({ params: moved, ...zeros(params.length) });
      out[i] = (up - (await mean())) / (2 * STEP);
    }
    await trainer.setState({ params, ...zeros(params.length) });
    return out;
  }

  /** |difference| relative to the larger entry, or to the gradient's typical size for entries near zero. */
  function worst(analytic: Float64Array, numeric: Float64Array, every = 1): number {
    const typical = Math.sqrt(analytic.reduce((s, g) => s + g * g, 0) / analytic.length);
    let out = 0;
    for (let i = 0; i < analytic.length; i += every) {
      out = Math.max(
        out,
        Math.abs(analytic[i] - numeric[i]) / Math.max(Math.abs(analytic[i]), Math.abs(numeric[i]), typical),
      );
    }
    return out;
  }

  it.each([0, 0.1, 1])(
    "every entry of every A and B matches, mass weight %d",
    async (massWeight) => {
      const { trainer, params } = start({ ...TRAINER, massWeight });
      const examples = toyExamples(3, config);
      const { gradients } = (await trainer.gradients(examples, 1)) as BatchResult & { gradients: Float64Array };
      expect(gradients).toBeInstanceOf(Float64Array);
      expect(gradients.every((g) => g !== 0)).toBe(true);
      const numeric = await differences(trainer, params, examples, massWeight, true);
      expect(worst(gradients, numeric)).toBeLessThan(TOLERANCE);
    },
    240_000,
  );

  const bare = (example: Example): Example => ({ ...example, context: [], steering: [] });
  it.each([
    ["among others", (examples: Example[]) => examples.map((e, i) => (i === 1 ? bare(e) : e))],
    ["alone", (examples: Example[]) => examples.map(bare)],
  ])(
    "bare questions %s: every entry matches, in micro-batches too, and a steered one is refused",
    async (_name, change) => {
      const { trainer, params } = start({ ...TRAINER, massWeight: 0.1 });
      const examples = change(toyExamples(3, config));
      const { gradients } = (await trainer.gradients(examples, 1)) as BatchResult & { gradients: Float64Array };
      const numeric = await differences(trainer, params, examples, 0.1, true, 3);
      expect(worst(gradients, numeric, 3)).toBeLessThan(TOLERANCE);
      for (const microBatch of [1, 2])
        expect((await trainer.gradients(examples, 1, { microBatch })).gradients).toEqual(gradients);
      const dropping = start({ ...TRAINER, dropout: 0.3 }).trainer;
      const whole = (await dropping.gradients(examples, 2)).gradients;
      expect((await dropping.gradients(examples, 2, { microBatch: 1 })).gradients).toEqual(whole);
      expect(whole).not.toEqual((await dropping.gradients(examples, 3)).gradients);
      const steered = { ...examples[1], context: [], steering: toyExamples(2, config)[1].steering };
      await expect(trainer.gradients([steered], 1)).rejects.toMatchObject({ code: "empty-row" });
    },
    240_000,
  );

  it("the context is a constant: recomputing it with the moved parameters gives another derivative", async () => {
    const { trainer, params } = start({ ...TRAINER, massWeight: 0.1 });
    const examples = toyExamples(2, config);
    const { gradients } = (await trainer.gradients(examples, 1)) as BatchResult & { gradients: Float64Array };
    const unfrozen = await differences(trainer, params, examples, 0.1, false, 7);
    expect(worst(gradients, unfrozen, 7)).toBeGreaterThan(0.01);
  }, 120_000);

  /** Central differences of the mean of weight * loss, contexts prefilled by the unmoved parameters with the masks of step 4. */
  async function heldDifferences(
    trainer: Trainer,
    params: Float64Array,
    examples: TrainingExample[],
  ): Promise<Float64Array> {
    const run = { contextAdapter: trainer.adapter("base") };
    const mean = async (): Promise<number> =>
      (await (trainer as NativeTrainer).gradients(examples, 4, run)).loss.reduce(
        (sum, loss, i) => sum + (examples[i].weight ?? 1) * loss,
        0,
      ) / examples.length;
    const numeric = new Float64Array(params.length);
    for (let i = 0; i < params.length; i++) {
      const moved = params.slice();
      moved[i] = params[i] + STEP;
      await trainer.setState({ params: moved, ...zeros(params.length) });
      const up = await mean();
      moved[i] = params[i] - STEP;
      await trainer.setState({ params: moved, ...zeros(params.length) });
      numeric[i] = (up - (await mean())) / (2 * STEP);
    }
    await trainer.setState({ params, ...zeros(params.length) });
    return numeric;
  }

  it("with dropout every entry matches the replayed masks, the context held by the unmoved parameters", async () => {
    const { trainer, params } = start({ ...TRAINER, massWeight: 0.1, dropout: 0.3 });
    const examples = toyExamples(3, config);
    const { gradients } = (await trainer.gradients(examples, 4)) as BatchResult & { gradients: Float64Array };
    const numeric = await heldDifferences(trainer, params, examples);
    expect(worst(gradients, numeric)).toBeLessThan(TOLERANCE);
    expect(gradients).not.toEqual(
      ((await start({ ...TRAINER, massWeight: 0.1 }).trainer.gradients(examples, 4)) as { gradients: Float64Array })
        .gradients,
    );
  }, 240_000);

  it.each([
    { dropout: 0, matches: "alone", examples: (c: ModelConfig) => toyExamples(3, c).map((e) => matchOf(e)) },
    { dropout: 0.3, matches: "beside label examples, with weights", examples: (c: ModelConfig) => mixedExamples(4, c) },
  ])(
    "match examples $matches: every entry matches, dropout $dropout",
    async ({ dropout, examples }) => {
      const { trainer, params } = start({ ...TRAINER, massWeight: 0.1, dropout });
      const batch = examples(config);
      const { gradients } = (await trainer.gradients(batch, 4)) as BatchResult & { gradients: Float64Array };
      if (dropout === 0) expect(gradients.every((g) => g !== 0)).toBe(true); // else a column may be dropped in all tokens
      expect(worst(gradients, await heldDifferences(trainer, params, batch))).toBeLessThan(TOLERANCE);
    },
    240_000,
  );
});
