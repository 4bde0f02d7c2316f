/**
 * A Qwen2 model in llama.cpp's GGUF format: its config and tensors in the words of a Hugging Face folder.
 *
 * Reads one file, or all parts of a split one (model-00001-of-00003.gguf). Metadata keys and tensor names are those of llama.cpp's
 * gguf-py (constants.py); nothing is permuted, since Qwen2's rotary halves lie there as in the folder. Weights stay as they are on
 * disk and are decoded by the engine. Other architectures, unknown keys of this one and other tensor types are refused by name.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../base";
import { type GgufEntry, type GgufTable, type GgufValue, readGguf } from "../files";
import { modelConfigOf } from "./config";
import type { Fields } from "./fields";
import { attentionFactor } from "./rope";
import type { BlockType, ModelConfig, PlainType } from "./types";

/** What one GGUF model says, ready to be checked tensor by tensor. */
export interface GgufModel {
  /** the file, or the first part; absolute */
  path: string;
  config: ModelConfig;
  eosTokenIds: number[];
  /** by Hugging Face name */
  tensors: Map<string, { entry: GgufEntry; file: string }>;
  /** "Q4_K_M", or the tensor types where the file does not say */
  quantisation: string;
}

const PLAIN: readonly string[] = ["f64", "f32", "bf16", "f16"] satisfies PlainType[];
const BLOCKS: readonly string[] = [
  "q4_0",
  "q4_1",
  "q5_0",
  "q5_1",
  "q8_0",
  "q2_k",
  "q3_k",
  "q4_k",
  "q5_k",
  "q6_k",
] satisfies BlockType[];

/** Whether a tensor lies in quantised blocks. */
export function isBlockType(dtype: string): dtype is BlockType {
  return BLOCKS.includes(dtype);
}

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/**
 * Reads the head of a model file, and of its other parts.
 * @throws DataError "gguf-architecture", "gguf-part" (a part is missing or does not belong), "config-unsupported", "config-field",
 *   "checkpoint-tensor" for tensor types and names that are not read, and the codes of `readGguf`
 */
export function readGgufModel(file: string): GgufModel {
  const parts = readParts(path.resolve(file));
  const [{ file: first, metadata }] = parts;
  const architecture = metadata.get("general.architecture");
  if (architecture !== "qwen2") {
    throw new DataError(
      "gguf-architecture",
      expected(
        "general.architecture qwen2",
        first,
        String(architecture ?? "nothing"),
        "Only Qwen2 models are supported.",
      ),
    );
  }
  const tensors = namedTensors(parts, first);
  return {
    path: first,
    config: configOf(metadata, tensors, first),
    eosTokenIds: endTokens(metadata),
    tensors,
    quantisation: quantisationOf(metadata, tensors),
  };
}

/** Tables of the file and its other parts, in order. */
function readParts(file: string): GgufTable[] {
  const skip = ["tokenizer.ggml.merges", "tokenizer.ggml.scores"];
  const opened = readGguf(file, { skip });
  const count = opened.metadata.get("split.count") ?? 1;
  if (count === 1) return [opened];
  const match = PART.exec(path.basename(file));
  if (match === null || Number(match[3]) !== count) {
    throw new DataError(
      "gguf-part",
      expected(
        `a name that ends in -0000N-of-${String(count).padStart(5, "0")}.gguf`,
        "a file in parts",
        path.basename(file),
      ),
    );
  }
  return Array.from({ length: count }, (_, i) => {
    const part = path.join(path.dirname(file), `${match[1]}-${String(i + 1).padStart(5, "0")}-of-${match[3]}.gguf`);
    if (!fs.existsSync(part)) {
      throw new DataError(
        "gguf-part",
        `Expected ${part}, part ${i + 1} of ${count}, but it is missing. Put all parts in one folder.`,
      );
    }
    const table = readGguf(part, { skip });
    if (table.metadata.get("split.no") !== i || table.metadata.get("split.count") !== count)
      throw new DataError("gguf-part", expected(`part ${i + 1} of ${count}`, part, "another part"));
    return table;
  });
}

const LAYER_NAMES: Record<string, string> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
const OUTER_NAMES: Record<string, string> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

/** The Hugging Face name of a tensor, or null for one that a Qwen2 model does not have. */
function huggingFaceName(name: string): string | null {
  if (Object.hasOwn(OUTER_NAMES, name)) return OUTER_NAMES[name];
  const match = /^blk\.(\d+)\.([a-z_]+)\.(weight|bias)$/.exec(name);
  if (match === null || !Object.hasOwn(LAYER_NAMES, match[2])) return null;
  return `model.layers.${match[1]}.${LAYER_NAMES[match[2]]}.${match[3]}`;
}

function namedTensors(parts: readonly GgufTable[], first: string): GgufModel["tensors"] {
  const tensors: GgufModel["tensors"] = new Map();
  for (const { file, tensors: entries } of parts) {
    for (const entry of entries.values()) {
      const name = huggingFaceName(entry.name);
      if (name === null)
        throw new DataError("checkpoint-tensor", expected("only tensors of a Qwen2 model", first, entry.name));
      if (tensors.has(name))
        throw new DataError("gguf-part", `Expected tensor ${entry.name} in one part of ${first} but two hold it.`);
      if (!PLAIN.includes(entry.dtype) && !isBlockType(entry.dtype)) {
        const readable = [...PLAIN, ...BLOCKS].join(", ").toUpperCase();
        const remedy = "Use a file quantised to one of those, for instance Q4_K_M.";
        throw new DataError(
          "checkpoint-tensor",
          `Expected a tensor type of ${readable} for ${entry.name} in ${file} but received ${entry.dtype.toUpperCase()}. ${remedy}`,
        );
      }
      tensors.set(name, { entry, file });
    }
  }
  const expectedCount = parts[0].metadata.get("split.tensors.count");
  if (expectedCount !== undefined && expectedCount !== tensors.size)
    throw new DataError("gguf-part", expected(`${String(expectedCount)} tensors in all parts`, first, tensors.size));
  return tensors;
}

/** Keys of this architecture and what they are called in config.json; null: read elsewhere or without effect. */
const CONFIG_KEYS: Record<string, string | null> = {
  block_count: "num_hidden_layers",
  context_length: "max_position_embeddings",
  embedding_length: "hidden_size",
  feed_forward_length: "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.key_length": "head_dim",
  "attention.layer_norm_rms_epsilon": null,
  "attention.value_length": null,
  "attention.causal": null,
  "rope.dimension_count": null,
  "rope.freq_base": null,
  "rope.scaling.type": null,
  "rope.scaling.factor": null,
  "rope.scaling.original_context_length": null,
  "rope.scaling.attn_factor": null,
  "rope.scaling.finetuned": null,
  "rope.scaling.yarn_ext_factor": null,
  "rope.scaling.yarn_attn_factor": null,
  "rope.scaling.yarn_beta_fast": null,
  "rope.scaling.yarn_beta_slow": null,
  vocab_size: null,
};

function configOf(metadata: GgufTable["metadata"], tensors: GgufModel["tensors"], file: string): ModelConfig {
  const own = new Map(
    [...metadata].filter(([key]) => key.startsWith("qwen2.")).map(([key, value]) => [key.slice(6), value]),
  );
  const unknown = [...own.keys()].filter((key) => !Object.hasOwn(CONFIG_KEYS, key));
  if (unknown.length > 0) refuse(file, `qwen2.${unknown[0]}`, own.get(unknown[0]));
  const fields: Fields = { model_type: "qwen2", tie_word_embeddings: !tensors.has("lm_head.weight") };
  for (const [key, field] of Object.entries(CONFIG_KEYS))
    if (field !== null && own.has(key)) fields[field] = own.get(key);
  const vocabulary = tensors.get("model.embed_tokens.weight")?.entry.shape[0];
  fields.vocab_size = vocabulary ?? own.get("vocab_size");
  fields.rms_norm_eps = shortest(own.get("attention.layer_norm_rms_epsilon"));
  fields.rope_theta = shortest(own.get("rope.freq_base"));
  fields.rope_scaling = ropeFields(own, file);
  const config = modelConfigOf(fields, file);
  const agree: [string, number | boolean][] = [
    ["attention.value_length", config.head_dim],
    ["rope.dimension_count", config.head_dim],
    ["vocab_size", config.vocab_size],
    ["attention.causal", true],
  ];
  for (const [key, value] of agree)
    if (own.has(key) && own.get(key) !== value) refuse(file, `qwen2.${key}`, own.get(key));
  return config;
}

function refuse(file: string, key: string, value: GgufValue | undefined): never {
  throw new DataError(
    "config-unsupported",
    `Expected a plain Qwen2 model in ${file} but received ${key}: ${String(value).slice(0, 60)}, which may change its numbers and is not supported.`,
  );
}

/** The shortest decimal that rounds to this f32: 1e-6 was written as 9.999999974752427e-7. */
function shortest(value: GgufValue | undefined): GgufValue | undefined {
  if (typeof value !== "number") return value;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

/** `rope_scaling` in transformers' words; llama.cpp multiplies its attn_factor onto YaRN's own temperature. */
function ropeFields(own: ReadonlyMap<string, GgufValue>, file: string): Fields | null {
  const scaling = (key: string): GgufValue | undefined => shortest(own.get(`rope.scaling.${key}`));
  const kind = scaling("type") ?? "none";
  if (kind === "none") return null;
  if (kind !== "yarn") return { rope_type: kind };
  const blend = scaling("yarn_ext_factor") ?? 1;
  if (blend !== 1) refuse(file, "qwen2.rope.scaling.yarn_ext_factor", blend);
  const factor = scaling("factor");
  const strength = scaling("yarn_attn_factor") ?? scaling("attn_factor") ?? 1;
  const temper = typeof factor === "number" && typeof strength === "number" ? strength * attentionFactor(factor) : null;
  return {
    rope_type: "yarn",
    factor,
    original_max_position_embeddings: scaling("original_context_length"),
    attention_factor: temper,
    beta_fast: scaling("yarn_beta_fast"),
    beta_slow: scaling("yarn_beta_slow"),
  };
}

/** Texts of tokens that end a turn or a text in this family, whether or not the file's ids name them all. */
const END_TEXTS = ["<|im_end|>", "<|endoftext|>"];

function endTokens(metadata: GgufTable["metadata"]): number[] {
  const named = ["eos_token_id", "eot_token_id", "eom_token_id"].map((key) => metadata.get(`tokenizer.ggml.${key}`));
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const spelled = Array.isArray(tokens) ? END_TEXTS.map((text) => tokens.indexOf(text)) : [];
  const ids = [...named, ...spelled].filter((id): id is number => typeof id === "number" && id >= 0);
  return [...new Set(ids)];
}

/** llama.cpp's file types, as its quantiser calls them. */
const FILE_TYPES: Record<number, string> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  7: "Q8_0",
  8: "Q5_0",
  9: "Q5_1",
  10: "Q2_K",
  11: "Q3_K_S",
  12: "Q3_K_M",
  13: "Q3_K_L",
  14: "Q4_K_S",
  15: "Q4_K_M",
  16: "Q5_K_S",
  17: "Q5_K_M",
  18: "Q6_K",
  21: "Q2_K_S",
  32: "BF16",
};

function quantisationOf(metadata: GgufTable["metadata"], tensors: GgufModel["tensors"]): string {
  const said = metadata.get("general.file_type");
  if (typeof said === "number" && Object.hasOwn(FILE_TYPES, said)) return FILE_TYPES[said];
  const types = new Set([...tensors.values()].map(({ entry }) => entry.dtype.toUpperCase()));
  return [...types].sort().join("+");
}
