/**
 * Computes tasks piece by piece and batch by batch, handing every wanted position's logits and residual streams to a visitor.
 */
import { setImmediate } from "node:timers/promises";
import { AbortedError } from "../../base";
import type { ModelConfig } from "../../checkpoint";
import type { ForwardOptions } from "../types";
import { noAdapterFeeds } from "./bound-adapter";
import { appended, stackedPast } from "./held";
import type { OnnxSession } from "./runtime";
import { steeringFeeds } from "./steering-feeds";
import { emptyPast, type Past, runStep, type StepResult } from "./step";
import { batchesOf, type Piece, readyPieces, type Task } from "./tasks";

/** Receives results; arrays are views that the next run may replace, so copy what must stay. */
export interface Visitor {
  /** logits (V) after own token `position` of the task */
  logits(task: Task, position: number, logits: Float32Array): void;
  /** residual stream (C) of the `which`-th captured layer */
  hidden?(task: Task, position: number, which: number, stream: Float32Array): void;
}

/** @throws AbortedError between two runs */
export async function prefill(
  session: OnnxSession,
  config: ModelConfig,
  tasks: readonly Task[],
  options: ForwardOptions,
  visitor: Visitor,
): Promise<void> {
  const total = tasks.reduce((sum, task) => sum + task.tokens.length, 0);
  let done = 0;
  for (
    let pieces = readyPieces(tasks, options, config);
    pieces.length > 0;
    pieces = readyPieces(tasks, options, config)
  ) {
    for (const batch of batchesOf(pieces, options, config)) {
      await checkpoint(options.signal);
      await runPieces(session, config, batch, options, visitor);
      done += batch.reduce((sum, { start, end }) => sum + end - start, 0);
      options.onProgress?.(done, total);
    }
  }
}

/** Lets timers and signals through between two runs. @throws AbortedError */
export async function checkpoint(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  if (signal?.aborted) throw new AbortedError();
}

async function runPieces(
  session: OnnxSession,
  config: ModelConfig,
  batch: readonly Piece[],
  options: ForwardOptions,
  visitor: Visitor,
): Promise<void> {
  const T = Math.max(...batch.map(({ start, end }) => end - start));
  const ids = new Int32Array(batch.length * T);
  for (const [b, { task, start, end }] of batch.entries()) ids.set(task.tokens.subarray(start, end), b * T);
  const places = (wanted: (task: Task) => boolean, positions: "last" | "all"): Place[] =>
    batch.flatMap((piece, b) => (wanted(piece.task) ? placesOf(piece, b, T, positions) : []));
  const logits =
    options.report === undefined || options.report === "none" ? [] : places((task) => task.reports, options.report);
  const hidden = options.capture === undefined ? [] : places(() => true, options.capture.positions);
  const result = await runStep(session, config, {
    rows: batch.length,
    tokens: T,
    ids,
    pastLengths: batch.map(({ task }) => task.held?.length ?? 0),
    past: pastOf(batch, config),
    logitRows: logits.map(({ flat }) => flat),
    hiddenRows: hidden.map(({ flat }) => flat),
    captureLayers: options.capture?.layers ?? [],
    keys: batch.some(needsKeys),
    feeds: {
      ...(batch[0].task.adapter ?? noAdapterFeeds(config)),
      ...steeringFeeds(
        batch.map(({ task, start, end }) => ({ steering: task.steering, start, end, length: task.tokens.length })),
        T,
        config,
      ),
    },
  });
  visit(result, logits, hidden, config, visitor);
  for (const [b, piece] of batch.entries()) {
    const { task, start, end } = piece;
    if (result.fresh !== null && needsKeys(piece))
      task.held = appended(task.held, result.fresh, b, end - start, config);
    task.done = end;
  }
}

/** A wanted position: own token `position` of a task, at `flat` of the batch. */
interface Place {
  task: Task;
  position: number;
  flat: number;
}

function placesOf({ task, start, end }: Piece, b: number, T: number, positions: "last" | "all"): Place[] {
  const first = positions === "all" ? start : task.tokens.length - 1;
  return Array.from({ length: Math.max(0, end - first) }, (_, i) => ({
    task,
    position: first + i,
    flat: b * T + first + i - start,
  }));
}

function visit(
  result: StepResult,
  logits: readonly Place[],
  hidden: readonly Place[],
  config: ModelConfig,
  visitor: Visitor,
): void {
  const { vocab_size: V, hidden_size: C } = config;
  for (const [i, { task, position }] of logits.entries())
    visitor.logits(task, position, result.logits.subarray(i * V, (i + 1) * V));
  for (const [which, stream] of result.hidden.entries()) {
    for (const [i, { task, position }] of hidden.entries())
      visitor.hidden?.(task, position, which, stream.subarray(i * C, (i + 1) * C));
  }
}

function needsKeys({ task, end }: Piece): boolean {
  return task.keeps || end < task.tokens.length;
}

/** One shared prefix as it is; else the batch's prefixes side by side. */
function pastOf(batch: readonly Piece[], config: ModelConfig): Past {
  const helds = batch.map(({ task }) => task.held);
  const [first] = helds;
  if (helds.every((held) => held === first))
    return first === null
      ? emptyPast(config)
      : { batch: 1, slots: first.length, keys: first.keys, values: first.values };
  const slots = Math.max(...helds.map((held) => held?.length ?? 0));
  return { batch: batch.length, slots, ...stackedPast(helds, slots, config) };
}
