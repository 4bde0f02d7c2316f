/**
 * What a checkpoint is made of, in the words of the Hugging Face config.json and of PEFT: the model's shape, a tensor's place, an
 * adapter's tensors.
 */

/** Every linear map of a block that LoRA may adapt, in block order. */
export const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

export type Projection = (typeof PROJECTIONS)[number];

/** YaRN, with every default resolved; names as in transformers. */
export interface RopeScaling {
  rope_type: "yarn";
  factor: number;
  original_max_position_embeddings: number;
  /** on cosines and sines */
  attention_factor: number;
  beta_fast: number;
  beta_slow: number;
  truncate: boolean;
}

/** Types in which a tensor may lie on disk: plain numbers, or llama.cpp's blocks of quantised ones. */
export type PlainType = "f64" | "f32" | "bf16" | "f16";
export type BlockType = "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q8_0" | "q2_k" | "q3_k" | "q4_k" | "q5_k" | "q6_k";

/** The fields of a Qwen2 config.json that change its numbers; head_dim is always resolved. */
export interface ModelConfig {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  intermediate_size: number;
  vocab_size: number;
  max_position_embeddings: number;
  rope_theta: number;
  /** absent: plain positions */
  rope_scaling?: RopeScaling;
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
}

/** Where one tensor lies: bytes [byteOffset, byteOffset + byteLength) of `file`. */
export interface TensorLocation {
  name: string;
  file: string;
  dtype: PlainType | BlockType;
  shape: number[];
  byteOffset: number;
  byteLength: number;
}

/** One pair of an adapter: y += scaling (B A x + bias). Parts of one adapter may differ in r and scaling. */
export interface AdapterPart {
  layer: number;
  module: Projection;
  r: number;
  /** alpha / r, or alpha / sqrt(r) in rsLoRA */
  scaling: number;
  /** (r, in) */
  a: Float32Array;
  /** (out, r) */
  b: Float32Array;
  /** (out), added to B A x before scaling: PEFT's lora_bias; absent without */
  bias?: Float32Array;
}
