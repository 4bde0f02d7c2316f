/**
 * A model folder in Hugging Face layout, or a GGUF file -> where each tensor lies, proven complete before anything is loaded.
 *
 * Reads config.json and the headers of model.safetensors, or of the shards that model.safetensors.index.json names, or a GGUF
 * head (gguf-model.ts); the weights themselves are mapped later by the engine. Every tensor the config asks for must be there,
 * with its shape and a type that is read, and nothing else may be (old rotary buffers and the copied head of a tied model are
 * passed over). What is there and not used is said in `notes`.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../base";
import {
  confinePath,
  contentHash,
  isGgufFile,
  parseJsonStrict,
  readSafetensorsHeader,
  readText,
  sha256File,
} from "../files";
import { configNotes, parseModelConfig } from "./config";
import { samplingNotes, stopIds } from "./generation";
import { isBlockType, readGgufModel } from "./gguf-model";
import { moduleName, projectionShape } from "./projections";
import { type ModelConfig, type Projection, PROJECTIONS, type TensorLocation } from "./types";

/** A checked model on disk. */
export interface Checkpoint {
  /** absolute path of the folder, or of the GGUF file (the first of its parts) */
  path: string;
  /** llama.cpp's name of a GGUF file's quantisation, "Q4_K_M"; null for a folder */
  quantisation: string | null;
  config: ModelConfig;
  /** one sentence for each thing on disk that is not applied or not used */
  notes: string[];
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
const GENERATION = "generation_config.json";

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
 * Checks a model folder or GGUF file and says where its tensors lie. Reads headers only: a 65 GB model takes milliseconds.
 *
 * @param location path of the folder or file (for a hub name see `resolveModel`)
 * @throws DataError "checkpoint-missing" (no folder, config or weights), "checkpoint-shard" (index and shards disagree),
 *   "checkpoint-tensor" (absent, extra, wrong shape or type), "path-escape", "file-unreadable", and the codes of the config and
 *   header readers and of `readGgufModel`
 *
 * @example
 * const { config, tensors } = readCheckpoint("data/lab-model");
 */
export function readCheckpoint(location: string): Checkpoint {
  const root = path.resolve(location);
  const found = fs.statSync(root, { throwIfNoEntry: false });
  if (found?.isFile() === true && (root.endsWith(".gguf") || isGgufFile(root))) return ggufCheckpoint(root);
  if (found?.isDirectory() !== true) {
    throw new DataError(
      "checkpoint-missing",
      `Expected a model folder or a .gguf file at ${root} but there is ${found === undefined ? "none" : "another file"}.`,
    );
  }
  const configText = readIfPresent(root, "config.json");
  if (configText === null) {
    throw new DataError(
      "checkpoint-missing",
      `Expected config.json in ${root} but there is none. ${ggufHint(root) || "A model folder has it beside its weights."}`,
    );
  }
  const configFile = path.join(root, "config.json");
  const config = parseModelConfig(configText, configFile);
  const generationText = readIfPresent(root, GENERATION);
  const generationFile = path.join(root, GENERATION);
  const { tensors: held, notes } = readWeightHeaders(root);
  return checked({
    path: root,
    quantisation: null,
    config,
    notes: [
      ...configNotes(configText, configFile),
      ...notes,
      ...(generationText === null ? [] : samplingNotes(generationText, generationFile)),
    ],
    eosTokenIds: stopIds([
      [generationText, generationFile],
      [configText, configFile],
    ]),
    tensors: matchTensors(config, held, root),
  });
}

function ggufCheckpoint(file: string): Checkpoint {
  const { tensors, quantisation, config, eosTokenIds: eos, path: first } = readGgufModel(file);
  const located = matchTensors(config, tensors, first);
  return checked({ path: first, quantisation, config, notes: [], eosTokenIds: eos, tensors: located });
}

function checked(parts: Omit<Checkpoint, "files" | "weightBytes">): Checkpoint {
  const { tensors } = parts;
  return {
    ...parts,
    files: [...new Set(tensors.map((tensor) => tensor.file))].sort(),
    weightBytes: tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0),
  };
}

/**
 * SHA-256 that names a checkpoint: its numeric config and the bytes of its weight files (for a GGUF file whatever its name).
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
  return hashOf(checkpoint, await fileHashes(checkpoint, onProgress));
}

/**
 * What a run or an adapter records of its model: `checkpointHash`, and a name that says which bytes it was.
 * @param name as the caller gave it; a GGUF file is recorded as "model.gguf (Q4_K_M, sha256 1d9614638d18)"
 */
export async function modelIdentity(name: string, checkpoint: Checkpoint): Promise<{ name: string; hash: string }> {
  const hashes = await fileHashes(checkpoint);
  const hash = hashOf(checkpoint, hashes);
  if (checkpoint.quantisation === null) return { name, hash };
  const file = path.basename(checkpoint.path);
  return { name: `${file} (${checkpoint.quantisation}, sha256 ${hashes[0].slice(0, 12)})`, hash };
}

function hashOf({ config, files, quantisation }: Checkpoint, hashes: readonly string[]): string {
  if (quantisation !== null) return contentHash({ config, gguf: hashes });
  return contentHash({ config, weights: Object.fromEntries(files.map((file, i) => [path.basename(file), hashes[i]])) });
}

/** SHA-256 of each weight file, in order of `files`. */
async function fileHashes(
  checkpoint: Checkpoint,
  onProgress?: (done: number, total: number) => void,
): Promise<string[]> {
  const sizes = checkpoint.files.map((file) => fs.statSync(file).size);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const hashes: string[] = [];
  for (const [i, file] of checkpoint.files.entries()) {
    const real = fs.realpathSync(file);
    const isBlob = path.basename(path.dirname(real)) === "blobs" && /^[0-9a-f]{64}$/.test(path.basename(real));
    hashes.push(isBlob ? path.basename(real) : await sha256File(real));
    done += sizes[i];
    onProgress?.(done, total);
  }
  return hashes;
}

interface FoundTensor {
  entry: { dtype: string; shape: number[]; byteOffset: number; byteLength: number };
  file: string;
}

/** Tensors of the weight files in use, and what is said of others. */
interface FoundWeights {
  tensors: Map<string, FoundTensor>;
  notes: string[];
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

function readWeightHeaders(root: string): FoundWeights {
  const single = fs.existsSync(path.join(root, SINGLE));
  const indexText = single ? null : readIfPresent(root, INDEX);
  if (!single && indexText === null) {
    const other = fs.readdirSync(root).find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
    const instead = other === undefined ? "" : `It holds ${other}, a format that is not read.`;
    throw new DataError(
      "checkpoint-missing",
      `Expected ${SINGLE} or ${INDEX} in ${root} but found neither. ${ggufHint(root) || instead}`.trim(),
    );
  }
  const found = indexText === null ? readSingle(root) : readShards(root, indexText);
  const used = new Set([...found.tensors.values()].map(({ file }) => path.basename(file)));
  if (indexText !== null) used.add(INDEX);
  const stray = fs.readdirSync(root).filter((name) => isWeightFile(name) && !used.has(name));
  if (stray.length > 0) {
    const source = indexText === null ? SINGLE : `the files that ${INDEX} names`;
    found.notes.push(`the weights of ${root} are read from ${source}; ${someOf(stray)} beside it is not used.`);
  }
  return found;
}

/** Files that a reader might take for this model's weights. */
function isWeightFile(name: string): boolean {
  return (
    name === INDEX ||
    (/\.(safetensors|gguf|bin|pth)$/.test(name) && !/^(adapter_model|training_args|optimizer|scheduler)\b/.test(name))
  );
}

function ggufHint(root: string): string {
  const found = fs.readdirSync(root).find((name) => name.endsWith(".gguf"));
  return found === undefined ? "" : `It holds a GGUF file; open that by its own path: ${path.join(root, found)}.`;
}

function readSingle(root: string): FoundWeights {
  const file = inFolder(root, SINGLE, SINGLE);
  const tensors = new Map<string, FoundTensor>();
  for (const [name, entry] of readSafetensorsHeader(file).tensors) tensors.set(name, { entry, file });
  return { tensors, notes: [] };
}

/** The tensors of the shards; where two hold one of a name, the index picks. */
function readShards(root: string, indexText: string): FoundWeights {
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
  const copies: string[] = [];
  for (const shard of [...new Set(listed.values())].sort()) {
    const file = inFolder(root, shard, `weight_map of ${INDEX}`);
    if (!fs.existsSync(file)) {
      throw new DataError(
        "checkpoint-shard",
        `Expected shard ${shard} in ${root}, named by ${INDEX}, but it is missing. Fetch it again.`,
      );
    }
    for (const [name, entry] of readSafetensorsHeader(file).tensors) {
      const place = listed.get(name);
      if (place === undefined) {
        throw new DataError(
          "checkpoint-shard",
          `Expected ${INDEX} to list every tensor of ${shard} but ${name} is not listed.`,
        );
      }
      if (place === shard) found.set(name, { entry, file });
      else copies.push(`${name} of ${shard}`);
    }
  }
  for (const [name, shard] of listed) {
    if (!found.has(name))
      throw new DataError(
        "checkpoint-shard",
        `Expected tensor ${name} in ${shard}, as ${INDEX} says, but it is not there.`,
      );
  }
  const notes =
    copies.length === 0 ? [] : [`${INDEX} in ${root} picks other copies than ${someOf(copies)}, which is not used.`];
  return { tensors: found, notes };
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
        expected(`shape [${shape.join(", ")}] (from the config)`, `${name} in ${file}`, `[${entry.shape.join(", ")}]`),
      );
    }
    const dtype = isBlockType(entry.dtype) ? entry.dtype : FLOAT_TYPES[entry.dtype.toUpperCase()];
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
