/** `steerlab score` before and around the engine: the place of its output, and numbers that are none. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { LAB_MODEL } from "../../../kernel-lib/src/base";
import { score, type ScoreTrial, scoreTrials } from "../../../kernel-lib/src/command";
import type { RowResult } from "../../../kernel-lib/src/engine";
import { FakeEngine } from "../../helpers/fake-engine";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "score-"));
const at = (...names: string[]): string => path.join(folder, ...names);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const LINE = { id: "a", context: [1, 2], question: [3], steering: [], report: { tokens: [4], topK: 1 } };
beforeEach(() => fs.writeFileSync(at("in.jsonl"), JSON.stringify(LINE)));
const run = (out: string, ...more: string[]): Promise<void> =>
  score(["--model", LAB_MODEL, "--trials", at("in.jsonl"), "--out", out, "--backend", "cpu", ...more]);

describe("steerlab score", () => {
  it("refuses an output that cannot be written, and a bad adapter, before it loads the model; leaves nothing", async () => {
    fs.mkdirSync(at("folder"), { recursive: true });
    await expect(run(at("folder"))).rejects.toThrow(/a file for --out .*A folder of this name/);
    await expect(run(at("in.jsonl", "out.jsonl"))).rejects.toMatchObject({ code: "out-folder" });
    await expect(run(at("new", "out.jsonl"), "--adapter", at("folder"))).rejects.toThrow(/adapter_config\.json/);
    expect(fs.readdirSync(folder).sort()).toEqual(["folder", "in.jsonl"]);
  });

  it("makes the output's folder, replaces an old file as a whole, and keeps it when a trial fails", async () => {
    await run(at("made", "deep", "out.jsonl"));
    const whole = fs.readFileSync(at("made", "deep", "out.jsonl"), "utf8");
    expect(JSON.parse(whole)).toMatchObject({ id: "a", topK: [{}] });
    const direction = Array(256).fill(1e30);
    const steering = [{ vector: direction, layers: [0, 12], magnitude: 1e30 }];
    fs.writeFileSync(at("in.jsonl"), JSON.stringify({ ...LINE, steering }));
    await expect(run(at("made", "deep", "out.jsonl"))).rejects.toThrow(/finite log-probabilities for trial "a"/);
    expect(fs.readFileSync(at("made", "deep", "out.jsonl"), "utf8")).toBe(whole);
    expect(fs.readdirSync(at("made", "deep"))).toEqual(["out.jsonl"]);
  });
});

describe("scoreTrials", () => {
  const trial = (id: number, topK: number): ScoreTrial => ({
    id,
    context: [1],
    question: [2],
    steering: [],
    wanted: [3, 3],
    topK,
  });

  it("gives each trial its own share of the likeliest tokens, and counts a token once in the mass", async () => {
    const records = await scoreTrials(new FakeEngine(), [trial(0, 3), trial(1, 0), trial(2, 1)], null);
    expect(records.map(({ topK }) => topK.length)).toEqual([3, 0, 1]);
    for (const { logprobs, mass } of records) expect(mass).toBeCloseTo(Math.exp(logprobs[0]), 12);
  });

  it("names the trial whose numbers are not finite, among the wanted tokens or the likeliest", async () => {
    for (const spoil of [
      (result: RowResult) => result.positions[0].logprobs.fill(Number.NaN),
      (result: RowResult) => Object.assign(result.positions[0].top[0], { logprob: Number.NEGATIVE_INFINITY }),
    ]) {
      const engine = new FakeEngine();
      const forward = engine.forward.bind(engine);
      engine.forward = async (rows, options) => {
        const results = await forward(rows, options);
        spoil(results[3]);
        return results;
      };
      await expect(scoreTrials(engine, [trial(0, 1), trial(1, 1)], null)).rejects.toThrow(/for trial 1 but received/);
    }
  });
});
