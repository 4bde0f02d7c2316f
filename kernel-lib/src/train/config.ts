/**
 * How one LoRA run goes: rank, optimizer, schedule, batch, loss, seed. Read from the `train.yaml` of the command line.
 *
 * YAML fields are snake_case as in the issue; the typed `TrainConfig` is what `runTraining` takes. Loss at the question's last
 * position: pair = cross-entropy over the two labels; full = over the vocabulary = pair - log mass; pair+mass = pair -
 * massWeight * log mass. Learning rate of step k (1-based), as transformers' linear schedule with warm-up counts it:
 * lr * (k-1)/warmup before the end of warm-up, then lr * (total-k+1)/(total-warmup), never below 0.
 */
import { z } from "zod";
import { expected, InputError } from "../base";
import { PROJECTIONS } from "../checkpoint";
import type { TrainerOptions } from "../engine";
import { checkShape, parseYaml } from "../files";
import type { EarlyStop, LoraSpec, LossKind, OptimizerSpec } from "../study";

export interface TrainConfig {
  lora: LoraSpec;
  optimizer: OptimizerSpec;
  schedule: { warmupSteps: number; totalSteps: number };
  /** examples of one optimizer step; the last step of an epoch may have fewer */
  batch: number;
  /** passes over the examples; may be a fraction */
  epochs: number;
  /** shuffled: a new seeded order each epoch */
  order: "given" | "shuffled";
  loss: LossKind;
  /** only for loss pair+mass */
  massWeight: number;
  seed: number;
  /** default: to the last step */
  earlyStop?: EarlyStop;
}

/** Weight of -log mass when the file does not say. */
export const DEFAULT_MASS_WEIGHT = 0.2;

const share = z.number().min(0).lt(1);
const yamlSchema = z.strictObject({
  lora: z.strictObject({
    r: z.number().int().min(1).max(512),
    alpha: z.number().positive(),
    dropout: share.default(0),
    target_modules: z
      .array(z.enum(PROJECTIONS))
      .min(1)
      .refine((names) => new Set(names).size === names.length, "every module once"),
  }),
  optimizer: z.strictObject({
    lr: z.number().positive(),
    betas: z.tuple([share, share]).default([0.9, 0.999]),
    eps: z.number().positive().default(1e-8),
    weight_decay: z.number().min(0).default(0.01),
    max_grad_norm: z.number().min(0).nullable().default(1),
  }),
  schedule: z.strictObject({ warmup_steps: z.number().int().min(0), total_steps: z.number().int().min(1) }),
  batch: z.number().int().min(1),
  epochs: z.number().positive(),
  order: z.enum(["given", "shuffled"]).default("shuffled"),
  loss: z.enum(["pair", "full", "pair+mass"]).default("pair"),
  mass_weight: z.number().min(0).max(1).optional(),
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
});

/**
 * Reads the text of a `train.yaml`.
 *
 * @param name path, for error sentences
 * @throws DataError "yaml-syntax"; InputError "train-config" naming the field
 *
 * @example
 * const config = parseTrainConfig(fs.readFileSync("train.yaml", "utf8"), "train.yaml");
 */
export function parseTrainConfig(text: string, name = "train.yaml"): TrainConfig {
  const read = checkShape(parseYaml(text, name), yamlSchema, { code: "train-config", whole: "the file", where: name });
  const { lora, optimizer, schedule, batch, epochs, order, loss, mass_weight: massWeight, seed } = read;
  if (massWeight !== undefined && loss !== "pair+mass") {
    throw new InputError(
      "train-config",
      expected(
        "loss pair+mass beside mass_weight",
        "loss",
        loss,
        `Remove mass_weight from ${name} or change the loss.`,
      ),
    );
  }
  return {
    lora: { r: lora.r, alpha: lora.alpha, dropout: lora.dropout, targetModules: lora.target_modules },
    optimizer: {
      lr: optimizer.lr,
      betas: optimizer.betas,
      eps: optimizer.eps,
      weightDecay: optimizer.weight_decay,
      maxGradNorm: optimizer.max_grad_norm ?? 0,
    },
    schedule: { warmupSteps: schedule.warmup_steps, totalSteps: schedule.total_steps },
    batch,
    epochs,
    order,
    loss,
    massWeight: massWeight ?? DEFAULT_MASS_WEIGHT,
    seed,
  };
}

/** Learning rate of 1-based `step`; see the formula on top of this file. */
export function learningRate(config: TrainConfig, step: number): number {
  const { warmupSteps, totalSteps } = config.schedule;
  const done = step - 1;
  if (done < warmupSteps) return (config.optimizer.lr * done) / warmupSteps;
  return config.optimizer.lr * Math.max(0, (totalSteps - done) / Math.max(1, totalSteps - warmupSteps));
}

/** Optimizer steps of a run over `count` examples: the epochs asked for, never past the end of the schedule. */
export function stepsOf(config: TrainConfig, count: number): number {
  const perEpoch = Math.ceil(count / config.batch);
  return Math.min(Math.max(1, Math.round(config.epochs * perEpoch)), config.schedule.totalSteps);
}

/** The engine's own options. */
export function trainerOptions(config: TrainConfig): TrainerOptions {
  const { lora, optimizer, loss } = config;
  return {
    r: lora.r,
    alpha: lora.alpha,
    dropout: lora.dropout,
    targets: lora.targetModules,
    massWeight: loss === "pair" ? 0 : loss === "full" ? 1 : config.massWeight,
    seed: config.seed,
    beta1: optimizer.betas[0],
    beta2: optimizer.betas[1],
    eps: optimizer.eps,
    weightDecay: optimizer.weightDecay,
    maxGradNorm: optimizer.maxGradNorm,
  };
}
