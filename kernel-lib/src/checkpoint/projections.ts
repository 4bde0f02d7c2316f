/**
 * The linear maps of a block: their names in a checkpoint and in PEFT's files, their shapes, and how many LoRA values they take.
 *
 * The one table of these shapes: checkpoints, adapters, trainers and exports are held against it.
 */
import type { ModelConfig, Projection } from "./types";

/** (out, in) of one linear map of a block. */
export function projectionShape(config: ModelConfig, projection: Projection): [out: number, input: number] {
  const { hidden_size: C, intermediate_size: F, head_dim: D } = config;
  switch (projection) {
    case "q_proj":
      return [config.num_attention_heads * D, C];
    case "k_proj":
    case "v_proj":
      return [config.num_key_value_heads * D, C];
    case "o_proj":
      return [C, config.num_attention_heads * D];
    case "gate_proj":
    case "up_proj":
      return [F, C];
    case "down_proj":
      return [C, F];
  }
}

/** PEFT's name of a linear map within the base model: model.layers.3.self_attn.q_proj. */
export function moduleName(layer: number, projection: Projection): string {
  const block = ["gate_proj", "up_proj", "down_proj"].includes(projection) ? "mlp" : "self_attn";
  return `model.layers.${layer}.${block}.${projection}`;
}

/** PEFT's tensor name without "base_model.model.", as in `TrainerTensor.name`. */
export function loraTensorName(layer: number, projection: Projection, which: "A" | "B"): string {
  return `${moduleName(layer, projection)}.lora_${which}.weight`;
}

/** Values of a LoRA of rank r on `targets` of every layer: A (r, in) and B (out, r) of each. */
export function loraParameterCount(config: ModelConfig, r: number, targets: readonly Projection[]): number {
  const widths = targets.map((target) => {
    const [out, input] = projectionShape(config, target);
    return out + input;
  });
  return config.num_hidden_layers * r * widths.reduce((sum, width) => sum + width, 0);
}
