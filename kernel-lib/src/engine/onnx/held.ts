/**
 * Keys and values of one sequence, layer by layer, and their assembly into the past of a batch.
 *
 * Immutable: appending makes a new one. Layer arrays are (KVH, length, D), keys after rotation.
 */
import { expected, InputError } from "../../base";
import type { ModelConfig } from "../../checkpoint";
import type { Cache } from "../types";

/** Keys and values of `length` positions. */
export interface Held {
  readonly length: number;
  readonly keys: readonly Float32Array[];
  readonly values: readonly Float32Array[];
}

/** What a batch gives back: new keys and values of each layer, (B, KVH, T, D). */
export interface NewKeys {
  keys: Float32Array[];
  values: Float32Array[];
  tokens: number;
}

/** `before` followed by `count` positions of row `row` of a batch. */
export function appended(before: Held | null, fresh: NewKeys, row: number, count: number, config: ModelConfig): Held {
  const { num_key_value_heads: KVH, head_dim: D } = config;
  const past = before?.length ?? 0;
  const length = past + count;
  const join = (old: Float32Array | undefined, add: Float32Array): Float32Array => {
    const out = new Float32Array(KVH * length * D);
    for (let head = 0; head < KVH; head++) {
      if (old !== undefined) out.set(old.subarray(head * past * D, (head + 1) * past * D), head * length * D);
      const from = (row * KVH + head) * fresh.tokens * D;
      out.set(add.subarray(from, from + count * D), (head * length + past) * D);
    }
    return out;
  };
  return {
    length,
    keys: fresh.keys.map((add, layer) => join(before?.keys[layer], add)),
    values: fresh.values.map((add, layer) => join(before?.values[layer], add)),
  };
}

/** The pasts of many rows in one array per layer, (B, KVH, slots, D), each from slot 0; the rest is zeros. */
export function stackedPast(
  rows: readonly (Held | null)[],
  slots: number,
  config: ModelConfig,
): { keys: Float32Array[]; values: Float32Array[] } {
  const { num_key_value_heads: KVH, head_dim: D, num_hidden_layers: L } = config;
  const stack = (of: (held: Held) => Float32Array): Float32Array => {
    const out = new Float32Array(rows.length * KVH * slots * D);
    for (const [b, held] of rows.entries()) {
      if (held === null) continue;
      const size = held.length * D;
      for (let head = 0; head < KVH; head++)
        out.set(of(held).subarray(head * size, (head + 1) * size), (b * KVH + head) * slots * D);
    }
    return out;
  };
  const layers = Array.from({ length: L }, (_, layer) => layer);
  return {
    keys: layers.map((l) => stack((held) => held.keys[l])),
    values: layers.map((l) => stack((held) => held.values[l])),
  };
}

/** A prefix as callers hold it. Calls already made still see it after dispose(). */
export class OnnxCache implements Cache {
  readonly length: number;
  #held: Held | null;

  constructor(
    /** the engine that made it */
    readonly owner: object,
    held: Held,
  ) {
    this.length = held.length;
    this.#held = held;
  }

  /** @throws InputError "disposed" */
  get held(): Held {
    if (this.#held === null)
      throw new InputError("disposed", "Expected a live cache but it was disposed. Prefill the context again.");
    return this.#held;
  }

  dispose(): void {
    this.#held = null;
  }
}

/** @throws InputError "foreign-cache", "disposed" */
export function heldOf(cache: Cache, owner: object, name: string): Held {
  if (cache instanceof OnnxCache && cache.owner === owner) return cache.held;
  throw new InputError(
    "foreign-cache",
    expected(
      "a cache made by this engine",
      name,
      cache?.constructor?.name,
      "Prefill the context again with this model.",
    ),
  );
}
