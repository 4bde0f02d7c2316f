/**
 * `steerlab score` input: one JSON object a line -> checked trials, before any model is loaded.
 *
 * Line: {"id", "context": ids, "question": ids, "steering"?: [{"vector", "layers": [start, end), "magnitude", "span"?}],
 * "report": {"tokens"?: ids, "topK"?: n}}. Steering never touches question tokens: spans lie within the context.
 */
import {
  conversationOf,
  finiteNumber,
  finiteProduct,
  idOf,
  type ModelConfig,
  objectOf,
  rangeOf,
  refuseLine,
  steeredContext,
  tokensOf,
} from "../checkpoint";
import type { Steering } from "../engine";

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
export function parseTrial(value: unknown, at: string, config: ModelConfig): ScoreTrial {
  const line = objectOf(value, at, ["id", "context", "question", "steering", "report"]);
  const id = idOf(line.id, at);
  const { context, question } = conversationOf(line, at, config);
  const report = objectOf(line.report ?? {}, `${at}, report`, ["tokens", "topK"]);
  const topK = report.topK ?? 0;
  if (!Number.isInteger(topK) || (topK as number) < 0 || (topK as number) > config.vocab_size) {
    refuseLine(at, "report.topK", `a whole number from 0 to ${config.vocab_size}`, topK);
  }
  const wanted = tokensOf(report.tokens ?? [], at, "report.tokens", config);
  if (wanted.length === 0 && topK === 0)
    refuseLine(at, "report", "token ids in report.tokens or a report.topK above 0", line.report);
  const entries = line.steering ?? [];
  if (!Array.isArray(entries)) refuseLine(at, "steering", "a list", entries);
  steeredContext(entries as unknown[], at, context.length);
  const steering = (entries as unknown[]).map((entry, i) =>
    readSteering(entry, `${at}, steering[${i}]`, config, context.length),
  );
  return { id, context, question, steering, wanted, topK: topK as number };
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
  let largest = 0;
  for (const x of vector as unknown[]) largest = Math.max(largest, Math.abs(finiteNumber(x, at, "vector")));
  const direction = Float32Array.from(vector as number[]);
  const magnitude = finiteNumber(entry.magnitude, at, "magnitude");
  finiteProduct(largest, magnitude, at);
  return {
    direction,
    layers: rangeOf(entry.layers, at, "layers", config.num_hidden_layers),
    magnitude,
    span:
      entry.span === undefined || entry.span === null
        ? [0, contextLength]
        : rangeOf(entry.span, at, "span", contextLength),
  };
}
