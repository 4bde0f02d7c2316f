/**
 * A model folder in Hugging Face layout -> where each tensor lies, proven complete before anything is loaded.
 *
 * Reads config.json and the headers of model.safetensors, or of the shards that model.safetensors.index.json names; the
 * weights themselves are mapped later by the engine. Every tensor the config asks for must be there once, with its shape
 * and a float type, and nothing else may be (old rotary buffers and the copied head of a tied model are passed over).
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../base";
import {
  confinePath,
  contentHash,
  parseJsonStrict,
  readSafetensorsHeader,
  readText,
  type SafetensorsEntry,
  sha256File,
} from "../files";
import { parseModelConfig } from "./config";
import { moduleName, projectionShape } from "./projections";
import { type ModelConfig, type Projection, PROJECTIONS, type TensorLocation } from "./types";

/** A checked model folder. */
export interface Checkpoint {
  /** absolute path */
  folder: string;
  config: ModelConfig;
  /** token ids that end a turn or text, from generation_config.json or config.json; [] if neither says */
  eosTokenIds: number[];
  /** every tensor of the model, in the order of `modelTensors` */
  tensors: TensorLocation[];
  /** weight files, sorted */
  files: string[];
  /** sum of byteLength over tensors */
  weightBytes: number;
}

const FLOAT_TYPES: Record<string, TensorLocation["dtype"]> = { F64: "f64", F32: "f32", BF16: "bf16", F16: "f16" };
/** Qwen2's projections with a bias. */
const WITH_BIAS: ReadonlySet<Projection> = new Set(["q_proj", "k_proj", "v_proj"]);
const PIECE_BYTES = 4 << 20;
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Name and shape of every tensor that a config asks for; linear weights are (out, in). */
export function modelTensors(config: ModelConfig): { name: string; shape: number[] }[] {
  const { hidden_size: C, vocab_size: V } = config;
  const out: { name: string; shape: number[] }[] = [{ name: "model.embed_tokens.weight", shape: [V, C] }];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    out.push({ name: `model.layers.${layer}.input_layernorm.weight`, shape: [C] });
    for (const projection of PROJECTIONS) {
      const shape = projectionShape(config, projection);
      const name = moduleName(layer, projection);
      if (projection === "gate_proj")
        out.push({ name: `model.layers.${layer}.post_attention_layernorm.weight`, shape: [C] });
      out.push({ name: `${name}.weight`, shape });
      if (WITH_BIAS.has(projection)) out.push({ name: `${name}.bias`, shape: [shape[0]] });
    }
  }
  out.push({ name: "model.norm.weight", shape: [C] });
  if (!config.tie_word_embeddings) out.push({ name: "lm_head.weight", shape: [V, C] });
  return out;
}

/**
 * Checks a model folder and says where its tensors lie. Reads headers only: a 65 GB model takes milliseconds.
 *
 * @param folder path of the folder (for a hub name see `resolveModel`)
 * @throws DataError "checkpoint-missing" (no folder, config or weights), "checkpoint-shard" (index and shards disagree),
 *   "checkpoint-tensor" (absent, extra, wrong shape or type), "path-escape", and the codes of the config and header readers
 *
 * @example
 * const { config, tensors } = readCheckpoint("data/lab-model");
 */
export function readCheckpoint(folder: string): Checkpoint {
  const root = path.resolve(folder);
  if (!(fs.statSync(root, { throwIfNoEntry: false })?.isDirectory() ?? false)) {
    throw new DataError("checkpoint-missing", `Expected a model folder at ${root} but there is none.`);
  }
  const configText = readIfPresent(root, "config.json");
  if (configText === null) {
    throw new DataError(
      "checkpoint-missing",
      `Expected config.json in ${root} but there is none. A model folder has it beside its weights.`,
    );
  }
  const config = parseModelConfig(configText, path.join(root, "config.json"));
  const found = readWeightHeaders(root);
  const tensors = matchTensors(config, found, root);
  return {
    folder: root,
    config,
    eosTokenIds: eosTokenIds(root, configText),
    tensors,
    files: [...new Set(tensors.map((tensor) => tensor.file))].sort(),
    weightBytes: tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0),
  };
}

/**
 * SHA-256 that names a checkpoint: its numeric config and the bytes of its weight files.
 *
 * A weight file that is a link to a hub-cache blob named by its own SHA-256 is not read again (the download proved it);
 * any other is hashed whole, at about 1 GB per second.
 *
 * @param onProgress bytes hashed so far and in all
 */
export async function checkpointHash(
  checkpoint: Checkpoint,
  onProgress?: (done: number, total: number) => void,
): Promise<string> {
  const sizes = checkpoint.files.map((file) => fs.statSync(file).size);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const weights: Record<string, string> = {};
  for (const [i, file] of checkpoint.files.entries()) {
    const real = fs.realpathSync(file);
    const isBlob = path.basename(path.dirname(real)) === "blobs" && /^[0-9a-f]{64}$/.test(path.basename(real));
    weights[path.basename(file)] = isBlob ? path.basename(real) : await sha256File(real);
    done += sizes[i];
    onProgress?.(done, total);
  }
  return contentHash({ config: checkpoint.config, weights });
}

interface FoundTensor {
  entry: SafetensorsEntry;
  file: string;
}

/**
 * A file that config or index names: its text never leaves the folder, but a link on disk may, as in a hub cache or a folder
 * of links to shared weights. Whoever made the link could as well have put the file there.
 */
function inFolder(root: string, relative: string, what: string): string {
  return confinePath(root, relative, what, { linksMayLeaveTo: [path.parse(root).root] });
}

function readIfPresent(root: string, name: string): string | null {
  if (!fs.existsSync(path.join(root, name))) return null;
  return readText(inFolder(root, name, name));
}

function readWeightHeaders(root: string): Map<string, FoundTensor> {
  if (fs.existsSync(path.join(root, SINGLE))) {
    const file = inFolder(root, SINGLE, SINGLE);
    const found = new Map<string, FoundTensor>();
    for (const [name, entry] of readSafetensorsHeader(file).tensors) found.set(name, { entry, file });
    return found;
  }
  const indexText = readIfPresent(root, INDEX);
  if (indexText !== null) return readShards(root, indexText);
  const pickles = fs.readdirSync(root).filter((name) => /\.(bin|pt|pth|ckpt|gguf)$/.test(name));
  const instead = pickles.length > 0 ? `It holds ${pickles[0]}, a format that is not read.` : "";
  throw new DataError(
    "checkpoint-missing",
    `Expected ${SINGLE} or ${INDEX} in ${root} but found neither. ${instead}`.trim(),
  );
}

function readShards(root: string, indexText: string): Map<string, FoundTensor> {
  const index = parseJsonStrict(indexText, path.join(root, INDEX)) as { weight_map?: unknown } | null;
  const weightMap = index?.weight_map;
  const good = typeof weightMap === "object" && weightMap !== null && !Array.isArray(weightMap);
  if (!good || Object.values(weightMap).some((file) => typeof file !== "string" || !file.endsWith(".safetensors"))) {
    throw new DataError(
      "checkpoint-shard",
      `Expected weight_map as {tensor: "*.safetensors"} in ${path.join(root, INDEX)}.`,
    );
  }
  const listed = new Map(Object.entries(weightMap as Record<string, string>));
  const found = new Map<string, FoundTensor>();
  for (const shard of [...new Set(listed.values())].sort()) {
    const file = inFolder(root, shard, `weight_map of ${INDEX}`);
    if (!fs.existsSync(file)) {
      throw new DataError(
        "checkpoint-shard",
        `Expected shard ${shard} in ${root}, named by ${INDEX}, but it is missing. Fetch it again.`,
      );
    }
    for (const [name, entry] of readSafetensorsHeader(file).tensors) {
      const earlier = found.get(name);
      if (earlier !== undefined) {
        throw new DataError(
          "checkpoint-shard",
          `Expected tensor ${name} once but ${path.basename(earlier.file)} and ${shard} both hold it.`,
        );
      }
      if (listed.get(name) !== shard) {
        throw new DataError(
          "checkpoint-shard",
          `Expected ${INDEX} to list every tensor of ${shard} but ${name} is ${listed.has(name) ? `listed in ${listed.get(name)}` : "not listed"}.`,
        );
      }
      found.set(name, { entry, file });
    }
  }
  for (const [name, shard] of listed) {
    if (!found.has(name))
      throw new DataError(
        "checkpoint-shard",
        `Expected tensor ${name} in ${shard}, as ${INDEX} says, but it is not there.`,
      );
  }
  return found;
}

/** Extra tensors that do not change the model's numbers: buffers of old exports, and a copy of the head a tied model shares. */
function isHarmless(name: string, config: ModelConfig): boolean {
  return (
    /^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/.test(name) ||
    (config.tie_word_embeddings && name === "lm_head.weight")
  );
}

function matchTensors(config: ModelConfig, found: Map<string, FoundTensor>, root: string): TensorLocation[] {
  const wanted = modelTensors(config);
  const names = new Set(wanted.map((tensor) => tensor.name));
  const absent = wanted.filter((tensor) => !found.has(tensor.name)).map((tensor) => tensor.name);
  if (absent.length > 0)
    throw new DataError(
      "checkpoint-tensor",
      `Expected ${someOf(absent)} in the weights of ${root} but received no such tensor.`,
    );
  const extra = [...found.keys()].filter((name) => !names.has(name) && !isHarmless(name, config));
  if (extra.length > 0)
    throw new DataError(
      "checkpoint-tensor",
      `Expected only tensors of a Qwen2 model in ${root} but received ${someOf(extra)}.`,
    );
  const head = found.get("lm_head.weight");
  const embedding = found.get("model.embed_tokens.weight") as FoundTensor;
  if (config.tie_word_embeddings && head !== undefined && !sameBytes(head, embedding)) {
    throw new DataError(
      "checkpoint-tensor",
      `Expected lm_head.weight equal to model.embed_tokens.weight in ${root}, as tie_word_embeddings says, but they differ. Set it to false in config.json if the head is meant.`,
    );
  }
  return wanted.map(({ name, shape }) => {
    const { entry, file } = found.get(name) as FoundTensor;
    if (entry.shape.join() !== shape.join()) {
      throw new DataError(
        "checkpoint-tensor",
        expected(`shape [${shape.join(", ")}] (from config.json)`, `${name} in ${file}`, `[${entry.shape.join(", ")}]`),
      );
    }
    const dtype = FLOAT_TYPES[entry.dtype];
    if (dtype === undefined) {
      throw new DataError(
        "checkpoint-tensor",
        expected(
          "dtype F32, BF16, F16 or F64",
          `${name} in ${file}`,
          entry.dtype,
          "Quantised weights are not supported.",
        ),
      );
    }
    return { name, file, dtype, shape, byteOffset: entry.byteOffset, byteLength: entry.byteLength };
  });
}

/** Whether two tensors hold the same values in the same type; readers differ on a tied head that does not. */
function sameBytes(one: FoundTensor, other: FoundTensor): boolean {
  const like = one.entry.dtype === other.entry.dtype && one.entry.byteLength === other.entry.byteLength;
  if (!like) return false;
  const tensors = [one, other].map(({ file, entry }) => ({ handle: fs.openSync(file, "r"), at: entry.byteOffset }));
  try {
    const pieces = tensors.map(() => Buffer.alloc(PIECE_BYTES));
    for (let done = 0; done < one.entry.byteLength; done += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, one.entry.byteLength - done);
      for (const [i, { handle, at }] of tensors.entries()) {
        for (let got = 0; got < length; ) {
          const count = fs.readSync(handle, pieces[i], got, length - got, at + done + got);
          if (count === 0) return false;
          got += count;
        }
      }
      if (pieces[0].compare(pieces[1], 0, length, 0, length) !== 0) return false;
    }
    return true;
  } finally {
    for (const { handle } of tensors) fs.closeSync(handle);
  }
}

function someOf(names: string[]): string {
  return names.length <= 3 ? names.join(", ") : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}

/** generation_config.json wins over config.json, as in transformers; a number or a list of numbers. */
function eosTokenIds(root: string, configText: string): number[] {
  const generationText = readIfPresent(root, "generation_config.json");
  const generation = path.join(root, "generation_config.json");
  for (const [text, name] of [
    [generationText, generation],
    [configText, path.join(root, "config.json")],
  ] as const) {
    if (text === null) continue;
    const fields = parseJsonStrict(text, name) as { eos_token_id?: unknown } | null;
    const value = fields?.eos_token_id ?? null;
    const list = Array.isArray(value) ? value : value === null ? [] : [value];
    if (list.length > 0 && list.every((id) => Number.isInteger(id) && (id as number) >= 0)) return list as number[];
  }
  return [];
}
