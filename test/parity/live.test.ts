/**
 * Live comparison with transformers + PEFT: fresh random models, adapters, trials and training sets under a printed seed, through
 * the command line of both sides. Needs Python with torch, transformers and peft: STEERLAB_ORACLE_PYTHON, or .venv-oracle in the
 * repository (made by .ci/run). Skipped by name without; STEERLAB_REQUIRE_ORACLE=1 makes absence a failure.
 * STEERLAB_LIVE_SEED repeats a seed, STEERLAB_LIVE_ROUNDS makes more rounds.
 */
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, it } from "vitest";
import { expectScores, expectTraining, steerlab, trainFlags, trialFlags } from "./command-line";
import { oraclePython, oracleRequired } from "./oracle";
import { FIXTURES } from "./readers";

const run = promisify(execFile);
const LIVE = path.join(FIXTURES, "live.py");
/** Two rounds of two models take a minute, most of it importing torch. */
const TIMEOUT_MS = 300_000;

const python = oraclePython();
const required = oracleRequired;
const rounds = Number(process.env.STEERLAB_LIVE_ROUNDS ?? "2");
const fixed = process.env.STEERLAB_LIVE_SEED;
const seeds = Array.from({ length: rounds }, (_, i) =>
  fixed === undefined ? randomInt(1_000_000) : Number(fixed) + i,
);

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
      if (python === null)
        throw new Error(
          "Expected Python with torch, transformers and peft but found none. STEERLAB_REQUIRE_ORACLE is set; see .ci/run.",
        );
      await run(python, [LIVE, ...args, "--out", at()]);
    };
    beforeAll(async () => {
      await oracle("make", "--seed", String(seed));
      const { config, dtype, training } = JSON.parse(fs.readFileSync(at("live.json"), "utf8"));
      console.log(`live seed ${seed}: ${JSON.stringify({ ...config, dtype, training })}`);
    }, TIMEOUT_MS);

    it(
      "score: log-probabilities of the base",
      async () => {
        await steerlab("score", ...trialFlags(at()), "--out", at("base.jsonl"));
        expectScores(at("base.jsonl"), at("expected-base.jsonl"));
      },
      TIMEOUT_MS,
    );

    it(
      "score: an adapter made by PEFT, in small batches on two threads",
      async () => {
        await steerlab(
          "score",
          ...trialFlags(at()),
          "--adapter",
          at("adapter"),
          "--batch",
          "5",
          "--threads",
          "2",
          "--out",
          at("adapter.jsonl"),
        );
        expectScores(at("adapter.jsonl"), at("expected-adapter.jsonl"));
      },
      TIMEOUT_MS,
    );

    it(
      "train: the same adapter, losses, norms and rates; PEFT loads it with equal logits",
      async () => {
        await steerlab("train", ...trainFlags(at()), "--out", at("run"));
        expectTraining(at("run"), at());
        await oracle("score", "--adapter", at("run", "adapter"), "--expected", at("expected-trained.jsonl"));
        await steerlab("score", ...trialFlags(at()), "--adapter", at("run", "adapter"), "--out", at("trained.jsonl"));
        expectScores(at("trained.jsonl"), at("expected-trained.jsonl"));
      },
      TIMEOUT_MS,
    );
  });
});
