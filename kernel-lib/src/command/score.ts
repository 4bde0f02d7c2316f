/**
 * `steerlab score`: steer, remove, ask for a file of trials; one line out for each line in, in the same order.
 *
 * Everything is checked before the weights are touched; the output appears whole or not at all. Contexts and questions of
 * a batch go to the engine in one packed call, each question as a child row of its context.
 */
import * as fs from "node:fs";
import { DataError, expected } from "../base";
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
import { cannotWrite, commitPartial, JsonlWriter, partialPath, prepareFile, removeIfEmpty } from "../files";
import { startProgress } from "../notebook";
import { engineOptions } from "./engine-flags";
import { parseArguments } from "./flags";
import { readLines } from "./lines";
import { adapterPlace, refuseToOverwriteInput } from "./places";
import { SCORE } from "./tables";
import { parseTrial, type ScoreTrial } from "./trial-lines";

/** Runs the command. @throws InputError, DataError, DeviceError before long work starts */
export async function score(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags } = parseArguments("score", SCORE, args);
  const { model: modelName, trials: trialsFile, out, batch = 32 } = flags;
  refuseToOverwriteInput(out, [trialsFile]);
  const { config, checkpoint } = await readModelConfig(modelName);
  const trials = readLines(trialsFile, (value, at) => parseTrial(value, at, config));
  const accepted = { otherBase: flags["other-base"] };
  const files =
    flags.adapter === undefined
      ? null
      : await adapterFor(checkpoint, { name: modelName }, adapterPlace(flags.adapter), accepted);

  const made = prepareFile(out, "--out");
  const partial = partialPath(out);
  let engine: Engine | null = null;
  try {
    const writer = openWriter(partial, out);
    engine = (await openEngine(modelName, { ...engineOptions(flags), work: workOf(trials, batch), signal })).engine;
    const adapter = files === null ? null : engine.bindAdapter(files.parts, { name: files.name, hash: files.hash });
    const progress = startProgress("score", trials.length);
    for (let start = 0; start < trials.length; start += batch) {
      const slice = trials.slice(start, start + batch);
      writer.appendAll(await scoreTrials(engine, slice, adapter, signal));
      progress.update(start + slice.length);
    }
    progress.done();
    writer.close();
    commitPartial(partial, out);
  } finally {
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
