/**
 * Checkpoints of a training run: `checkpoints/step-000900/`, whole or absent, from which training goes on to the same bytes.
 *
 * Holds the PEFT adapter, `state.safetensors` (params, m, v in the trainer's own precision) and `position.json` (step, what
 * the run is, metrics). Dropout and order are counters of (seed, step), so the step is the whole random state. Made in a
 * `.partial` folder and renamed. The optimizer state is kept for the newest two; older ones keep adapter and metrics.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../base";
import { type AdapterManifest, type LoraConfig, type ModelConfig, readAdapter, writeAdapter } from "../checkpoint";
import type { TrainerState, TrainerTensor } from "../engine";
import {
  commitPartial,
  parseJsonStrict,
  partialPath,
  readSafetensorsHeader,
  streamTensorBytes,
  tensorEntry,
  writeJsonAtomic,
  writeSafetensors,
  writing,
} from "../files";
import { requireSameRun, type RunIdentity } from "../runs";
import { partsFromFlat } from "./flat-parameters";
import type { TrainConfig } from "./config";

/** What position.json says. */
export interface CheckpointPosition {
  format: 2;
  /** optimizer steps done */
  step: number;
  identity: RunIdentity;
  /** figures of the last step, by name */
  metrics: Record<string, number | null>;
}

/** A checkpoint that training can go on from. */
export interface TrainingCheckpoint {
  folder: string;
  position: CheckpointPosition;
}

const NAME = /^step-(\d{6,})$/;
const STATE = "state.safetensors";
const KEPT_STATES = 2;

/** TrainingCheckpoint folders of a run, oldest first; unfinished ones are not seen. */
export function listCheckpoints(run: string): string[] {
  const root = path.join(run, "checkpoints");
  if (!fs.existsSync(root)) return [];
  return fs
    .readdirSync(root)
    .filter((name) => NAME.test(name))
    .sort((a, b) => stepOf(a) - stepOf(b))
    .map((name) => path.join(root, name));
}

function stepOf(name: string): number {
  return Number((NAME.exec(path.basename(name)) as RegExpExecArray)[1]);
}

/** Writes a checkpoint; an equal step is replaced. */
export function saveCheckpoint(
  run: string,
  content: {
    position: CheckpointPosition;
    state: TrainerState;
    layout: readonly TrainerTensor[];
    config: TrainConfig;
    model: ModelConfig;
    manifest: AdapterManifest;
    baseModel: string | null;
  },
): string {
  const { position, state, layout, config, model, manifest, baseModel } = content;
  const target = checkpointFolder(run, position.step);
  const partial = partialPath(target, "folder");
  writing(partial, () => fs.mkdirSync(partial, { recursive: true }));
  try {
    writeLora(partial, { params: state.params, layout, config, model, manifest, baseModel });
    const dtype = state.params instanceof Float64Array ? "F64" : "F32";
    const tensor = (data: Float32Array | Float64Array) => ({ dtype, shape: [data.length], data }) as const;
    writeSafetensors(
      path.join(partial, STATE),
      { params: tensor(state.params), m: tensor(state.m), v: tensor(state.v) },
      { step: String(position.step) },
    );
    writeJsonAtomic(path.join(partial, "position.json"), position);
    fs.rmSync(target, { recursive: true, force: true });
    commitPartial(partial, target);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  const withState = listCheckpoints(run).filter((folder) => fs.existsSync(path.join(folder, STATE)));
  for (const folder of withState.slice(0, -KEPT_STATES)) fs.rmSync(path.join(folder, STATE));
  return target;
}

/** Writes the flat parameters as PEFT files. */
export function writeLora(
  folder: string,
  content: {
    params: ArrayLike<number>;
    layout: readonly TrainerTensor[];
    config: TrainConfig;
    model: ModelConfig;
    manifest: AdapterManifest | null;
    baseModel: string | null;
  },
): void {
  const peft = peftOf(content.config, content.baseModel);
  writeAdapter(folder, {
    lora: peft,
    parts: partsFromFlat(content.layout, content.params, peft),
    config: content.model,
    manifest: content.manifest,
  });
}

/** Writes the weights that a run kept at `step` once more, with another manifest. */
export async function copyLora(
  run: string,
  step: number,
  folder: string,
  content: { config: TrainConfig; model: ModelConfig; manifest: AdapterManifest; baseModel: string | null },
): Promise<void> {
  const { config, model, manifest, baseModel } = content;
  const { parts } = await readAdapter(
    checkpointFolder(run, step),
    { config: model, name: null },
    { otherBase: "accept" },
  );
  writeAdapter(folder, { lora: peftOf(config, baseModel), parts, config: model, manifest });
}

const checkpointFolder = (run: string, step: number): string =>
  path.join(run, "checkpoints", `step-${String(step).padStart(6, "0")}`);

/** LoRA settings as adapter_config.json has them. */
function peftOf({ lora }: TrainConfig, baseModel: string | null): LoraConfig {
  return { r: lora.r, alpha: lora.alpha, dropout: lora.dropout, targets: lora.targetModules, baseModel };
}

/**
 * The newest checkpoint that still has its optimizer state, or null.
 *
 * @throws DataError "run-mismatch" naming what differs if it belongs to another run; "checkpoint-position" if it is damaged
 */
export function newestCheckpoint(run: string, identity: RunIdentity): TrainingCheckpoint | null {
  const folder = listCheckpoints(run)
    .filter((name) => fs.existsSync(path.join(name, STATE)))
    .pop();
  if (folder === undefined) return null;
  const position = readPosition(folder);
  requireSameRun(folder, position.identity, identity);
  return { folder, position };
}

function readPosition(folder: string): CheckpointPosition {
  const file = path.join(folder, "position.json");
  const refuse = (received: string): never => {
    throw new DataError(
      "checkpoint-position",
      expected("the position of a checkpoint", file, received, `Remove ${folder} to go on from the one before.`),
    );
  };
  if (!fs.existsSync(file)) return refuse("nothing");
  const value = parseJsonStrict(fs.readFileSync(file, "utf8"), file) as Partial<CheckpointPosition> | null;
  const good = Number.isSafeInteger(value?.step) && typeof value?.identity === "object" && value.identity !== null;
  if (value?.format !== 2 || !good) return refuse(`format ${String(value?.format)}`);
  return value as CheckpointPosition;
}

/** Reads the trainer's state exactly, in 32 or 64 bits. @throws DataError "checkpoint-state" if the length is not `count` */
export async function readState(folder: string, count: number): Promise<TrainerState> {
  const table = readSafetensorsHeader(path.join(folder, STATE));
  const read = async (name: string): Promise<Float32Array | Float64Array> => {
    const entry = tensorEntry(table, name);
    if (entry.shape[0] !== count)
      throw new DataError("checkpoint-state", expected(`${count} values`, `${name} in ${table.file}`, entry.shape[0]));
    const bytes = new Uint8Array(entry.byteLength);
    await streamTensorBytes(table.file, entry, (piece, offset) => bytes.set(piece, offset));
    return entry.dtype === "F64" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
  };
  return { params: await read("params"), m: await read("m"), v: await read("v") };
}
