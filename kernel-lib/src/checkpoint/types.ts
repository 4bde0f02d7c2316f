/**
 * What a checkpoint is made of, in the words of the Hugging Face config.json and of PEFT: the model's shape, a tensor's place, an
 * adapter's tensors.
 */

export type Projection = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

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
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
}

/** Where one tensor lies: bytes [byteOffset, byteOffset + byteLength) of `file`. */
export interface TensorLocation {
  name: string;
  file: string;
  dtype: "f64" | "f32" | "bf16" | "f16";
  shape: number[];
  byteOffset: number;
  byteLength: number;
}

export interface AdapterPart {
  layer: number;
  module: Projection;
  r: number;
  /** alpha / r */
  scaling: number;
  /** (r, in) */
  a: Float32Array;
  /** (out, r) */
  b: Float32Array;
}
