/** `steerlab score` before and around the engine: the place of its output, and numbers that are none. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { LAB_MODEL } from "../../../kernel-lib/src/base";
import { adapterPlace, score, type ScoreTrial, scoreTrials } from "../../../kernel-lib/src/command";
import { openEngine, type RowResult } from "../../../kernel-lib/src/engine";
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
    await expect(run(at("folder"))).rejects.toThrow(/a file for --out .*a folder of this name/);
    await expect(run("/proc/foo")).rejects.toMatchObject({ code: "out-folder" });
    await expect(run(at("in.jsonl", "out.jsonl"))).rejects.toMatchObject({ code: "out-folder" });
    await expect(run(at("new", "out.jsonl"), "--adapter", at("folder"))).rejects.toThrow(/adapter_config\.json/);
    expect(fs.readdirSync(folder).sort()).toEqual(["folder", "in.jsonl"]);
  });

  it("makes the output's folder, replaces an old file as a whole, and keeps it when a trial fails", async () => {
    await run(at("made", "deep", "out.jsonl"));
    const whole = fs.readFileSync(at("made", "deep", "out.jsonl"), "utf8");
    expect(JSON.parse(whole)).toMatchObject({ id: "a", topK: [{}] });
    // Within 32 bits for one layer, beyond them after two.
    const direction = Array(256).fill(1e30);
    const steering = [{ vector: direction, layers: [0, 12], magnitude: 3e8 }];
    fs.writeFileSync(at("in.jsonl"), JSON.stringify({ ...LINE, steering }));
    await expect(run(at("made", "deep", "out.jsonl"))).rejects.toThrow(/finite log-probabilities for trial "a"/);
    expect(fs.readFileSync(at("made", "deep", "out.jsonl"), "utf8")).toBe(whole);
    expect(fs.readdirSync(at("made", "deep"))).toEqual(["out.jsonl"]);
  });
});

describe("steerlab score, around the edges", () => {
  it("writes a link and a device through", async () => {
    fs.mkdirSync(at("real"), { recursive: true });
    fs.symlinkSync("real/out.jsonl", at("link.jsonl"));
    await run(at("link.jsonl"));
    expect(fs.lstatSync(at("link.jsonl")).isSymbolicLink()).toBe(true);
    expect(JSON.parse(fs.readFileSync(at("real", "out.jsonl"), "utf8"))).toMatchObject({ id: "a" });
    await run("/dev/zero");
    expect(fs.lstatSync("/dev/zero").isCharacterDevice()).toBe(true);
    await expect(run("/dev/full")).rejects.toMatchObject({ code: "disk-full" });
  });

  it("asks a bare question: the same numbers as the engine gives the question alone", async () => {
    fs.writeFileSync(at("in.jsonl"), JSON.stringify({ ...LINE, context: [] }));
    await run(at("bare.jsonl"));
    const { engine } = await openEngine(LAB_MODEL, { backend: "cpu" });
    const [row] = await engine.forward([{ tokens: [3], wanted: [4] }], { report: "last" });
    engine.dispose();
    const scored = JSON.parse(fs.readFileSync(at("bare.jsonl"), "utf8")) as { logprobs: number[] };
    expect(scored.logprobs[0]).toBe(row.positions[0].logprobs[0]);
  });

  it("takes a run for its adapter, and says what is missing in one that has none", async () => {
    const refused = async (message: RegExp) =>
      expect(run(at("x.jsonl"), "--adapter", at("run"))).rejects.toThrowError(
        expect.objectContaining({ code: "adapter-place", message: expect.stringMatching(message) }),
      );
    fs.mkdirSync(at("run", "checkpoints", "step-000050"), { recursive: true });
    fs.mkdirSync(at("run", "checkpoints", "step-000100"));
    await refused(/has not ended; its newest checkpoint is .*step-000100/);
    fs.rmSync(at("run", "checkpoints"), { recursive: true });
    fs.writeFileSync(at("run", "meta.json"), '{"kind": "detection"}');
    await refused(/a run of kind "detection"/);
    fs.mkdirSync(at("run", "adapter"));
    fs.writeFileSync(at("run", "adapter", "adapter_config.json"), "{}");
    expect(adapterPlace(at("run"))).toBe(at("run", "adapter"));
    expect(adapterPlace(at("run", "adapter"))).toBe(at("run", "adapter"));
    expect(adapterPlace("org/name")).toBe("org/name");
    fs.mkdirSync(at("runs"));
    fs.renameSync(at("run"), at("runs", "20300102-030405-train-strict-s1"));
    const first = at("runs", "20300102-030405-train-strict-s1");
    expect(adapterPlace(at("runs"))).toBe(path.join(first, "adapter"));
    // Twins by several seeds lie in a folder below.
    const second = at("runs", "twins", "20300102-030406-train-flipped-s2");
    fs.cpSync(first, second, { recursive: true });
    fs.writeFileSync(path.join(second, "meta.json"), '{"protocolLabel": "flipped", "seed": 2}');
    expect(() => adapterPlace(at("runs"))).toThrow(
      `It holds 2 trainings; name one: ${second} (flipped, training seed 2); ${first} (`,
    );
  });

  it("says which training an evaluation measured", () => {
    const made = (name: string, meta: object): string => {
      fs.mkdirSync(at("both", name), { recursive: true });
      fs.writeFileSync(at("both", name, "meta.json"), JSON.stringify(meta));
      fs.writeFileSync(at("both", name, "DONE"), "");
      return at("both", name);
    };
    const training = made("20300102-030405-train-strict-s1", { kind: "train", adapterHash: "a" });
    const sweep = made("20300102-030406-detection-strict-s7", { kind: "detection", adapterHash: "a" });
    expect(() => adapterPlace(sweep)).toThrow(`leaves no adapter. What it measured was trained by ${training}.`);
  });

  it("stops on a signal and leaves nothing", async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(
      score(["--model", LAB_MODEL, "--trials", at("in.jsonl"), "--out", at("s", "o.jsonl")], stop.signal),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(fs.existsSync(at("s"))).toBe(false);
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
