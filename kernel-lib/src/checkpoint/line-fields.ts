/**
 * Fields of one JSON line from outside, checked before any model is loaded: what trials and training examples share.
 *
 * Every refusal is an InputError "bad-line" that names field, value and the place in the file.
 */
import { InputError } from "../base";
import type { ModelConfig } from "./types";

/** A plain object with no unknown keys: a misspelt field must not be ignored. */
export function objectOf(value: unknown, at: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    refuseLine(at, "line", "a JSON object", value);
  for (const key of Object.keys(value as object)) {
    if (!keys.includes(key)) refuseLine(at, "field", `one of ${keys.join(", ")}`, key);
  }
  return value as Record<string, unknown>;
}

/** A name of the line: text or number. A whole number beyond 2^53 has lost digits while it was read: it would be another's name. */
export function idOf(value: unknown, at: string): string | number {
  if (typeof value !== "string" && typeof value !== "number") refuseLine(at, "id", "a string or a number", value);
  if (typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER)
    refuseLine(at, "id", "a number within +-(2^53 - 1), or a string", value);
  return value as string | number;
}

/** Token ids within the vocabulary. */
export function tokensOf(value: unknown, at: string, name: string, config: ModelConfig): number[] {
  if (!Array.isArray(value)) refuseLine(at, name, "a list of token ids", value);
  for (const id of value as unknown[]) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= config.vocab_size) {
      refuseLine(at, name, `token ids 0..${config.vocab_size - 1} (vocab_size ${config.vocab_size})`, id);
    }
  }
  return value as number[];
}

/** Context and question of a line, together within the model's positions. Without a context the bare question is asked. */
export function conversationOf(
  line: Record<string, unknown>,
  at: string,
  config: ModelConfig,
): { context: number[]; question: number[] } {
  const context = tokensOf(line.context, at, "context", config);
  const question = tokensOf(line.question, at, "question", config);
  if (question.length === 0) refuseLine(at, "question", "at least one token id", question);
  const length = context.length + question.length;
  if (length > config.max_position_embeddings) {
    const limit = `at most ${config.max_position_embeddings} tokens (max_position_embeddings)`;
    refuseLine(at, "context + question", limit, length);
  }
  return { context, question };
}

/** The entries of a line's steering, which needs a context to act on. */
export function steeredContext(entries: readonly unknown[], at: string, contextLength: number): void {
  if (entries.length > 0 && contextLength === 0)
    refuseLine(at, "context", "at least one token id to steer (a bare question is asked without steering)", []);
}

/** Refuses a steering vector that overflows 32 bits once it is as long as its magnitude says. */
export function finiteProduct(largest: number, magnitude: number, at: string): void {
  if (!Number.isFinite(Math.fround(largest * magnitude)))
    refuseLine(at, "magnitude", "a product with its vector within 32 bits", magnitude);
}

/** A half-open pair [start, end) within 0..limit. */
export function rangeOf(value: unknown, at: string, name: string, limit: number): [number, number] {
  const pair = value as [number, number];
  const whole = Array.isArray(value) && value.length === 2 && value.every(Number.isInteger);
  if (!whole || pair[0] < 0 || pair[0] > pair[1] || pair[1] > limit)
    refuseLine(at, name, `a half-open pair [start, end) with 0 <= start <= end <= ${limit}`, value);
  return [pair[0], pair[1]];
}

/** A number that stays finite in 32 bits: JSON can say 1e999, which reads as Infinity. */
export function finiteNumber(value: unknown, at: string, name: string): number {
  if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) refuseLine(at, name, "a finite number", value);
  return value as number;
}

/** @throws InputError "bad-line": fact, value, and the place in the file */
export function refuseLine(at: string, name: string, what: string, received: unknown): never {
  const shown = typeof received === "number" ? String(received) : (JSON.stringify(received) ?? "nothing");
  throw new InputError("bad-line", `Expected ${what} for ${name} but received ${shown.slice(0, 80)} (${at}).`);
}
