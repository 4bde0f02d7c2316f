/**
 * Validation before an engine runs, shared by the native and the ONNX engine: every message names the thing, the value and the
 * remedy. Level 1: no tokens, no files.
 */
import { expected, InputError } from "../base";
import type { ModelConfig } from "../checkpoint";
import type { ForwardOptions, GenerateOptions, Row, Steering } from "./types";

function positiveInteger(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/** @throws InputError "bad-config" naming the field */
export function checkRawConfig(config: ModelConfig): void {
  const integers = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
  ] as const;
  for (const field of integers) {
    if (!positiveInteger(config[field]))
      throw new InputError("bad-config", expected("a positive integer", field, config[field], "Check config.json."));
  }
}

/** Token ids as Int32Array. @throws InputError "bad-token", "empty-row" */
export function checkedTokens(tokens: ArrayLike<number>, name: string, config: ModelConfig): Int32Array {
  if (tokens.length === 0)
    throw new InputError(
      "empty-row",
      expected("at least one token", name, 0, "An empty sequence has no last position."),
    );
  const out = new Int32Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) out[i] = checkedToken(tokens[i], name, config);
  return out;
}

/** @throws InputError "bad-token" */
export function checkedToken(id: number, name: string, config: ModelConfig): number {
  if (!Number.isInteger(id) || id < 0 || id >= config.vocab_size) {
    throw new InputError(
      "bad-token",
      expected(`a token id in [0, ${config.vocab_size})`, name, id, "Encode the text with this model's tokenizer."),
    );
  }
  return id;
}

/** @throws InputError "layer-range", "span", "direction", "magnitude" */
export function checkSteering(plan: Steering, length: number, name: string, config: ModelConfig): void {
  const { direction, layers, magnitude, span } = plan;
  const depth = config.num_hidden_layers;
  if (direction.length !== config.hidden_size) {
    throw new InputError(
      "direction",
      expected(
        `a direction of ${config.hidden_size} numbers`,
        name,
        direction.length,
        "It must have the model's hidden_size.",
      ),
    );
  }
  checkHalfOpen("layer-range", layers, depth, "layer", name, `The model has ${depth} layers (0..${depth - 1}).`);
  if (span !== undefined) checkHalfOpen("span", span, length, "span", name, `The row has ${length} own tokens.`);
  if (!Number.isFinite(Math.fround(magnitude)))
    throw new InputError("magnitude", expected("a finite magnitude", name, magnitude, "Magnitude 0 is no steering."));
}

function checkHalfOpen(
  code: string,
  range: readonly [number, number],
  limit: number,
  what: string,
  name: string,
  remedy: string,
): void {
  const [start, end] = range;
  if (!Number.isInteger(end) || end > limit)
    throw new InputError(code, expected(`${what}End <= ${limit}`, name, end, remedy));
  if (!Number.isInteger(start) || start < 0 || start > end)
    throw new InputError(code, expected(`0 <= ${what}Start <= ${end}`, name, start, remedy));
}

/** @throws InputError "direction" when a number of it is not finite */
export function checkDirection(direction: Float32Array, name: string): void {
  for (let i = 0; i < direction.length; i++) {
    if (!Number.isFinite(direction[i]))
      throw new InputError(
        "direction",
        expected("finite numbers", `direction of ${name}`, direction[i], `Element ${i} is not a number.`),
      );
  }
}

/** The row that row `index` continues, or -1. @throws InputError "parent-row" */
export function checkedParent(row: Row, index: number): number {
  const parent = row.parent ?? -1;
  if (parent === -1) return -1;
  if (!Number.isInteger(parent) || parent < 0 || parent >= index) {
    throw new InputError(
      "parent-row",
      expected(
        `an earlier row (0..${index - 1})`,
        `parent of row ${index}`,
        parent,
        "A row may continue rows before it only.",
      ),
    );
  }
  if (row.cache) throw new InputError("parent-row", expected("parent or cache, not both,", `row ${index}`, "both"));
  return parent;
}

/** @throws InputError "top-k" */
export function checkedTopK(topK: number, config: ModelConfig): number {
  if (!Number.isInteger(topK) || topK < 0 || topK > config.vocab_size) {
    throw new InputError("top-k", expected(`an integer in [0, ${config.vocab_size}]`, "topK", topK));
  }
  return topK;
}

/** @throws InputError "layer-range" */
export function checkCapture(capture: NonNullable<ForwardOptions["capture"]>, config: ModelConfig): void {
  const depth = config.num_hidden_layers;
  for (const layer of capture.layers) {
    if (!Number.isInteger(layer) || layer < 0 || layer >= depth) {
      throw new InputError(
        "layer-range",
        expected(
          `a layer in [0, ${depth})`,
          "capture.layers",
          layer,
          `The model has ${depth} layers (0..${depth - 1}).`,
        ),
      );
    }
  }
}

/** Generation settings with their defaults; one seed per row. */
export interface CheckedGeneration {
  maxTokens: number;
  temperature: number;
  topP: number;
  stopIds: Int32Array;
  seeds: Float64Array;
}

/** @throws InputError "max-tokens", "temperature", "top-p", "bad-token", "seed" */
export function checkedGeneration(options: GenerateOptions, rows: number, config: ModelConfig): CheckedGeneration {
  const { maxTokens, temperature = 1, topP = 1 } = options;
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 1)
    throw new InputError("max-tokens", expected("an integer >= 1", "maxTokens", maxTokens));
  if (!(temperature >= 0) || !Number.isFinite(temperature))
    throw new InputError("temperature", expected("a number >= 0", "temperature", temperature, "0 is argmax."));
  if (!(topP > 0 && topP <= 1))
    throw new InputError("top-p", expected("0 < topP <= 1", "topP", topP, "1 keeps every token."));
  const stopIds = Int32Array.from(options.stopIds ?? [], (id) => checkedToken(id, "stopIds", config));
  return { maxTokens, temperature, topP, stopIds, seeds: rowSeeds(options.seed, rows) };
}

function rowSeeds(seed: number | readonly number[], rows: number): Float64Array {
  const seeds = typeof seed === "number" ? Array.from({ length: rows }, (_, i) => seed + i) : [...seed];
  if (seeds.length !== rows)
    throw new InputError("seed", expected(`${rows} seeds`, "seed", seeds.length, "Give one seed, or one per row."));
  for (const s of seeds)
    if (!Number.isSafeInteger(s) || s < 0) throw new InputError("seed", expected("an integer in [0, 2^53)", "seed", s));
  return Float64Array.from(seeds);
}
