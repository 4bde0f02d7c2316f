/**
 * Live comparison with transformers + PEFT: fresh random models, adapters, trials and training sets under a printed seed, through
 * the command line of both sides. Needs Python with torch, transformers and peft: STEERLAB_ORACLE_PYTHON, or .venv-oracle in the
 * repository (made by .ci/run). Skipped by name without; STEERLAB_REQUIRE_ORACLE=1 makes absence a failure.
 * STEERLAB_LIVE_SEED repeats a seed, STEERLAB_LIVE_ROUNDS makes more rounds.
 */
import { execFile, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FIXTURES, largest, readSafetensors, relative } from "./readers";
import { F32_ADAPTER, F32_ADAPTER_CHANGE, F32_GRADIENT, F32_LOGPROB, F32_LOSS } from "./tolerances";

const run = promisify(execFile);
const ROOT = path.resolve(__dirname, "../..");
const CLI = path.join(ROOT, "kernel-lib/bin/steerlab.cjs");
const LIVE = path.join(FIXTURES, "live.py");
/** Two rounds of two models take a minute, most of it importing torch. */
const TIMEOUT_MS = 300_000;

function oraclePython(): string | null {
  const candidate = process.env.STEERLAB_ORACLE_PYTHON ?? path.join(ROOT, ".venv-oracle/bin/python");
  const probe = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('torch', 'transformers', 'peft', 'safetensors')))";
  return spawnSync(candidate, ["-c", probe]).status === 0 ? candidate : null;
}

const python = oraclePython();
const required = process.env.STEERLAB_REQUIRE_ORACLE === "1";
const rounds = Number(process.env.STEERLAB_LIVE_ROUNDS ?? "2");
const fixed = process.env.STEERLAB_LIVE_SEED;
const seeds = Array.from({ length: rounds }, (_, i) => (fixed === undefined ? randomInt(1_000_000) : Number(fixed) + i));

interface ScoreLine {
  id: string;
  logprobs: number[];
  mass: number;
  topK: { token: number; logprob: number }[];
}

function readLines<T>(file: string): T[] {
  return fs.readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line) as T);
}

async function steerlab(...args: string[]): Promise<void> {
  await run(process.execPath, [CLI, ...args], { cwd: ROOT });
}

/** Our output against theirs: ids in order, logprobs, mass, and the top tokens wherever they are not tied. */
function expectScores(ours: string, theirs: string): void {
  const [mine, reference] = [ours, theirs].map((file) => readLines<ScoreLine>(file));
  expect(mine.map((line) => line.id)).toEqual(reference.map((line) => line.id));
  for (const [i, line] of mine.entries()) {
    expect(largest(line.logprobs, reference[i].logprobs), `logprobs of ${line.id}`).toBeLessThan(F32_LOGPROB);
    expect(Math.abs(line.mass - reference[i].mass), `mass of ${line.id}`).toBeLessThan(F32_LOGPROB);
    expect(largest(line.topK.map((top) => top.logprob), reference[i].topK.map((top) => top.logprob)), `topK of ${line.id}`).toBeLessThan(F32_LOGPROB);
    const clear = reference[i].topK.every((top, k, all) => k === 0 || all[k - 1].logprob - top.logprob > 2 * F32_LOGPROB);
    if (clear) expect(line.topK.map((top) => top.token).slice(0, -1)).toEqual(reference[i].topK.map((top) => top.token).slice(0, -1));
  }
}

/** All tensors of an adapter end to end, by name. */
function adapterNumbers(folder: string): { names: string[]; values: Float64Array } {
  const tensors = readSafetensors(path.join(folder, "adapter_model.safetensors"));
  const names = [...tensors.keys()].sort();
  return { names, values: Float64Array.from(names.flatMap((name) => [...(tensors.get(name)?.data ?? [])])) };
}

const title =
  python !== null || required
    ? "live comparison with transformers + PEFT"
    : "live comparison with transformers + PEFT (skipped: no Python with torch, transformers and peft; set STEERLAB_ORACLE_PYTHON or run .ci/run)";

describe.skipIf(python === null && !required)(title, () => {
  let base: string;
  beforeAll(() => {
    base = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-live-"));
  });
  afterAll(() => fs.rmSync(base, { recursive: true, force: true }));

  describe.each(seeds)("seed %i", (seed) => {
    const at = (...parts: string[]): string => path.join(base, String(seed), ...parts);
    const oracle = async (...args: string[]): Promise<void> => {
      if (python === null) throw new Error("Expected Python with torch, transformers and peft but found none. STEERLAB_REQUIRE_ORACLE is set; see .ci/run.");
      await run(python, [LIVE, ...args, "--out", at()]);
    };
    beforeAll(async () => {
      await oracle("make", "--seed", String(seed));
      const { config, dtype, training } = JSON.parse(fs.readFileSync(at("live.json"), "utf8"));
      console.log(`live seed ${seed}: ${JSON.stringify({ ...config, dtype, training })}`);
    }, TIMEOUT_MS);

    const trialFlags = (): string[] => ["--model", at("model"), "--trials", at("trials.jsonl"), "--backend", "cpu", "--dtype", "f32"];

    it("score: log-probabilities of the base", async () => {
      await steerlab("score", ...trialFlags(), "--out", at("base.jsonl"));
      expectScores(at("base.jsonl"), at("expected-base.jsonl"));
    }, TIMEOUT_MS);

    it("score: an adapter made by PEFT, in small batches on two threads", async () => {
      await steerlab("score", ...trialFlags(), "--adapter", at("adapter"), "--batch", "5", "--threads", "2", "--out", at("adapter.jsonl"));
      expectScores(at("adapter.jsonl"), at("expected-adapter.jsonl"));
    }, TIMEOUT_MS);

    it("train: the same adapter, losses, norms and rates; PEFT loads it with equal logits", async () => {
      const flags = ["--model", at("model"), "--examples", at("examples.jsonl"), "--vectors", at("vectors.safetensors"), "--config", at("train.yaml")];
      await steerlab("train", ...flags, "--init-adapter", at("init"), "--out", at("run"), "--backend", "cpu", "--dtype", "f32");
      const events = readLines<{ step?: number; kind?: string; loss: number; gradNorm: number; lr: number }>(at("run", "events.jsonl"));
      const steps = events.filter((event) => event.gradNorm !== undefined);
      const live = JSON.parse(fs.readFileSync(at("live.json"), "utf8"));
      expect(largest(steps.map((step) => step.loss), live.losses)).toBeLessThan(F32_LOSS);
      expect(largest(steps.map((step) => step.lr), live.lrs)).toBeLessThan(1e-12);
      expect(largest(steps.map((step, i) => step.gradNorm / live.gradNorms[i]), live.gradNorms.map(() => 1))).toBeLessThan(F32_GRADIENT);
      const [mine, theirs, start] = [at("run", "adapter"), at("peft"), at("init")].map(adapterNumbers);
      expect(mine.names).toEqual(theirs.names);
      expect(relative(mine.values, theirs.values)).toBeLessThan(F32_ADAPTER);
      const change = (x: Float64Array): Float64Array => x.map((value, i) => value - start.values[i]);
      expect(relative(change(mine.values), change(theirs.values))).toBeLessThan(F32_ADAPTER_CHANGE);

      await oracle("score", "--adapter", at("run", "adapter"), "--expected", at("expected-trained.jsonl"));
      await steerlab("score", ...trialFlags(), "--adapter", at("run", "adapter"), "--out", at("trained.jsonl"));
      expectScores(at("trained.jsonl"), at("expected-trained.jsonl"));
    }, TIMEOUT_MS);
  });
});
