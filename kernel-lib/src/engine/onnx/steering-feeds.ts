/**
 * Steering plans of the rows of one batch -> the two feeds of the graph.
 *
 * vectors (B, S, C) holds each row's own directions, S the most plans of any row; weights (L, B, T, S) holds a plan's magnitude
 * where its layers and span are, else 0. T is 1 where every span covers its whole piece.
 */
import type { ModelConfig } from "../../checkpoint";
import type { Steering } from "../types";
import { IO } from "./qwen2-graph";
import type { Feed } from "./runtime";

/** Own tokens [start, end) of a row, with the row's plans. */
export interface SteeredPiece {
  steering: readonly Steering[];
  start: number;
  end: number;
  /** own tokens of the whole row: the default span */
  length: number;
}

interface Active {
  plan: Steering;
  /** within the piece */
  from: number;
  to: number;
}

/** @param tokens padded length of the batch */
export function steeringFeeds(
  pieces: readonly SteeredPiece[],
  tokens: number,
  config: ModelConfig,
): Record<string, Feed> {
  const { hidden_size: C, num_hidden_layers: L } = config;
  const active = pieces.map(activePlans);
  const plans = Math.max(0, ...active.map((list) => list.length));
  if (plans === 0) return feeds(new Float32Array(C), [1, 1, C], new Float32Array(L), [L, 1, 1, 1]);
  const whole = active.every((list, b) =>
    list.every(({ from, to }) => from === 0 && to === pieces[b].end - pieces[b].start),
  );
  const [B, T] = [pieces.length, whole ? 1 : tokens];
  const vectors = new Float32Array(B * plans * C);
  const weights = new Float32Array(L * B * T * plans);
  for (const [b, list] of active.entries()) {
    for (const [s, { plan, from, to }] of list.entries()) {
      vectors.set(plan.direction, (b * plans + s) * C);
      for (let layer = plan.layers[0]; layer < plan.layers[1]; layer++) {
        for (let t = whole ? 0 : from; t < (whole ? 1 : to); t++)
          weights[((layer * B + b) * T + t) * plans + s] = plan.magnitude;
      }
    }
  }
  return feeds(vectors, [B, plans, C], weights, [L, B, T, plans]);
}

function feeds(
  vectors: Float32Array,
  vectorDims: number[],
  weights: Float32Array,
  weightDims: number[],
): Record<string, Feed> {
  return {
    [IO.steeringVectors]: { data: vectors, dims: vectorDims },
    [IO.steeringWeights]: { data: weights, dims: weightDims },
  };
}

/** Plans that add something to this piece. */
function activePlans({ steering, start, end, length }: SteeredPiece): Active[] {
  return steering.flatMap((plan) => {
    const [from, to] = plan.span ?? [0, length];
    const active = { plan, from: Math.max(from, start) - start, to: Math.min(to, end) - start };
    return active.to > active.from && plan.layers[1] > plan.layers[0] && plan.magnitude !== 0 ? [active] : [];
  });
}
