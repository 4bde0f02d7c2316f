/**
 * `steerlab train`: a file of examples and a file of vectors -> a PEFT LoRA adapter.
 *
 * Everything is checked before the weights are touched. Ctrl-C (or SIGTERM) finishes the step under way, saves, and says
 * how to resume.
 */
import * as fs from "node:fs";
import { DataError, expected, InputError } from "../base";
import { type AdapterFiles, type AdapterPart, type ModelConfig, modelIdentity } from "../checkpoint";
import { adapterFor, type Engine, openEngine, readModelConfig, type WorkShape } from "../engine";
import { startProgress } from "../notebook";
import { readDirections } from "../steering";
import {
  checkInitial,
  claimRun,
  parseTrainConfig,
  readTrainExample,
  runTraining,
  type TrainConfig,
  type TrainExample,
  type TrainingRun,
} from "../train";
import { backendOptions, flagsOf, otherBase, required, wholeNumber } from "./flags";
import { readLines } from "./lines";
import { stopOnSignals } from "./signals";

export const TRAIN_HELP = `steerlab train --model DIR --examples ex.jsonl --vectors v.safetensors --config train.yaml --out RUN [options]

Trains a LoRA adapter: contexts are prefilled steered, questions asked clean, the loss is on the last question position.

  --model DIR|FILE|NAME  checkpoint folder, .gguf file or hub name ORG/NAME
  --examples FILE       one example a line: {"id", "context": ids, "question": ids, "labels": [idA, idB], "target": 0|1,
                        "steering": null | {"vectorIndex", "layers": [start, end), "magnitude"}}
  --vectors FILE        directions: safetensors with "vectors" (n, hidden_size), or another format of readDirections; rows are
                        floats, not zero, and normalised where their length is not 1
  --config FILE         lora: {r, alpha, dropout, target_modules}, optimizer: {lr, betas, eps, weight_decay, max_grad_norm},
                        schedule: {warmup_steps, total_steps}, batch, epochs, order: given|shuffled,
                        loss: pair|full|pair+mass, mass_weight (pair+mass only), seed
                        max_grad_norm 0 or null clips nothing; weight_decay is 0.01 unless given; training ends with the
                        epochs or with total_steps, whichever is first
  --out RUN             run folder: adapter/ (PEFT files), events.jsonl, checkpoints/; one that holds a run is refused
  --init-adapter DIR    start from this adapter instead of a fresh one
  --other-base accept   take an initial adapter that was trained here on other weights (its shapes must still fit)
  --resume              go on from the newest checkpoint of the run in RUN, with the same inputs, backend and dtype
  --checkpoint-every N  steps between checkpoints (default 50; the last step is always saved)
  --backend NAME        cpu or cuda (default: cuda where usable, else cpu)
  --dtype NAME          f32 or bf16 (default: f32 on the cpu, bf16 on cuda)
  --threads N           default: all cores
  --micro-batch N       examples a pass (default: whole batch); memory and speed, not the numbers
`;

const FLAGS = [
  "model",
  "examples",
  "vectors",
  "config",
  "out",
  "init-adapter",
  "other-base",
  "checkpoint-every",
  "backend",
  "dtype",
  "threads",
  "micro-batch",
];

/** Runs the command. @throws InputError, DataError, DeviceError before long work starts */
export async function train(args: readonly string[]): Promise<void> {
  const flags = flagsOf("train", args, FLAGS, ["resume"]);
  const modelName = required("train", flags, "model");
  const [examplesFile, vectorsFile, configFile, out] = ["examples", "vectors", "config", "out"].map((name) =>
    required("train", flags, name),
  );
  const options = backendOptions(flags);
  if (options.backend === "onnx")
    throw new InputError(
      "onnx-training",
      "Expected --backend cpu or cuda for training but received onnx. The ONNX engine does inference only.",
    );
  const resume = flags.resume === "true";
  const accepted = { otherBase: otherBase(flags) };
  const checkpointEvery = wholeNumber(flags, "checkpoint-every", 50, 1);
  const microBatch = flags["micro-batch"] === undefined ? undefined : wholeNumber(flags, "micro-batch", 0, 1);
  const lock = claimRun(out, resume);
  try {
    if (resume && !lock.resumed)
      throw new InputError(
        "no-run",
        expected("a folder with a run", "--out beside --resume", out, "Leave --resume out to start one there."),
      );
    const config = parseTrainConfig(readText(configFile), configFile);
    const { config: model, checkpoint } = await readModelConfig(modelName);
    const vectors = await readVectors(vectorsFile, model);
    const examples = readLines(examplesFile, (value, at) => readTrainExample(value, at, model, vectors.length));
    const baseModel = await modelIdentity(modelName, checkpoint);
    const initial =
      flags["init-adapter"] === undefined
        ? null
        : initialParts(await adapterFor(checkpoint, baseModel, flags["init-adapter"], accepted), config);
    const inputs = { baseModel, examples, vectors, config, initial, out, resume, lock, checkpointEvery, microBatch };
    const { engine } = await openEngine(modelName, { ...options, work: workOf(config, examples, microBatch) });
    try {
      process.stdout.write(`${await trained(engine, inputs)}\n`);
    } finally {
      engine.dispose();
    }
  } finally {
    lock.release();
  }
}

/** Trains with a progress line; Ctrl-C or SIGTERM lets the step under way end. @returns the adapter's folder */
async function trained(engine: Engine, inputs: Omit<TrainingRun, "engine">): Promise<string> {
  const stop = stopOnSignals();
  const progress = { line: null as ReturnType<typeof startProgress> | null };
  try {
    const result = await runTraining({
      ...inputs,
      engine,
      signal: stop.signal,
      onEvent: (event, totalSteps) => {
        progress.line ??= startProgress("train", totalSteps);
        progress.line.update(event.step, `loss ${event.loss?.toFixed(4) ?? "-"}`);
      },
    });
    progress.line?.done();
    return result.adapterFolder;
  } finally {
    stop.release();
  }
}

/** One optimizer step of a run, for the memory estimate. */
function workOf(config: TrainConfig, examples: readonly TrainExample[], microBatch: number | undefined): WorkShape {
  const longest = (of: (e: TrainExample) => number): number => examples.reduce((most, e) => Math.max(most, of(e)), 0);
  return {
    rows: Math.min(microBatch ?? config.batch, config.batch, examples.length),
    contextTokens: longest((example) => example.context.length),
    questionTokens: longest((example) => example.question.length),
    lora: { r: config.lora.r, targets: config.lora.targetModules },
    training: true,
  };
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (cause) {
    throw new DataError("file-missing", `Expected a readable file at ${file} but could not open it.`, { cause });
  }
}

/** Directions of the file as rows (hidden_size); lengths other than 1 are said. @throws as `readDirections`; DataError "vectors-tensor" */
async function readVectors(file: string, model: ModelConfig): Promise<Float32Array[]> {
  const set = await readDirections(file, { width: model.hidden_size });
  if (set.directions.length === 0) throw new DataError("vectors-tensor", expected("at least one vector", file, "none"));
  return set.directions;
}

function initialParts({ parts, lora }: AdapterFiles, config: TrainConfig): AdapterPart[] {
  const wanted = [...config.lora.targetModules].sort().join(", ");
  const found = [...lora.targets].sort().join(", ");
  if (wanted !== found)
    throw new InputError(
      "adapter-parts",
      expected(`target_modules ${wanted} (as in the config)`, "--init-adapter", found),
    );
  checkInitial(parts, config);
  return parts;
}
