/**
 * The flat arrays of a native forward result -> one result per row.
 */
import type { NativeForward, NativeForwardResult } from "@steerlab/native";
import type { ModelConfig } from "../../checkpoint";
import type { Cache, PositionReport, Row, RowResult } from "../types";

/** Result of every row, in order. */
export function unpackRows(
  rows: readonly Row[],
  request: NativeForward,
  result: NativeForwardResult,
  config: ModelConfig,
  toCache: (index: number) => Cache | null,
): RowResult[] {
  const positions = unpackReports(rows, request, result, config);
  const captures = unpackCaptures(rows, request, result, config);
  return rows.map((_, i) => ({ cache: toCache(i), positions: positions[i], captures: captures[i] }));
}

function unpackReports(
  rows: readonly Row[],
  request: NativeForward,
  result: NativeForwardResult,
  config: ModelConfig,
): PositionReport[][] {
  const out: PositionReport[][] = rows.map(() => []);
  const report = request.report;
  if (!report) return out;
  const vocabulary = config.vocab_size;
  let position = 0;
  let id = 0;
  report.rows.forEach((row, i) => {
    const wanted = report.tokenOffsets[i + 1] - report.tokenOffsets[i];
    const count = report.positions === "all" ? rows[row].tokens.length : 1;
    for (let p = 0; p < count; p++, position++, id += wanted) {
      out[row].push({
        logprobs: result.logprobs.slice(id, id + wanted),
        top: Array.from({ length: report.topK }, (_, k) => ({
          token: result.topIds[position * report.topK + k],
          logprob: result.topLogprobs[position * report.topK + k],
        })),
        all: report.all ? result.all.slice(position * vocabulary, (position + 1) * vocabulary) : null,
      });
    }
  });
  return out;
}

function unpackCaptures(
  rows: readonly Row[],
  request: NativeForward,
  result: NativeForwardResult,
  config: ModelConfig,
): (Float32Array | null)[] {
  const capture = request.capture;
  if (!capture) return rows.map(() => null);
  const stride = capture.layers.length * config.hidden_size;
  let at = 0;
  return rows.map((row) => {
    const size = (capture.positions === "all" ? row.tokens.length : 1) * stride;
    at += size;
    return result.captures.slice(at - size, at);
  });
}
