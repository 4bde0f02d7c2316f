/**
 * The shapes of the Qwen2.5 family, to measure and test the engine at real sizes with random weights.
 *
 * Facts of the published config.json files; no weights. A random model answers nothing, and no report takes it for a trained one.
 */
import { expected, InputError } from "../base";
import type { ModelConfig } from "./types";
import { modelTensors } from "./weights";

function shape(
  hidden: number,
  layers: number,
  heads: number,
  kvHeads: number,
  intermediate: number,
  vocabulary: number,
  tied: boolean,
): ModelConfig {
  return {
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: hidden / heads,
    intermediate_size: intermediate,
    vocab_size: vocabulary,
    max_position_embeddings: 32768,
    rope_theta: 1e6,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: tied,
  };
}

/** Qwen2.5 sizes by name (the Coder models of a size share its shape). */
export const QWEN2_SHAPES: Readonly<Record<string, ModelConfig>> = {
  "0.5B": shape(896, 24, 14, 2, 4864, 151936, true),
  "1.5B": shape(1536, 28, 12, 2, 8960, 151936, true),
  "3B": shape(2048, 36, 16, 2, 11008, 151936, true),
  "7B": shape(3584, 28, 28, 4, 18944, 152064, false),
  "14B": shape(5120, 48, 40, 8, 13824, 152064, false),
  "32B": shape(5120, 64, 40, 8, 27648, 152064, false),
};

/**
 * The shape of a Qwen2.5 size.
 * @throws InputError "unknown-shape"
 * @example
 * qwen2Shape("0.5B").hidden_size; // 896
 */
export function qwen2Shape(size: string): ModelConfig {
  const found = QWEN2_SHAPES[size];
  if (found === undefined) {
    throw new InputError("unknown-shape", expected(`one of ${Object.keys(QWEN2_SHAPES).join(", ")}`, "shape", size));
  }
  return { ...found };
}

/** Parameters of a shape: every weight, bias and norm; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  return modelTensors(config).reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}
