/**
 * events.jsonl: what each optimizer step and each validation measured, one line each, appended while training runs.
 *
 * loss is the mean over the batch, in nats; accuracy the share whose right label is the likelier; mass the mean total
 * probability of the two labels; gradNorm is before clipping. Resuming cuts the lines after the checkpoint's step.
 */
import * as fs from "node:fs";
import type { BatchResult } from "../engine";
import { readJsonl, writeFileAtomic } from "../files";

/** Means of one batch or of the validation set; loss, accuracy and mass are those of its label examples, null where there are none. */
export interface BatchFigures {
  loss: number | null;
  /** 0..1 */
  accuracy: number | null;
  /** 0..1 */
  mass: number | null;
  /** divergence from the base model over the match examples, nats per token; absent where there are none */
  match?: number;
}

/** One optimizer step. */
export interface StepEvent extends BatchFigures {
  kind: "step";
  /** 1-based */
  step: number;
  /** passes over the data so far */
  epoch: number;
  lr: number;
  gradNorm: number;
  examplesPerSecond: number | null;
}

/** One pass over the validation examples, without dropout. */
export interface ValidationEvent extends BatchFigures {
  kind: "validation";
  step: number;
  n: number;
  /** right label where target is label 0, and label 1; null without such examples */
  hitRate: number | null;
  falseAlarmRate: number | null;
}

/** One line of events.jsonl. */
export type TrainEvent = StepEvent | ValidationEvent;

/**
 * Means over a batch result, label loss and match loss apart.
 * @param targets (B) the right label of each example; null: a match example
 */
export function figuresOf(result: BatchResult, targets: readonly (0 | 1 | null)[]): BatchFigures {
  let [loss, right, mass, match] = [0, 0, 0, 0];
  for (const [i, target] of targets.entries()) {
    if (target === null) {
      match += result.loss[i];
      continue;
    }
    loss += result.loss[i];
    mass += Math.exp(result.logmass[i]);
    right += result.logprob[2 * i + target] > result.logprob[2 * i + 1 - target] ? 1 : 0;
  }
  const labelled = targets.filter((target) => target !== null).length;
  const matched = targets.length - labelled;
  return {
    loss: labelled === 0 ? null : loss / labelled,
    accuracy: labelled === 0 ? null : right / labelled,
    mass: labelled === 0 ? null : mass / labelled,
    ...(matched > 0 ? { match: match / matched } : {}),
  };
}

/** Every event of a run, in order; a torn last line is left out. An absent file holds none. */
export function readEvents(file: string): TrainEvent[] {
  return fs.existsSync(file) ? readJsonl<TrainEvent>(file).records : [];
}

/** Keeps only the events up to `step`. */
export function cutEvents(file: string, step: number): void {
  if (!fs.existsSync(file)) return;
  const kept = readEvents(file).filter((event) => event.step <= step);
  writeFileAtomic(file, kept.map((event) => `${JSON.stringify(event)}\n`).join(""));
}
