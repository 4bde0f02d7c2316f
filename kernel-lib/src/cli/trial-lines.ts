/**
 * `steerlab score` input: one JSON object a line -> checked trials, before any model is loaded.
 *
 * Line: {"id", "context": ids, "question": ids, "steering"?: [{"vector", "layers": [start, end), "magnitude", "span"?}],
 * "report"?: {"tokens"?: ids, "topK"?: n}}. Steering never touches question tokens: spans lie within the context.
 */
import { InputError } from "../errors";
import type { ModelConfig, Steering } from "../types";

/** One checked line of a score input. */
export interface ScoreTrial {
  id: string | number;
  context: number[];
  question: number[];
  steering: Steering[];
  wanted: number[];
  topK: number;
}

/** Checks one parsed line against the model's shapes; errors name file, line, field, value. */
export function readTrial(value: unknown, at: string, config: ModelConfig): ScoreTrial {
  const line = objectOf(value, at, ["id", "context", "question", "steering", "report"]);
  const id = line.id;
  if (typeof id !== "string" && typeof id !== "number") refuseLine(at, "id", "a string or a number", id);
  const context = idsOf(line.context, at, "context", config);
  const question = idsOf(line.question, at, "question", config);
  if (question.length === 0) refuseLine(at, "question", "at least one token id", "[]");
  const total = context.length + question.length;
  if (total > config.max_position_embeddings) {
    refuseLine(
      at,
      "context + question",
      `at most ${config.max_position_embeddings} tokens (max_position_embeddings)`,
      total,
    );
  }
  const report =
    line.report === undefined || line.report === null ? {} : objectOf(line.report, `${at}, report`, ["tokens", "topK"]);
  const topK = report.topK ?? 0;
  if (!Number.isInteger(topK) || (topK as number) < 0 || (topK as number) > config.vocab_size) {
    refuseLine(at, "report.topK", `a whole number from 0 to ${config.vocab_size}`, topK);
  }
  const wanted = idsOf(report.tokens ?? [], at, "report.tokens", config);
  const entries = line.steering ?? [];
  if (!Array.isArray(entries)) refuseLine(at, "steering", "a list", entries);
  const steering = (entries as unknown[]).map((entry, i) =>
    readSteering(entry, `${at}, steering[${i}]`, config, context.length),
  );
  return { id: id as string | number, context, question, steering, wanted, topK: topK as number };
}

function readSteering(value: unknown, at: string, config: ModelConfig, contextLength: number): Steering {
  const entry = objectOf(value, at, ["vector", "layers", "magnitude", "span"]);
  const vector = entry.vector;
  if (!Array.isArray(vector) || vector.length !== config.hidden_size) {
    refuseLine(
      at,
      "vector",
      `${config.hidden_size} numbers (hidden_size)`,
      Array.isArray(vector) ? `${vector.length} of them` : vector,
    );
  }
  for (const x of vector as unknown[]) finiteNumber(x, at, "vector");
  const direction = Float32Array.from(vector as number[]);
  return {
    direction,
    layers: rangeOf(entry.layers, at, "layers", config.num_hidden_layers),
    magnitude: finiteNumber(entry.magnitude, at, "magnitude"),
    span:
      entry.span === undefined || entry.span === null
        ? [0, contextLength]
        : rangeOf(entry.span, at, "span", contextLength),
  };
}

/** A plain object with no unknown keys: a misspelt field must not be ignored. */
export function objectOf(value: unknown, at: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    refuseLine(at, "line", "a JSON object", value);
  for (const key of Object.keys(value as object)) {
    if (!keys.includes(key)) refuseLine(at, "field", `one of ${keys.join(", ")}`, key);
  }
  return value as Record<string, unknown>;
}

/** Token ids within the vocabulary. */
export function idsOf(value: unknown, at: string, name: string, config: ModelConfig): number[] {
  if (!Array.isArray(value)) refuseLine(at, name, "a list of token ids", value);
  for (const id of value as unknown[]) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= config.vocab_size) {
      refuseLine(at, name, `token ids 0..${config.vocab_size - 1} (vocab_size ${config.vocab_size})`, id);
    }
  }
  return value as number[];
}

/** A half-open pair [start, end) within 0..limit. */
export function rangeOf(value: unknown, at: string, name: string, limit: number): [number, number] {
  const pair = value as [number, number];
  const whole = Array.isArray(value) && value.length === 2 && value.every(Number.isInteger);
  if (!whole || pair[0] < 0 || pair[0] > pair[1] || pair[1] > limit) {
    refuseLine(at, name, `a half-open pair [start, end) with 0 <= start <= end <= ${limit}`, JSON.stringify(value));
  }
  return [pair[0], pair[1]];
}

/** A finite number: JSON can say 1e999, which reads as Infinity. */
export function finiteNumber(value: unknown, at: string, name: string): number {
  if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) refuseLine(at, name, "a finite number", value);
  return value as number;
}

/** @throws InputError "bad-line": fact, value, and the place in the file */
export function refuseLine(at: string, name: string, what: string, received: unknown): never {
  const shown = typeof received === "string" ? received : (JSON.stringify(received) ?? "nothing");
  throw new InputError("bad-line", `Expected ${what} for ${name} but received ${shown.slice(0, 80)} (${at}).`);
}
