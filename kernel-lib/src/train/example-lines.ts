/**
 * Training examples as data: one JSON object a line, tokens in, checked before any model is loaded.
 *
 * Line: {"id", "context": ids, "question": ids, "labels": [idA, idB], "target": 0|1, "steering": null | entry | [entries]},
 * entry = {"vectorIndex", "layers": [start, end), "magnitude"}: it covers the whole context, never the question.
 */
import { InputError } from "../errors";
import type { Example, ModelConfig, Steering } from "../types";

/** One steering entry that names its direction by index. */
export interface SteeringEntry {
  vectorIndex: number;
  /** half-open block range */
  layers: [number, number];
  /** L2 length for a unit direction */
  magnitude: number;
}

/** A training example on disk. */
export interface TrainExample {
  id: string | number;
  context: number[];
  question: number[];
  labels: [number, number];
  target: 0 | 1;
  /** null: clean */
  steering: SteeringEntry | SteeringEntry[] | null;
}

const FIELDS = ["id", "context", "question", "labels", "target", "steering"];
const ENTRY_FIELDS = ["vectorIndex", "layers", "magnitude"];

/**
 * Checks one parsed line against the model's shapes and the number of vectors.
 *
 * @param at file and line, for the error sentence
 * @throws InputError "bad-line" naming place, field and value
 */
export function readTrainExample(value: unknown, at: string, config: ModelConfig, vectorCount: number): TrainExample {
  const line = fieldsOf(value, at, FIELDS);
  if (typeof line.id !== "string" && typeof line.id !== "number") fail(at, "id", "a string or a number", line.id);
  const context = tokensOf(line.context, at, "context", config);
  const question = tokensOf(line.question, at, "question", config);
  if (context.length === 0 || question.length === 0)
    fail(at, "context and question", "at least one token each", "none");
  const length = context.length + question.length;
  if (length > config.max_position_embeddings) {
    fail(
      at,
      "context + question",
      `at most ${config.max_position_embeddings} tokens (max_position_embeddings)`,
      length,
    );
  }
  const labels = tokensOf(line.labels, at, "labels", config);
  if (labels.length !== 2 || labels[0] === labels[1]) fail(at, "labels", "two different token ids", line.labels);
  if (line.target !== 0 && line.target !== 1) fail(at, "target", "0 or 1 (index into labels)", line.target);
  return {
    id: line.id as string | number,
    context,
    question,
    labels: labels as [number, number],
    target: line.target as 0 | 1,
    steering: steeringOf(line.steering, at, config, vectorCount),
  };
}

function steeringOf(value: unknown, at: string, config: ModelConfig, vectorCount: number): TrainExample["steering"] {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value))
    return value.map((entry, i) => entryOf(entry, `${at}, steering[${i}]`, config, vectorCount));
  return entryOf(value, `${at}, steering`, config, vectorCount);
}

function entryOf(value: unknown, at: string, config: ModelConfig, vectorCount: number): SteeringEntry {
  const entry = fieldsOf(value, at, ENTRY_FIELDS);
  const index = entry.vectorIndex as number;
  if (!Number.isInteger(index) || index < 0 || index >= vectorCount)
    fail(at, "vectorIndex", `0..${vectorCount - 1} (rows of the vectors file)`, entry.vectorIndex);
  const layers = entry.layers as [number, number];
  const L = config.num_hidden_layers;
  const whole = Array.isArray(layers) && layers.length === 2 && layers.every(Number.isInteger);
  if (!whole || layers[0] < 0 || layers[0] > layers[1] || layers[1] > L)
    fail(at, "layers", `a half-open pair [start, end) with 0 <= start <= end <= ${L}`, layers);
  if (typeof entry.magnitude !== "number" || !Number.isFinite(entry.magnitude))
    fail(at, "magnitude", "a finite number", entry.magnitude);
  return { vectorIndex: index, layers: [layers[0], layers[1]], magnitude: entry.magnitude as number };
}

/** The engine's form of an example; directions are shared, not copied. */
export function engineExample(example: TrainExample, vectors: readonly Float32Array[]): Example {
  const entries =
    example.steering === null ? [] : Array.isArray(example.steering) ? example.steering : [example.steering];
  const steering = entries.map(
    (entry): Steering => ({ direction: vectors[entry.vectorIndex], layers: entry.layers, magnitude: entry.magnitude }),
  );
  return {
    context: example.context,
    question: example.question,
    labels: example.labels,
    target: example.target,
    steering,
  };
}

function fieldsOf(value: unknown, at: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(at, "value", "a JSON object", value);
  for (const key of Object.keys(value as object))
    if (!known.includes(key)) fail(at, "field", `one of ${known.join(", ")}`, key);
  return value as Record<string, unknown>;
}

function tokensOf(value: unknown, at: string, name: string, config: ModelConfig): number[] {
  if (!Array.isArray(value)) fail(at, name, "a list of token ids", value);
  for (const id of value as unknown[]) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= config.vocab_size)
      fail(at, name, `token ids 0..${config.vocab_size - 1}`, id);
  }
  return value as number[];
}

function fail(at: string, name: string, what: string, received: unknown): never {
  const shown = typeof received === "string" ? received : (JSON.stringify(received) ?? "nothing");
  throw new InputError("bad-line", `Expected ${what} for ${name} but received ${shown.slice(0, 80)} (${at}).`);
}
