/**
 * One run of the graph: arrays of a padded batch in, logits, residual streams and new keys out.
 */
import type { ModelConfig } from "../../checkpoint";
import type { NewKeys } from "./held";
import { IO } from "./qwen2-graph";
import type { Feed, OnnxSession } from "./runtime";

/** Keys and values under a batch: one array per layer, (batch, KVH, slots, D); batch 1 serves every row. */
export interface Past {
  batch: number;
  slots: number;
  keys: readonly Float32Array[];
  values: readonly Float32Array[];
}

/** B rows of T padded tokens. */
export interface Step {
  rows: number;
  tokens: number;
  /** (B * T) */
  ids: ArrayLike<number>;
  /** (B) */
  pastLengths: readonly number[];
  past: Past;
  /** row * T + index */
  logitRows: readonly number[];
  hiddenRows: readonly number[];
  captureLayers: readonly number[];
  /** whether new keys and values are wanted */
  keys: boolean;
  /** of steering and adapter */
  feeds: Readonly<Record<string, Feed>>;
}

export interface StepResult {
  /** (logitRows, V), or empty */
  logits: Float32Array;
  /** of each captured layer (hiddenRows, C) */
  hidden: Float32Array[];
  fresh: NewKeys | null;
}

/** A prefix of no positions. */
export function emptyPast(config: ModelConfig): Past {
  const none = Array.from({ length: config.num_hidden_layers }, () => new Float32Array(0));
  return { batch: 1, slots: 0, keys: none, values: none };
}

/** Runs the graph once. A step that wants nothing is not run. */
export async function runStep(session: OnnxSession, config: ModelConfig, step: Step): Promise<StepResult> {
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);
  const captured = step.hiddenRows.length > 0 ? step.captureLayers : [];
  const fetch = [
    ...(step.logitRows.length > 0 ? [IO.logits] : []),
    ...captured.map(IO.hidden),
    ...(step.keys ? [...layers.map(IO.newKey), ...layers.map(IO.newValue)] : []),
  ];
  if (fetch.length === 0) return { logits: new Float32Array(0), hidden: [], fresh: null };
  const out = await session.run(feedsOf(step, config), fetch);
  return {
    logits: step.logitRows.length > 0 ? out[IO.logits] : new Float32Array(0),
    hidden: captured.map((layer) => out[IO.hidden(layer)]),
    fresh: step.keys
      ? {
          keys: layers.map((l) => out[IO.newKey(l)]),
          values: layers.map((l) => out[IO.newValue(l)]),
          tokens: step.tokens,
        }
      : null,
  };
}

function feedsOf(step: Step, config: ModelConfig): Record<string, Feed> {
  const { rows: B, tokens: T, pastLengths, past } = step;
  const positions = Array.from({ length: B * T }, (_, i) => pastLengths[Math.floor(i / T)] + (i % T));
  const dims = [past.batch, config.num_key_value_heads, past.slots, config.head_dim];
  const feeds: Record<string, Feed> = {
    ...step.feeds,
    [IO.tokens]: integers(step.ids, [B, T]),
    [IO.positions]: integers(positions, [B, T]),
    [IO.pastLengths]: integers(pastLengths, [B]),
    [IO.logitRows]: integers(step.logitRows, [step.logitRows.length]),
    [IO.hiddenRows]: integers(step.hiddenRows, [step.hiddenRows.length]),
  };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    feeds[IO.pastKey(layer)] = { data: past.keys[layer], dims };
    feeds[IO.pastValue(layer)] = { data: past.values[layer], dims };
  }
  return feeds;
}

function integers(values: ArrayLike<number>, dims: number[]): Feed {
  return { data: BigInt64Array.from(values as number[], BigInt), dims };
}
