/**
 * Samples continuations: the prompts in one prefill, then one token per row and run until a stop id or maxTokens.
 *
 * The keys of growing rows live in one block per layer with room to grow; a new token's keys are written into it in place.
 * A row's tokens depend on its own seed and positions only, never on the other rows.
 */
import type { ModelConfig } from "../../checkpoint";
import type { CheckedGeneration } from "../checks";
import type { ForwardOptions, Generated } from "../types";
import { noAdapterFeeds } from "./bound-adapter";
import { type Held, type NewKeys, stackedPast } from "./held";
import { sampleToken } from "./logits";
import { checkpoint, prefill } from "./prefill";
import type { Feed, OnnxSession } from "./runtime";
import { steeringFeeds } from "./steering-feeds";
import { runStep } from "./step";
import type { Task } from "./tasks";

/** Free slots added whenever the block is full. */
const GROW_SLOTS = 64;
/** Numbers in one block of all layers (256 MiB). */
const BLOCK_NUMBERS = 1 << 26;

interface Growing {
  task: Task;
  seed: number;
  tokens: number[];
  stopped: boolean;
  going: boolean;
}

/** @param tasks with `keeps` set on every reporting row */
export async function generateTokens(
  session: OnnxSession,
  config: ModelConfig,
  tasks: readonly Task[],
  settings: CheckedGeneration,
  options: Pick<ForwardOptions, "signal" | "onProgress">,
): Promise<Generated[]> {
  const growing = tasks.map(
    (task): Growing => ({ task, seed: settings.seeds[task.index], tokens: [], stopped: false, going: false }),
  );
  const take = (row: Growing, logits: Float32Array): void => {
    const position = row.task.before + row.task.tokens.length + row.tokens.length;
    const token = sampleToken(logits, settings.temperature, settings.topP, { seed: row.seed, position });
    row.stopped = settings.stopIds.includes(token);
    if (!row.stopped) row.tokens.push(token);
    row.going = !row.stopped && row.tokens.length < settings.maxTokens;
  };
  await prefill(
    session,
    config,
    tasks,
    { report: "last", signal: options.signal },
    { logits: (task, _, logits) => take(growing[task.index], logits) },
  );
  const groups = decodeGroups(
    growing.filter((row) => row.going),
    settings.maxTokens,
    config,
  );
  for (const [i, group] of groups.entries()) {
    const onStep = (made: number): void =>
      options.onProgress?.(i * settings.maxTokens + made, groups.length * settings.maxTokens);
    await decode(session, config, group, take, { signal: options.signal, onStep });
  }
  return growing.map(({ tokens, stopped }) => ({ tokens: Int32Array.from(tokens), stopped }));
}

/** Rows with one adapter each, few enough for their keys to fit in one block. */
function decodeGroups(rows: readonly Growing[], maxTokens: number, config: ModelConfig): Growing[][] {
  const perSlot = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
  const byAdapter = new Map<Record<string, Feed> | null, Growing[]>();
  for (const row of rows) byAdapter.set(row.task.adapter, [...(byAdapter.get(row.task.adapter) ?? []), row]);
  return [...byAdapter.values()].flatMap((group) => {
    const slots = Math.max(...group.map(({ task }) => (task.held as Held).length)) + maxTokens;
    const count = Math.max(1, Math.floor(BLOCK_NUMBERS / (slots * perSlot)));
    return Array.from({ length: Math.ceil(group.length / count) }, (_, i) => group.slice(i * count, (i + 1) * count));
  });
}

async function decode(
  session: OnnxSession,
  config: ModelConfig,
  group: readonly Growing[],
  take: (row: Growing, logits: Float32Array) => void,
  run: { signal?: AbortSignal; onStep: (made: number) => void },
): Promise<void> {
  const V = config.vocab_size;
  const feeds = { ...(group[0].task.adapter ?? noAdapterFeeds(config)), ...steeringFeeds([], 1, config) };
  let rows = [...group];
  let block = new Block(
    rows.map(({ task }) => task.held as Held),
    config,
  );
  for (let made = 1; rows.length > 0; made++) {
    await checkpoint(run.signal);
    run.onStep(made);
    const result = await runStep(session, config, {
      rows: rows.length,
      tokens: 1,
      ids: rows.map(({ tokens }) => tokens[tokens.length - 1]),
      pastLengths: block.lengths,
      past: { batch: rows.length, slots: block.slots, keys: block.keys, values: block.values },
      logitRows: [...rows.keys()],
      hiddenRows: [],
      captureLayers: [],
      keys: true,
      feeds,
    });
    for (const [b, row] of rows.entries()) take(row, result.logits.subarray(b * V, (b + 1) * V));
    block.append(result.fresh as NewKeys);
    if (rows.some((row) => !row.going) || block.isFull) {
      const kept = [...rows.keys()].filter((b) => rows[b].going);
      block = new Block(
        kept.map((b) => block.held(b)),
        config,
      );
      rows = kept.map((b) => rows[b]);
    }
  }
}

/** Keys and values of growing rows, (B, KVH, slots, D) per layer. */
class Block {
  readonly lengths: number[];
  readonly slots: number;
  readonly keys: Float32Array[];
  readonly values: Float32Array[];

  constructor(
    rows: readonly Held[],
    private readonly config: ModelConfig,
  ) {
    this.lengths = rows.map((held) => held.length);
    this.slots = Math.max(0, ...this.lengths) + GROW_SLOTS;
    ({ keys: this.keys, values: this.values } = stackedPast(rows, this.slots, config));
  }

  get isFull(): boolean {
    return this.lengths.some((length) => length === this.slots);
  }

  /** Writes one token's keys and values behind every row. */
  append(fresh: NewKeys): void {
    const { num_key_value_heads: KVH, head_dim: D } = this.config;
    const write = (block: Float32Array, add: Float32Array): void => {
      for (const [b, length] of this.lengths.entries()) {
        for (let head = 0; head < KVH; head++) {
          const from = (b * KVH + head) * D;
          block.set(add.subarray(from, from + D), ((b * KVH + head) * this.slots + length) * D);
        }
      }
    };
    for (const [layer, block] of this.keys.entries()) write(block, fresh.keys[layer]);
    for (const [layer, block] of this.values.entries()) write(block, fresh.values[layer]);
    for (const b of this.lengths.keys()) this.lengths[b]++;
  }

  /** A copy of one row's keys and values. */
  held(b: number): Held {
    const { num_key_value_heads: KVH, head_dim: D } = this.config;
    const length = this.lengths[b];
    const copy = (block: Float32Array): Float32Array => {
      const out = new Float32Array(KVH * length * D);
      for (let head = 0; head < KVH; head++) {
        const from = (b * KVH + head) * this.slots * D;
        out.set(block.subarray(from, from + length * D), head * length * D);
      }
      return out;
    };
    return { length, keys: this.keys.map(copy), values: this.values.map(copy) };
  }
}
