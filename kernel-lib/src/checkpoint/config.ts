/**
 * config.json -> `ModelConfig`: the numbers of a Qwen2 model, or a refusal that names the field it cannot honour.
 *
 * A field that would change the model's numbers and is not supported is never ignored: sliding windows, quantised weights, other
 * architectures, unknown scalings of positions (rope.ts); a field that is not known at all is named (`configNotes`). Absent fields
 * take the defaults of the published Qwen2 configuration class.
 */
import { DataError, expected } from "../base";
import { parseJsonStrict } from "../files";
import { booleanField, type Fields, isObject, positiveField, sizeField, unsupported } from "./fields";
import { parseRope } from "./rope";
import type { ModelConfig } from "./types";

const MAX_LAYERS = 1 << 12;

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
  return modelConfigOf(fields, name);
}

/** `parseModelConfig` of fields in the words of config.json, wherever they come from. */
export function modelConfigOf(fields: Fields, name: string): ModelConfig {
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
  const maxPositions = sizeField(fields, "max_position_embeddings", name, 32_768);
  const { theta, scaling } = parseRope(fields, maxPositions, name);
  return {
    hidden_size: hidden,
    num_hidden_layers: sizeField(fields, "num_hidden_layers", name, null, MAX_LAYERS),
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    intermediate_size: sizeField(fields, "intermediate_size", name, null),
    vocab_size: sizeField(fields, "vocab_size", name, null),
    max_position_embeddings: maxPositions,
    rope_theta: theta,
    ...(scaling === null ? {} : { rope_scaling: scaling }),
    rms_norm_eps: positiveField(fields.rms_norm_eps ?? 1e-6, "rms_norm_eps", name),
    tie_word_embeddings: booleanField(fields, "tie_word_embeddings", name, false),
  };
}

/** Fields that other tools write and that change no number of a forward pass. */
const INERT = new Set(
  `architectures model_type torch_dtype dtype transformers_version use_cache initializer_range max_window_layers sliding_window
  bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id return_dict output_attentions output_hidden_states
  id2label label2id problem_type is_decoder is_encoder_decoder add_cross_attention tie_encoder_decoder chunk_size_feed_forward
  pruned_heads finetuning_task task_specific_params torchscript use_bfloat16 tf_legacy_loss prefix tokenizer_class
  name_or_path gradient_checkpointing attn_implementation pretraining_tp do_sample temperature top_p top_k typical_p
  repetition_penalty max_length min_length max_new_tokens num_beams num_beam_groups num_return_sequences early_stopping
  length_penalty diversity_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids forced_bos_token_id
  forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
  output_scores return_dict_in_generate cross_attention_hidden_size`.split(/\s+/),
);

/** Fields that are read (or refused) above. */
const READ = new Set(
  `hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim intermediate_size vocab_size
  max_position_embeddings original_max_position_embeddings rope_theta rope_scaling rope_parameters partial_rotary_factor
  rms_norm_eps tie_word_embeddings quantization_config use_sliding_window layer_types hidden_act attention_bias mlp_bias
  attention_dropout use_mrope`.split(/\s+/),
);

/**
 * One sentence for each thing that a config asks for and that is not applied, so that nothing is dropped in silence.
 * @param text of a config.json that `parseModelConfig` has taken
 */
export function configNotes(text: string, name = "config.json"): string[] {
  const fields = parseJsonStrict(text, name) as Fields;
  const notes: string[] = [];
  const chunked = fields.dual_chunk_attention_config ?? null;
  if (chunked !== null) {
    const size = isObject(chunked) && typeof chunked.chunk_size === "number" ? chunked.chunk_size : "its chunk size in";
    notes.push(
      `dual_chunk_attention_config in ${name} is not applied (nor by transformers): beyond ${size} tokens engines that apply it compute other numbers.`,
    );
  }
  const inert = (field: string): boolean => INERT.has(field) || /^(_|unsloth|steerlab_)/.test(field);
  const unknown = Object.keys(fields).filter(
    (field) =>
      !READ.has(field) && !inert(field) && field !== "dual_chunk_attention_config" && (fields[field] ?? null) !== null,
  );
  if (unknown.length > 0)
    notes.push(`${name} has fields that are not known here and not applied: ${unknown.slice(0, 8).join(", ")}.`);
  return notes;
}
