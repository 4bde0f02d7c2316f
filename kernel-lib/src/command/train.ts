/**
 * `steerlab train`: a file of examples and a file of vectors -> a PEFT LoRA adapter.
 *
 * Everything is checked before the weights are touched. Ctrl-C (or SIGTERM) finishes the step under way, saves, and says
 * how to resume.
 */
import { DataError, DeviceError, expected, InputError } from "../base";
import {
  type AdapterFiles,
  type AdapterPart,
  type Checkpoint,
  finiteProduct,
  type ModelConfig,
  modelIdentity,
} from "../checkpoint";
import { adapterFor, type Engine, openEngine, readModelConfig, type WorkShape } from "../engine";
import { readText } from "../files";
import { startProgress } from "../notebook";
import { readDirections } from "../steering";
import {
  checkInitial,
  claimRun,
  parseTrainConfig,
  parseTrainExample,
  runTraining,
  type TrainConfig,
  type TrainExample,
  type TrainingRun,
} from "../train";
import { engineOptions } from "./engine-flags";
import { type FlagValues, parseArguments } from "./flags";
import { readLines } from "./lines";
import { adapterPlace } from "./places";
import { TRAIN } from "./tables";

/** Runs the command. @throws InputError, DataError, DeviceError before long work starts */
export async function train(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags } = parseArguments("train", TRAIN, args);
  const { model: modelName, examples: examplesFile, vectors: vectorsFile, config: configFile, out, resume } = flags;
  if (flags.backend === "onnx")
    throw new InputError(
      "onnx-training",
      "Expected --backend cpu or cuda for training but received onnx. The ONNX engine does inference only.",
    );
  const { "checkpoint-every": checkpointEvery = 50, "micro-batch": microBatch } = flags;
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
    const largest = vectors.map(largestOf);
    const examples = readLines(examplesFile, (value, at) => {
      const example = parseTrainExample(value, at, model, vectors.length);
      for (const { vectorIndex, magnitude } of [example.steering ?? []].flat())
        finiteProduct(largest[vectorIndex], magnitude, at);
      return example;
    });
    const baseModel = await modelIdentity(modelName, checkpoint);
    const initial =
      flags["init-adapter"] === undefined
        ? null
        : initialParts(await initialAdapter(checkpoint, baseModel, flags), config);
    const inputs = { baseModel, examples, vectors, config, initial, out, resume, lock, checkpointEvery, microBatch };
    const work = workOf(config, examples, microBatch);
    const { engine } = await openEngine(modelName, { ...engineOptions(flags), work, signal });
    try {
      process.stdout.write(`${await trained(engine, { ...inputs, signal })}\n`);
    } catch (error) {
      const full = error instanceof DeviceError && error.code === "disk-full";
      throw full ? new DeviceError(error.code, `${error.message} Add --resume then.`, { cause: error }) : error;
    } finally {
      engine.dispose();
    }
  } finally {
    lock.release();
  }
}

/** Trains with a progress line; a signal lets the step under way end. @returns the adapter's folder */
async function trained(engine: Engine, inputs: Omit<TrainingRun, "engine">): Promise<string> {
  const progress = { line: null as ReturnType<typeof startProgress> | null };
  const result = await runTraining({
    ...inputs,
    engine,
    onEvent: (event, totalSteps) => {
      progress.line ??= startProgress("train", totalSteps);
      progress.line.update(event.step, `loss ${event.loss?.toFixed(4) ?? "-"}`);
    },
  });
  progress.line?.done();
  return result.adapterFolder;
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

/** Directions of the file as rows (hidden_size); lengths other than 1 are said. @throws as `readDirections`; DataError "vectors-tensor" */
async function readVectors(file: string, model: ModelConfig): Promise<Float32Array[]> {
  const set = await readDirections(file, { width: model.hidden_size });
  if (set.directions.length === 0) throw new DataError("vectors-tensor", expected("at least one vector", file, "none"));
  return set.directions;
}

function largestOf(vector: Float32Array): number {
  return vector.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}

function initialAdapter(
  checkpoint: Checkpoint,
  base: { name: string; hash: string },
  flags: FlagValues<typeof TRAIN>,
): Promise<AdapterFiles> {
  const folder = adapterPlace(flags["init-adapter"] as string, "--init-adapter");
  return adapterFor(checkpoint, base, folder, { otherBase: flags["other-base"] });
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
