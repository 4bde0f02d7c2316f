/**
 * Runs `steerlab score` and `steerlab train` on a folder made by live.py and compares what they write with what transformers
 * and PEFT wrote there. Shared by the live comparison and its committed goldens.
 */
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { largest, readSafetensors, relative } from "./readers";
import { F32_ADAPTER, F32_ADAPTER_CHANGE, F32_GRADIENT, F32_LOGPROB, F32_LOSS } from "./tolerances";

export const ROOT = path.resolve(__dirname, "../..");
const CLI = path.join(ROOT, "kernel-lib/bin/steerlab.cjs");
const F32_ON_CPU = ["--backend", "cpu", "--dtype", "f32"];

interface ScoreLine {
  id: string;
  logprobs: number[];
  mass: number;
  topK: { token: number; logprob: number }[];
}

function readLines<T>(file: string): T[] {
  return fs
    .readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

/** Runs our command line; rejects with its stderr when it fails. */
export async function steerlab(...args: string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [CLI, ...args], { cwd: ROOT });
}

export function trialFlags(folder: string): string[] {
  return ["--model", path.join(folder, "model"), "--trials", path.join(folder, "trials.jsonl"), ...F32_ON_CPU];
}

export function trainFlags(folder: string): string[] {
  const inputs = {
    model: "model",
    examples: "examples.jsonl",
    vectors: "vectors.safetensors",
    config: "train.yaml",
    "init-adapter": "init",
  };
  return [...Object.entries(inputs).flatMap(([flag, name]) => [`--${flag}`, path.join(folder, name)]), ...F32_ON_CPU];
}

/** Our output against theirs: ids in order, logprobs, mass, and the top tokens wherever they are not tied. */
export function expectScores(ours: string, theirs: string): void {
  const [mine, reference] = [ours, theirs].map((file) => readLines<ScoreLine>(file));
  expect(mine.map((line) => line.id)).toEqual(reference.map((line) => line.id));
  for (const [i, line] of mine.entries()) {
    expect(largest(line.logprobs, reference[i].logprobs), `logprobs of ${line.id}`).toBeLessThan(F32_LOGPROB);
    expect(Math.abs(line.mass - reference[i].mass), `mass of ${line.id}`).toBeLessThan(F32_LOGPROB);
    const [top, expected] = [line.topK, reference[i].topK];
    expect(
      largest(
        top.map((one) => one.logprob),
        expected.map((one) => one.logprob),
      ),
      `topK of ${line.id}`,
    ).toBeLessThan(F32_LOGPROB);
    const clear = expected.every((one, k) => k === 0 || expected[k - 1].logprob - one.logprob > 2 * F32_LOGPROB);
    // The last place may be tied with a token that is not listed.
    if (clear) expect(top.slice(0, -1).map((one) => one.token)).toEqual(expected.slice(0, -1).map((one) => one.token));
  }
}

/** All tensors of an adapter end to end, by name. */
function adapterNumbers(folder: string): { names: string[]; values: Float64Array } {
  const tensors = readSafetensors(path.join(folder, "adapter_model.safetensors"));
  const names = [...tensors.keys()].sort();
  return { names, values: Float64Array.from(names.flatMap((name) => [...(tensors.get(name)?.data ?? [])])) };
}

/** Our run folder against PEFT's adapter and record: losses, norms before clipping, rates, the adapter and its change. */
export function expectTraining(run: string, folder: string): void {
  const events = readLines<{ loss: number; gradNorm?: number; lr: number }>(path.join(run, "events.jsonl"));
  const steps = events.filter((event) => event.gradNorm !== undefined);
  const theirs = JSON.parse(fs.readFileSync(path.join(folder, "live.json"), "utf8")) as {
    losses: number[];
    gradNorms: number[];
    lrs: number[];
  };
  expect(
    largest(
      steps.map((step) => step.loss),
      theirs.losses,
    ),
    "losses",
  ).toBeLessThan(F32_LOSS);
  expect(
    largest(
      steps.map((step) => step.lr),
      theirs.lrs,
    ),
    "rates",
  ).toBeLessThan(1e-12);
  const ratios = steps.map((step, i) => (step.gradNorm as number) / theirs.gradNorms[i]);
  expect(
    largest(
      ratios,
      theirs.gradNorms.map(() => 1),
    ),
    "gradient norms",
  ).toBeLessThan(F32_GRADIENT);

  const [mine, peft, start] = [path.join(run, "adapter"), path.join(folder, "peft"), path.join(folder, "init")].map(
    adapterNumbers,
  );
  expect(mine.names).toEqual(peft.names);
  expect(relative(mine.values, peft.values), "adapter").toBeLessThan(F32_ADAPTER);
  const change = (x: Float64Array): Float64Array => x.map((value, i) => value - start.values[i]);
  expect(relative(change(mine.values), change(peft.values)), "change of the adapter").toBeLessThan(F32_ADAPTER_CHANGE);
}
