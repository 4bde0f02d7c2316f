/**
 * The trainer against transformers + PEFT goldens: losses and LoRA gradients of one step for every loss, and adapters, losses
 * and gradient norms over twelve AdamW steps with warm-up, decay, clipping and weight decay.
 */
import { afterAll, describe, expect, it } from "vitest";
import type { BatchResult, Engine, Example, Trainer, TrainerOptions } from "../../kernel-lib/src/engine";
import { absentBackends, type EngineChoice, engineChoices, openFixture } from "./engines";
import {
  BF16_GRADIENT_COSINE,
  BF16_GRADIENT_SLACK,
  BF16_GRADIENT_SLACK_OF_ONE,
  F32_ADAPTER,
  F32_ADAPTER_CHANGE,
  F32_GRADIENT,
  F32_LOGPROB,
  F32_LOSS,
} from "./tolerances";
import {
  adapterFolder,
  cosine,
  type Golden,
  type GoldenExample,
  largest,
  MODEL_NAMES,
  numbers,
  type PlainTensor,
  readAdapterParts,
  readGolden,
  relative,
  row,
} from "./readers";

const engines: Engine[] = [];
afterAll(() => {
  for (const engine of engines) engine.dispose();
});

async function open(golden: Golden, choice: EngineChoice): Promise<Engine> {
  const engine = await openFixture(golden.name, choice);
  engines.push(engine);
  return engine;
}

function examplesOf(golden: Golden, examples: GoldenExample[]): Example[] {
  return examples.map((example) => ({ ...example, steering: golden.steering(example.steering) }));
}

/** PEFT tensors under `prefix` laid out as the trainer's flat array. */
function flat(trainer: Pick<Trainer, "layout">, tensors: Map<string, PlainTensor>, prefix: string): Float32Array {
  const total = trainer.layout.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);
  const out = new Float32Array(total);
  for (const { name, offset, shape } of trainer.layout) {
    const tensor = tensors.get(prefix + name);
    expect(tensor?.shape, prefix + name).toEqual([...shape]);
    out.set((tensor as PlainTensor).data, offset);
  }
  return out;
}

const ADAMW = { dropout: 0, seed: 1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

/** A trainer needs its start at creation and its layout after: a first one on zeros tells the layout. */
function trainerFrom(
  engine: Engine,
  options: TrainerOptions,
  tensors: Map<string, PlainTensor>,
  prefix: string,
): Trainer {
  const size = [...tensors]
    .filter(([name]) => name.startsWith(prefix))
    .reduce((sum, [, { data }]) => sum + data.length, 0);
  const probe = engine.createTrainer(options, new Float32Array(size));
  const initial = flat(probe, tensors, prefix);
  probe.dispose();
  return engine.createTrainer(options, initial);
}

/** A trainer that stands at the golden gradient's adapter. */
function gradientTrainer(engine: Engine, golden: Golden, massWeight: number): Trainer {
  const parts = readAdapterParts(adapterFolder(golden.name, golden.gradients.adapter));
  const targets = [...new Set(parts.map((part) => part.module))];
  const [{ r, scaling }] = parts;
  const tensors = new Map<string, PlainTensor>();
  for (const { layer, module, a, b } of parts) {
    const block = ["gate_proj", "up_proj", "down_proj"].includes(module) ? "mlp" : "self_attn";
    const name = `model.layers.${layer}.${block}.${module}`;
    tensors.set(`${name}.lora_A.weight`, { shape: [r, a.length / r], data: Float64Array.from(a) });
    tensors.set(`${name}.lora_B.weight`, { shape: [b.length / r, r], data: Float64Array.from(b) });
  }
  return trainerFrom(engine, { ...ADAMW, r, alpha: scaling * r, targets, massWeight, maxGradNorm: 0 }, tensors, "");
}

function checkBatch(result: BatchResult, part: Map<string, PlainTensor>, key: string): void {
  expect(largest(result.loss, numbers(part, `${key}.loss`)), "loss").toBeLessThan(F32_LOSS);
  expect(largest(result.logprob, numbers(part, `${key}.logprob`)), "logprob").toBeLessThan(F32_LOGPROB);
  expect(largest(result.logmass, numbers(part, `${key}.logmass`)), "logmass").toBeLessThan(F32_LOGPROB);
}

const LOSSES = ["pair", "full", "mass"] as const;

describe.each(engineChoices("f32"))("f32 $label", (choice) => {
  it.each(MODEL_NAMES)("%s: every dA and dB of one step, for each loss", async (name) => {
    const golden = readGolden(name);
    const part = golden.part("training");
    const engine = await open(golden, choice);
    const examples = examplesOf(golden, golden.gradients.examples);
    for (const loss of LOSSES) {
      const trainer = gradientTrainer(engine, golden, golden.gradients.massWeights[loss]);
      const key = `gradients.f32.${loss}`;
      for (const microBatch of [1, 2, 5]) {
        const result = await trainer.gradients(examples, 1, { microBatch });
        checkBatch(result, part, key);
        for (const tensor of trainer.layout) {
          const mine = result.gradients.subarray(tensor.offset, tensor.offset + tensor.shape[0] * tensor.shape[1]);
          expect(relative(mine, numbers(part, `${key}.${tensor.name}`)), `${loss} ${tensor.name}`).toBeLessThan(
            F32_GRADIENT,
          );
        }
      }
      checkBatch(await trainer.evaluate(examples), part, key);
      trainer.dispose();
    }
  });

  it.each(MODEL_NAMES)("%s: twelve AdamW steps", async (name) => {
    const golden = readGolden(name);
    const part = golden.part("training");
    const t = golden.training;
    const engine = await open(golden, choice);
    const options: TrainerOptions = {
      ...ADAMW,
      r: t.r,
      alpha: t.alpha,
      targets: t.modules,
      massWeight: t.mass_weight,
      maxGradNorm: t.max_grad_norm,
      weightDecay: t.weight_decay,
    };
    const trainer = trainerFrom(engine, options, part, "training.initial.");
    const examples = examplesOf(golden, t.examples);
    for (const [s, lr] of t.lrs.entries()) {
      const { loss, gradNorm } = await trainer.step(examples.slice(s * t.batch, (s + 1) * t.batch), s + 1, lr, {
        microBatch: 3,
      });
      expect(largest(loss, row(numbers(part, "training.losses"), s, t.batch)), `losses of step ${s + 1}`).toBeLessThan(
        F32_LOSS,
      );
      expect(Math.abs(gradNorm / t.gradNorms[s] - 1), `gradient norm of step ${s + 1}`).toBeLessThan(F32_GRADIENT);
    }
    const { params } = await trainer.state();
    const [before, after] = ["initial", "final"].map((which) => flat(trainer, part, `training.${which}.`));
    expect(relative(params, after)).toBeLessThan(F32_ADAPTER);
    const change = (x: ArrayLike<number>): Float64Array => Float64Array.from(x, (value, i) => value - before[i]);
    expect(relative(change(params), change(after))).toBeLessThan(F32_ADAPTER_CHANGE);
    trainer.dispose();
  });
});

describe.each(engineChoices("bf16"))("bf16 $label", (choice) => {
  it("gradients as close to f32 as transformers' own in bf16, over all models and losses", async () => {
    const ratios: number[] = [];
    for (const name of MODEL_NAMES) {
      const golden = readGolden(name);
      const part = golden.part("training");
      const engine = await open(golden, choice);
      const examples = examplesOf(golden, golden.gradients.examples);
      for (const loss of LOSSES) {
        const trainer = gradientTrainer(engine, golden, golden.gradients.massWeights[loss]);
        const { gradients } = await trainer.gradients(examples, 1);
        const [theirs, truth] = ["bf16", "f32"].map((dtype) => flat(trainer, part, `gradients.${dtype}.${loss}.`));
        ratios.push(relative(gradients, truth) / relative(theirs, truth));
        expect(ratios[ratios.length - 1], `${name}, ${loss}`).toBeLessThan(BF16_GRADIENT_SLACK_OF_ONE);
        expect(cosine(gradients, truth), `${name}, ${loss}`).toBeGreaterThan(BF16_GRADIENT_COSINE);
        trainer.dispose();
      }
    }
    const geometricMean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
    expect(geometricMean).toBeLessThan(BF16_GRADIENT_SLACK);
  });
});

for (const reason of absentBackends()) it.skip(`on ${reason}`);
