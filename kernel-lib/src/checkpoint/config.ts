/**
 * config.json -> `ModelConfig`: the numbers of a Qwen2 model, or a refusal that names the field it cannot honour.
 *
 * A field that would change the model's numbers and is not supported is never ignored: scaled rotary positions, sliding
 * windows, quantised weights, other architectures. Absent fields take the defaults of the published Qwen2 configuration
 * class. `rope_theta` may stand at the top level (transformers 4) or in `rope_parameters` (transformers 5).
 */
import { DataError, expected } from "../base";
import { parseJsonStrict } from "../files";
import type { ModelConfig } from "./types";

/** Sizes beyond these are damage, not models; they also keep every product below 2^53. */
const MAX_SIZE = 1 << 24;
const MAX_LAYERS = 1 << 12;

type Fields = Record<string, unknown>;

function unsupported(name: string, field: string, value: unknown, remedy: string): never {
  const shown = JSON.stringify(value) ?? "nothing";
  throw new DataError(
    "config-unsupported",
    `Expected a plain Qwen2 model in ${name} but received ${field}: ${shown.slice(0, 80)}. ${remedy}`,
  );
}

function sizeField(
  fields: Fields,
  field: string,
  name: string,
  fallback: number | null,
  limit: number = MAX_SIZE,
): number {
  const value = fields[field] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > limit) {
    throw new DataError(
      "config-field",
      expected(`an integer 1..${limit}`, `${field} in ${name}`, JSON.stringify(fields[field]) ?? "nothing"),
    );
  }
  return value;
}

function positiveField(value: unknown, field: string, name: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
    throw new DataError(
      "config-field",
      expected("a positive number", `${field} in ${name}`, JSON.stringify(value) ?? "nothing"),
    );
  }
  return value;
}

function booleanField(fields: Fields, field: string, name: string, fallback: boolean): boolean {
  const value = fields[field] ?? fallback;
  if (typeof value !== "boolean")
    throw new DataError("config-field", expected("true or false", `${field} in ${name}`, JSON.stringify(value)));
  return value;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Refuses, by name, everything that would give other numbers than a plain Qwen2 model. */
function refuseUnsupported(fields: Fields, name: string): void {
  const only = "Only Qwen2ForCausalLM checkpoints are supported.";
  if (fields.model_type !== "qwen2") unsupported(name, "model_type", fields.model_type, only);
  const architectures = fields.architectures ?? ["Qwen2ForCausalLM"];
  if (!Array.isArray(architectures) || architectures.length !== 1 || architectures[0] !== "Qwen2ForCausalLM") {
    unsupported(name, "architectures", architectures, only);
  }
  if ((fields.quantization_config ?? null) !== null) {
    unsupported(
      name,
      "quantization_config",
      fields.quantization_config,
      "Quantised weights are not supported; use the bf16 checkpoint.",
    );
  }
  if (booleanField(fields, "use_sliding_window", name, false)) {
    unsupported(name, "use_sliding_window", true, "Sliding-window attention is not supported.");
  }
  const layerTypes = fields.layer_types ?? [];
  if (!Array.isArray(layerTypes) || layerTypes.some((type) => type !== "full_attention")) {
    unsupported(name, "layer_types", layerTypes, "Only full_attention layers are supported.");
  }
  const activation = fields.hidden_act ?? "silu";
  if (activation !== "silu") unsupported(name, "hidden_act", activation, "Only silu is supported.");
  if ((fields.attention_bias ?? true) !== true) {
    unsupported(name, "attention_bias", fields.attention_bias, "Qwen2 has biases on q, k and v.");
  }
  if ((fields.mlp_bias ?? false) !== false)
    unsupported(name, "mlp_bias", fields.mlp_bias, "Qwen2 has no biases in its MLP.");
  if ((fields.attention_dropout ?? 0) !== 0) {
    unsupported(
      name,
      "attention_dropout",
      fields.attention_dropout,
      "Dropout inside attention is not supported; set it to 0.",
    );
  }
  if ((fields.use_mrope ?? false) !== false)
    unsupported(name, "use_mrope", fields.use_mrope, "Multimodal positions are not supported.");
}

/** The rotary base, from either place; refuses every scaling of positions. */
function ropeTheta(fields: Fields, name: string): number {
  for (const field of ["rope_scaling", "rope_parameters"] as const) {
    const rope = fields[field] ?? null;
    if (rope === null) continue;
    const remedy = "Only unscaled rotary positions (rope_type default) are supported.";
    if (!isObject(rope)) unsupported(name, field, rope, remedy);
    const kind = rope.rope_type ?? rope.type ?? "default";
    const extra = Object.keys(rope).filter((key) => !["rope_type", "type", "rope_theta"].includes(key));
    if (
      kind !== "default" ||
      (extra.length > 0 && !(extra.join() === "partial_rotary_factor" && rope.partial_rotary_factor === 1))
    ) {
      unsupported(name, field, rope, remedy);
    }
  }
  if ((fields.partial_rotary_factor ?? 1) !== 1) {
    unsupported(name, "partial_rotary_factor", fields.partial_rotary_factor, "Only fully rotated heads are supported.");
  }
  const inner = isObject(fields.rope_parameters) ? fields.rope_parameters.rope_theta : undefined;
  const outer = fields.rope_theta;
  if (inner !== undefined && outer !== undefined && inner !== outer) {
    throw new DataError(
      "config-field",
      expected(`one rope_theta`, name, `${String(outer)} at the top level and ${String(inner)} in rope_parameters`),
    );
  }
  return positiveField(inner ?? outer ?? 10_000, "rope_theta", name);
}

/**
 * Reads the text of a config.json.
 *
 * @param text JSON text
 * @param name path, for error sentences
 * @returns all fields resolved; head_dim = hidden_size / num_attention_heads unless given
 * @throws DataError "config-unsupported" naming the field that is not supported; "config-field" for a missing or
 *   impossible value; "json-syntax", "json-duplicate-key"
 *
 * @example
 * parseModelConfig(fs.readFileSync("config.json", "utf8"), "config.json").num_hidden_layers; // 64
 */
export function parseModelConfig(text: string, name = "config.json"): ModelConfig {
  const fields = parseJsonStrict(text, name);
  if (!isObject(fields)) throw new DataError("config-field", expected("a JSON object", name, text.slice(0, 40)));
  refuseUnsupported(fields, name);
  const hidden = sizeField(fields, "hidden_size", name, null);
  const heads = sizeField(fields, "num_attention_heads", name, null);
  const kvHeads = sizeField(fields, "num_key_value_heads", name, heads);
  if (heads % kvHeads !== 0) {
    throw new DataError(
      "config-field",
      expected(`a divisor of num_attention_heads (${heads})`, `num_key_value_heads in ${name}`, kvHeads),
    );
  }
  const explicitHeadDim = (fields.head_dim ?? null) !== null;
  if (!explicitHeadDim && hidden % heads !== 0) {
    throw new DataError(
      "config-field",
      expected(`a multiple of num_attention_heads (${heads}), or a head_dim,`, `hidden_size in ${name}`, hidden),
    );
  }
  const headDim = explicitHeadDim ? sizeField(fields, "head_dim", name, null) : hidden / heads;
  if (headDim % 2 !== 0)
    throw new DataError("config-field", expected("an even number (rotary pairs)", `head_dim in ${name}`, headDim));
  return {
    hidden_size: hidden,
    num_hidden_layers: sizeField(fields, "num_hidden_layers", name, null, MAX_LAYERS),
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    intermediate_size: sizeField(fields, "intermediate_size", name, null),
    vocab_size: sizeField(fields, "vocab_size", name, null),
    max_position_embeddings: sizeField(fields, "max_position_embeddings", name, 32_768),
    rope_theta: ropeTheta(fields, name),
    rms_norm_eps: positiveField(fields.rms_norm_eps ?? 1e-6, "rms_norm_eps", name),
    tie_word_embeddings: booleanField(fields, "tie_word_embeddings", name, false),
  };
}
