/**
 * Training examples as data: one JSON object a line, tokens in, checked before any model is loaded.
 *
 * Line: {"id", "context": ids, "question": ids, "labels": [idA, idB], "target": 0|1, "steering": null | entry | [entries], "weight"?},
 * or "positions": K in place of labels and target: the base model's own distribution at the question's last K positions is kept;
 * entry = {"vectorIndex", "layers": [start, end), "magnitude"}: it covers the whole context, never the question. An empty context
 * asks the bare question, without steering.
 */
import {
  conversationOf,
  finiteNumber,
  idOf,
  type ModelConfig,
  objectOf,
  rangeOf,
  refuseLine,
  steeredContext,
  tokensOf,
} from "../checkpoint";
import type { Steering, TrainingExample } from "../engine";

/** One steering entry that names its direction by index. */
export interface SteeringEntry {
  vectorIndex: number;
  /** half-open block range */
  layers: [number, number];
  /** L2 length for a unit direction */
  magnitude: number;
}

/** What every training example has. */
interface Lesson {
  id: string | number;
  context: number[];
  question: number[];
  /** null: clean */
  steering: SteeringEntry | SteeringEntry[] | null;
  /** factor of its loss; default 1 */
  weight?: number;
}

/** An example with a right answer. */
export interface LabelExample extends Lesson {
  labels: [number, number];
  target: 0 | 1;
}

/** An example that keeps the model as it was: compared with the base's own distribution at the question's last `positions` tokens. */
export interface KeepExample extends Lesson {
  positions: number;
}

/** A training example on disk. */
export type TrainExample = LabelExample | KeepExample;

const FIELDS = ["id", "context", "question", "labels", "target", "positions", "weight", "steering"];
const ENTRY_FIELDS = ["vectorIndex", "layers", "magnitude"];

/**
 * Checks one parsed line against the model's shapes and the number of vectors.
 *
 * @param at file and line, for the error sentence
 * @throws InputError "bad-line" naming place, field and value
 */
export function parseTrainExample(value: unknown, at: string, config: ModelConfig, vectorCount: number): TrainExample {
  const line = objectOf(value, at, FIELDS);
  const id = idOf(line.id, at);
  const { context, question } = conversationOf(line, at, config);
  const steering = steeringOf(line.steering, at, context.length, config, vectorCount);
  const weight = weightOf(line.weight, at);
  const lesson = { id, context, question, steering, ...(weight === undefined ? {} : { weight }) };
  if (line.positions !== undefined) return { ...lesson, positions: positionsOf(line, at, question.length) };
  const labels = tokensOf(line.labels, at, "labels", config);
  if (labels.length !== 2 || labels[0] === labels[1]) refuseLine(at, "labels", "two different token ids", line.labels);
  if (line.target !== 0 && line.target !== 1) refuseLine(at, "target", "0 or 1 (index into labels)", line.target);
  return { ...lesson, labels: labels as [number, number], target: line.target as 0 | 1 };
}

/** `positions` stands in place of `labels` and `target`. */
function positionsOf(line: Record<string, unknown>, at: string, tokens: number): number {
  const { positions } = line;
  if (line.labels !== undefined || line.target !== undefined)
    refuseLine(at, "positions", "either positions, or labels and target", positions);
  if (!Number.isInteger(positions) || (positions as number) < 1 || (positions as number) > tokens)
    refuseLine(at, "positions", `1..${tokens} (tokens of the question)`, positions);
  return positions as number;
}

function weightOf(value: unknown, at: string): number | undefined {
  if (value === undefined) return undefined;
  const weight = finiteNumber(value, at, "weight");
  if (weight < 0) refuseLine(at, "weight", "a number >= 0", value);
  return weight;
}

function steeringOf(
  value: unknown,
  at: string,
  contextLength: number,
  config: ModelConfig,
  vectorCount: number,
): TrainExample["steering"] {
  if (value === null || value === undefined) return null;
  steeredContext([value].flat(), at, contextLength);
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
export function engineExample(example: TrainExample, vectors: readonly Float32Array[]): TrainingExample {
  const entries =
    example.steering === null ? [] : Array.isArray(example.steering) ? example.steering : [example.steering];
  const steering = entries.map(
    (entry): Steering => ({ direction: vectors[entry.vectorIndex], layers: entry.layers, magnitude: entry.magnitude }),
  );
  const { context, question, weight } = example;
  const lesson = { context, question, steering, weight };
  return "positions" in example
    ? { ...lesson, positions: example.positions }
    : { ...lesson, labels: example.labels, target: example.target };
}

/** The right label of an example; null for one that has none. */
export function targetOf(example: TrainExample): 0 | 1 | null {
  return "positions" in example ? null : example.target;
}
