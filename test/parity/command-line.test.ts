/**
 * `steerlab score` and `steerlab train` on committed folders of live.py: the live comparison's goldens, for machines without torch.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectScores, expectTraining, steerlab, trainFlags, trialFlags } from "./command-line";
import { FIXTURES } from "./readers";

/** Each run starts a Node process and an engine: a second alone, many on a busy machine. */
const TIMEOUT_MS = 180_000;

const CASES = fs.readdirSync(path.join(FIXTURES, "cli"));

let out: string;
beforeAll(() => {
  out = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-cli-"));
});
afterAll(() => fs.rmSync(out, { recursive: true, force: true }));

describe.each(CASES)("command line against transformers + PEFT, seed %s", { timeout: TIMEOUT_MS }, (seed) => {
  const folder = path.join(FIXTURES, "cli", seed);
  const at = (name: string): string => path.join(out, `${seed}-${name}`);

  it("score: base", async () => {
    await steerlab("score", ...trialFlags(folder), "--out", at("base.jsonl"));
    expectScores(at("base.jsonl"), path.join(folder, "expected-base.jsonl"));
  });

  it("score: an adapter made by PEFT; the batch size changes no byte", async () => {
    for (const batch of ["1", "5", "32"]) {
      await steerlab(
        "score",
        ...trialFlags(folder),
        "--adapter",
        path.join(folder, "adapter"),
        "--batch",
        batch,
        "--out",
        at(`adapter-${batch}.jsonl`),
      );
      expectScores(at(`adapter-${batch}.jsonl`), path.join(folder, "expected-adapter.jsonl"));
    }
    const [one, five, all] = ["1", "5", "32"].map((batch) => fs.readFileSync(at(`adapter-${batch}.jsonl`), "utf8"));
    expect(five).toBe(one);
    expect(all).toBe(one);
  });

  it("train: PEFT's adapter, losses, gradient norms and rates", async () => {
    await steerlab("train", ...trainFlags(folder), "--out", at("run"));
    expectTraining(at("run"), folder);
  });
});
