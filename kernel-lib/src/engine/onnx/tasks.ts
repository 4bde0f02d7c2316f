/**
 * Rows of a call -> checked tasks, and tasks -> batches that fit in memory.
 *
 * A row's own tokens are computed in pieces, so that one run stays short (it occupies the JavaScript thread) and small. Rows
 * of one batch share the adapter; rows over the very same prefix share its keys without a copy.
 */
import { expected, InputError } from "../../base";
import type { ModelConfig } from "../../checkpoint";
import {
  checkCapture,
  checkDirection,
  checkedParent,
  checkedToken,
  checkedTokens,
  checkedTopK,
  checkSteering,
} from "../checks";
import type { ForwardOptions, Row, Steering } from "../types";
import { adapterFeeds } from "./bound-adapter";
import { type Held, heldOf } from "./held";
import type { Feed } from "./runtime";

/** Own tokens of one piece. */
const PIECE_TOKENS = 512;
/** Padded tokens of one batch. */
const BATCH_TOKENS = 1024;
/** Numbers of one batch's logits (128 MiB), and of its copied pasts (256 MiB). */
const LOGIT_NUMBERS = 1 << 25;
const PAST_NUMBERS = 1 << 26;

/** One row on its way. */
export interface Task {
  readonly index: number;
  readonly tokens: Int32Array;
  readonly steering: readonly Steering[];
  readonly adapter: Record<string, Feed> | null;
  readonly parent: number;
  readonly wanted: Int32Array;
  readonly reports: boolean;
  /** whether keys of all own tokens are wanted at the end */
  readonly keeps: boolean;
  /** prefix, then prefix and the tokens done */
  held: Held | null;
  /** positions before the own tokens */
  readonly before: number;
  /** own tokens computed */
  done: number;
}

/** Next own tokens [start, end) of a task. */
export interface Piece {
  task: Task;
  start: number;
  end: number;
}

/**
 * Checks everything that a caller can get wrong, before anything runs.
 * @param reserve positions kept free after each reporting row, for generation
 * @throws InputError naming row and field
 */
export function tasksOf(
  rows: readonly Row[],
  options: ForwardOptions,
  config: ModelConfig,
  owner: object,
  reserve = 0,
): Task[] {
  checkedTopK(options.topK ?? 0, config);
  if (options.capture) checkCapture(options.capture, config);
  const parents = new Set(rows.map((row, i) => checkedParent(row, i)));
  const tasks: Task[] = [];
  for (const [index, row] of rows.entries()) {
    const tokens = checkedTokens(row.tokens, `tokens of row ${index}`, config);
    const parent = row.parent ?? -1;
    const held = row.cache ? heldOf(row.cache, owner, `cache of row ${index}`) : null;
    const before = parent >= 0 ? tasks[parent].before + tasks[parent].tokens.length : (held?.length ?? 0);
    const steering = row.steering ?? [];
    for (const plan of steering) {
      checkSteering(plan, tokens.length, `steering of row ${index}`, config);
      checkDirection(plan.direction, `steering of row ${index}`);
    }
    const reports = row.report !== false;
    tasks.push({
      index,
      tokens,
      steering,
      adapter: row.adapter ? adapterFeeds(row.adapter, owner, `adapter of row ${index}`) : null,
      parent,
      wanted: Int32Array.from(row.wanted ?? [], (id) => checkedToken(id, `wanted of row ${index}`, config)),
      reports,
      keeps: (row.keepCache ?? false) || parents.has(index) || (reserve > 0 && reports),
      held,
      before,
      done: 0,
    });
    const end = before + tokens.length + reserve;
    if (end > config.max_position_embeddings) {
      throw new InputError(
        "too-long",
        expected(
          `at most ${config.max_position_embeddings} positions`,
          `row ${index}`,
          end,
          "Shorten the text; the model was made for no more.",
        ),
      );
    }
  }
  return tasks;
}

/** The next piece of every unfinished task whose parent is done. */
export function readyPieces(tasks: readonly Task[], options: ForwardOptions, config: ModelConfig): Piece[] {
  const limit =
    options.report === "all"
      ? Math.min(PIECE_TOKENS, Math.max(1, Math.floor(LOGIT_NUMBERS / config.vocab_size)))
      : PIECE_TOKENS;
  const pieces: Piece[] = [];
  for (const task of tasks) {
    if (task.done === task.tokens.length) continue;
    if (task.done === 0 && task.parent >= 0) {
      const parent = tasks[task.parent];
      if (parent.done < parent.tokens.length) continue;
      task.held = parent.held;
    }
    pieces.push({ task, start: task.done, end: Math.min(task.tokens.length, task.done + limit) });
  }
  return pieces;
}

/** Batches of pieces with one adapter each; pieces over one and the same prefix stay together and apart from others. */
export function batchesOf(pieces: readonly Piece[], options: ForwardOptions, config: ModelConfig): Piece[][] {
  const perPrefix = new Map<Held | null, number>();
  for (const { task } of pieces) perPrefix.set(task.held, (perPrefix.get(task.held) ?? 0) + 1);
  const groups = new Map<Record<string, Feed> | null, Map<Held | null | "several", Piece[]>>();
  for (const piece of pieces) {
    const { adapter, held } = piece.task;
    const prefix = (perPrefix.get(held) as number) > 1 ? held : "several";
    const ofAdapter = groups.get(adapter) ?? new Map<Held | null | "several", Piece[]>();
    groups.set(adapter, ofAdapter.set(prefix, [...(ofAdapter.get(prefix) ?? []), piece]));
  }
  return [...groups.values()].flatMap((ofAdapter) =>
    [...ofAdapter.values()].flatMap((group) => packed(group, options, config)),
  );
}

/** Cuts a group into batches; similar lengths go together, so that little is padding. */
function packed(group: readonly Piece[], options: ForwardOptions, config: ModelConfig): Piece[][] {
  const pastNumbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
  const size = (piece: Piece): number => piece.end - piece.start;
  const past = (piece: Piece): number => piece.task.held?.length ?? 0;
  const sorted = [...group].sort((x, y) => size(x) - size(y) || past(x) - past(y));
  const batches: Piece[][] = [];
  let batch: Piece[] = [];
  const fits = (next: Piece): boolean => {
    const rows = batch.length + 1;
    const padded = rows * size(next);
    const real = batch.reduce((sum, piece) => sum + size(piece), size(next));
    const shared = batch.every((piece) => piece.task.held === next.task.held);
    const slots = Math.max(past(next), ...batch.map(past));
    const reported = options.report === "all" ? padded : rows;
    return (
      padded <= BATCH_TOKENS &&
      padded <= 2 * real &&
      (options.report === undefined || options.report === "none" || reported * config.vocab_size <= LOGIT_NUMBERS) &&
      (shared || rows * slots * pastNumbers <= PAST_NUMBERS)
    );
  };
  for (const piece of sorted) {
    if (batch.length > 0 && !fits(piece)) {
      batches.push(batch);
      batch = [];
    }
    batch.push(piece);
  }
  return batch.length === 0 ? batches : [...batches, batch];
}
