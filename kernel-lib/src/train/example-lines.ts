/**
 * Training examples as data: one JSON object a line, tokens in, checked before any model is loaded.
 *
 * Line: {"id", "context": ids, "question": ids, "labels": [idA, idB], "target": 0|1, "steering": null | entry | [entries]},
 * entry = {"vectorIndex", "layers": [start, end), "magnitude"}: it covers the whole context, never the question.
 */
import {
  conversationOf,
  finiteNumber,
  idOf,
  type ModelConfig,
  objectOf,
  rangeOf,
  refuseLine,
  tokensOf,
} from "../checkpoint";
import type { Example, Steering } from "../engine";

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
  const line = objectOf(value, at, FIELDS);
  const id = idOf(line.id, at);
  const { context, question } = conversationOf(line, at, config);
  const labels = tokensOf(line.labels, at, "labels", config);
  if (labels.length !== 2 || labels[0] === labels[1]) refuseLine(at, "labels", "two different token ids", line.labels);
  if (line.target !== 0 && line.target !== 1) refuseLine(at, "target", "0 or 1 (index into labels)", line.target);
  return {
    id,
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
  const entry = objectOf(value, at, ENTRY_FIELDS);
  const index = entry.vectorIndex;
  if (!Number.isInteger(index) || (index as number) < 0 || (index as number) >= vectorCount)
    refuseLine(at, "vectorIndex", `0..${vectorCount - 1} (rows of the vectors file)`, index);
  return {
    vectorIndex: index as number,
    layers: rangeOf(entry.layers, at, "layers", config.num_hidden_layers),
    magnitude: finiteNumber(entry.magnitude, at, "magnitude"),
  };
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
