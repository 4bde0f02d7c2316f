/**
 * `steerlab score`: steer, remove, ask for a file of trials; one line out for each line in, in the same order.
 *
 * Everything is checked before the weights are touched; the output appears whole or not at all. Contexts and questions of
 * a batch go to the engine in one packed call, each question as a child row of its context.
 */
import * as fs from "node:fs";
import { totalProbability } from "../answers";
import { commitPartial, JsonlWriter, partialPath } from "../files";
import { openEngine, readModelConfig } from "../model";
import { startProgress } from "../progress";
import type { Adapter, Engine, Row, RowResult, WorkShape } from "../types";
import { backendOptions, flagsOf, otherBase, refuseToOverwriteInput, required, wholeNumber } from "./flags";
import { readLines } from "./lines";
import { readTrial, type ScoreTrial } from "./trial-lines";

export const SCORE_HELP = `steerlab score --model DIR --trials in.jsonl --out out.jsonl [options]

Scores trials: the context is prefilled with its steering, the steering is dropped, the question is asked on that cache.

  --model DIR|ORG/NAME  checkpoint folder or hub name
  --adapter DIR         PEFT LoRA adapter, active on context and question
  --other-base accept   take an adapter that names another base model (its shapes must still fit)
  --trials FILE         one trial a line: {"id", "context": ids, "question": ids,
                        "steering": [{"vector": numbers, "layers": [start, end), "magnitude", "span"?: [start, end)}],
                        "report": {"tokens": ids, "topK": n}}
  --out FILE            one result a line: {"id", "logprobs", "mass", "topK": [{"token", "logprob"}]}
  --backend NAME        cpu, cuda or onnx (default: cuda where usable, else cpu)
  --dtype NAME          f32 or bf16 (default: f32 on the cpu, bf16 on cuda)
  --threads N           default: all cores
  --batch N             trials a call (default 32); changes speed and memory, not the numbers
`;

const FLAGS = ["model", "adapter", "other-base", "trials", "out", "backend", "dtype", "threads", "batch"];

/** Runs the command. @throws InputError, DataError, DeviceError before long work starts */
export async function score(args: readonly string[]): Promise<void> {
  const flags = flagsOf("score", args, FLAGS);
  const modelName = required("score", flags, "model");
  const trialsFile = required("score", flags, "trials");
  const out = required("score", flags, "out");
  const batch = wholeNumber(flags, "batch", 32, 1);
  const options = backendOptions(flags);
  refuseToOverwriteInput(out, [trialsFile]);
  const { config } = await readModelConfig(modelName);
  const trials = readLines(trialsFile, (value, at) => readTrial(value, at, config));

  const { engine, attach } = await openEngine(modelName, { ...options, work: workOf(trials, batch) });
  const partial = partialPath(out);
  try {
    const adapter = flags.adapter === undefined ? null : await attach(flags.adapter, { otherBase: otherBase(flags) });
    const writer = new JsonlWriter(partial);
    const progress = startProgress("score", trials.length);
    for (let start = 0; start < trials.length; start += batch) {
      const slice = trials.slice(start, start + batch);
      writer.appendAll(await scoreTrials(engine, slice, adapter));
      progress.update(start + slice.length);
    }
    progress.done();
    writer.close();
    commitPartial(partial, out);
  } finally {
    fs.rmSync(partial, { force: true });
    engine.dispose();
  }
}

/** The largest call of a run, for the memory estimate. */
function workOf(trials: readonly ScoreTrial[], batch: number): WorkShape {
  const longest = (of: (trial: ScoreTrial) => number): number => trials.reduce((most, t) => Math.max(most, of(t)), 0);
  return {
    rows: Math.min(batch, trials.length),
    contextTokens: longest((trial) => trial.context.length),
    questionTokens: longest((trial) => trial.question.length),
  };
}

/** One output record per trial. */
export interface ScoreRecord {
  id: string | number;
  logprobs: number[];
  /** total probability of the reported tokens, each counted once; 0 when none were asked for */
  mass: number;
  topK: { token: number; logprob: number }[];
}

/** Scores one batch: rows [contexts..., questions...], each question the child of its context. */
export async function scoreTrials(
  engine: Engine,
  trials: readonly ScoreTrial[],
  adapter: Adapter | null,
): Promise<ScoreRecord[]> {
  const rows: Row[] = [];
  const questionRow: number[] = [];
  for (const trial of trials) {
    const parent =
      trial.context.length === 0
        ? null
        : rows.push({ tokens: trial.context, steering: trial.steering, adapter, report: false }) - 1;
    questionRow.push(rows.push({ tokens: trial.question, parent, adapter, wanted: trial.wanted }) - 1);
  }
  const topK = Math.max(...trials.map((trial) => trial.topK));
  const results = await engine.forward(rows, { report: "last", topK });
  return trials.map((trial, i) => recordOf(trial, results[questionRow[i]]));
}

function recordOf(trial: ScoreTrial, result: RowResult): ScoreRecord {
  const { logprobs, top } = result.positions[0];
  const byToken = new Map(trial.wanted.map((token, i) => [token, logprobs[i]]));
  return {
    id: trial.id,
    logprobs: Array.from(logprobs),
    mass: totalProbability([...byToken.values()]),
    topK: top.slice(0, trial.topK),
  };
}
