// An adapter's parts as the trainer's flat array, and back.
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { loraTensorName, type ModelConfig, projectionShape, readAdapter } from "../../../kernel-lib/src/checkpoint";
import type { TrainerTensor } from "../../../kernel-lib/src/engine";
import { flatFromParts, partsFromFlat } from "../../../kernel-lib/src/train";

const peft = path.join(__dirname, "..", "..", "fixtures", "adapter", "peft");
const config: ModelConfig = {
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 6,
  intermediate_size: 12,
  vocab_size: 16,
  max_position_embeddings: 32,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

describe("flat parameters", () => {
  it("go to parts and back", async () => {
    const { parts, lora } = await readAdapter(peft, { config, name: null });
    const layout: TrainerTensor[] = [];
    let offset = 3; // a layout may leave room in front
    for (const { layer, module } of parts) {
      const [out, input] = projectionShape(config, module);
      for (const [which, shape] of [
        ["A", [3, input]],
        ["B", [out, 3]],
      ] as const) {
        layout.push({
          name: loraTensorName(layer, module, which),
          layer,
          module,
          which,
          shape: [shape[0], shape[1]],
          offset,
        });
        offset += shape[0] * shape[1];
      }
    }
    const flat = flatFromParts(layout, parts);
    expect(flat.length).toBe(offset);
    expect(partsFromFlat(layout, Float64Array.from(flat), lora)).toEqual(parts);
    expect(() => flatFromParts(layout, parts.slice(1))).toThrowError(/layers\.0\.self_attn\.q_proj/);
  });
});
