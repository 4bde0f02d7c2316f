/**
 * `steerlab score`: steer, remove, ask for a file of trials; one line out for each line in, in the same order.
 *
 * Everything is checked before the weights are touched; the output appears whole or not at all. Contexts and questions of
 * a batch go to the engine in one packed call, each question as a child row of its context.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected, InputError } from "../base";
import {
  type Adapter,
  adapterFor,
  type Engine,
  openEngine,
  readModelConfig,
  type Row,
  type RowResult,
  totalProbability,
  type WorkShape,
} from "../engine";
import { cannotWrite, commitPartial, JsonlWriter, makeFolder, partialPath, removeIfEmpty } from "../files";
import { startProgress } from "../notebook";
import { backendOptions, flagsOf, otherBase, refuseToOverwriteInput, required, wholeNumber } from "./flags";
import { readLines } from "./lines";
import { stopOnSignals } from "./signals";
import { readTrial, type ScoreTrial } from "./trial-lines";

export const SCORE_HELP = `steerlab score --model DIR --trials in.jsonl --out out.jsonl [options]

Scores trials: the context is prefilled with its steering, the steering is dropped, the question is asked on that cache.

  --model DIR|FILE|NAME  checkpoint folder, .gguf file or hub name ORG/NAME
  --adapter DIR         PEFT LoRA adapter (folder or org/name[/step_0900]), active on context and question
  --other-base accept   take an adapter that was trained here on other weights (its shapes must still fit); one that only
                        names another base model is taken anyway, with a note on stderr
  --trials FILE         one trial a line: {"id", "context": ids, "question": ids,
                        "steering": [{"vector": numbers, "layers": [start, end), "magnitude", "span"?: [start, end)}],
                        "report": {"tokens": ids, "topK": n}}
                        vectors are used as given; span defaults to the whole context; every id once; no list may be
                        empty but steering, and tokens where topK is above 0
  --out FILE            one result a line: {"id", "logprobs", "mass", "topK": [{"token", "logprob"}]}; its folder is made
                        if it is missing, and an old file is replaced as a whole when all trials are done
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
  const { config, checkpoint } = await readModelConfig(modelName);
  const trials = readLines(trialsFile, (value, at) => readTrial(value, at, config));
  const accepted = { otherBase: otherBase(flags) };
  const files =
    flags.adapter === undefined ? null : await adapterFor(checkpoint, { name: modelName }, flags.adapter, accepted);

  const made = makeFolder(path.dirname(path.resolve(out)), "--out");
  if (fs.statSync(out, { throwIfNoEntry: false })?.isDirectory() ?? false)
    throw new InputError("out-folder", expected("a file", "--out", out, "A folder of this name is there."));
  const partial = partialPath(out);
  let engine: Engine | null = null;
  const stop = stopOnSignals();
  try {
    const writer = openWriter(partial, out);
    engine = (await openEngine(modelName, { ...options, work: workOf(trials, batch), signal: stop.signal })).engine;
    const adapter = files === null ? null : engine.bindAdapter(files.parts, { name: files.name, hash: files.hash });
    const progress = startProgress("score", trials.length);
    for (let start = 0; start < trials.length; start += batch) {
      const slice = trials.slice(start, start + batch);
      writer.appendAll(await scoreTrials(engine, slice, adapter, stop.signal));
      progress.update(start + slice.length);
    }
    progress.done();
    writer.close();
    commitPartial(partial, out);
  } finally {
    stop.release();
    fs.rmSync(partial, { force: true });
    removeIfEmpty(made);
    engine?.dispose();
  }
}

function openWriter(partial: string, out: string): JsonlWriter {
  try {
    return new JsonlWriter(partial);
  } catch (error) {
    throw cannotWrite(out, "--out", error);
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
  signal?: AbortSignal,
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
  const topK = trials.reduce((most, trial) => Math.max(most, trial.topK), 0);
  const results = await engine.forward(rows, { report: "last", topK, signal });
  return trials.map((trial, i) => recordOf(trial, results[questionRow[i]]));
}

function recordOf(trial: ScoreTrial, result: RowResult): ScoreRecord {
  const { logprobs, top } = result.positions[0];
  const bad = [...logprobs, ...top.map(({ logprob }) => logprob)].find((value) => !Number.isFinite(value));
  if (bad !== undefined) {
    throw new DataError(
      "not-finite",
      expected(
        "finite log-probabilities",
        `trial ${JSON.stringify(trial.id)}`,
        bad,
        "Its steering is too strong for this precision; lower the magnitudes.",
      ),
    );
  }
  const byToken = new Map(trial.wanted.map((token, i) => [token, logprobs[i]]));
  return {
    id: trial.id,
    logprobs: Array.from(logprobs),
    mass: totalProbability([...byToken.values()]),
    topK: top.slice(0, trial.topK),
  };
}
