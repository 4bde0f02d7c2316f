/** A run folder has one trainer at a time, survives a killed one, and is not spoilt by a run that is refused. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { train } from "../../../kernel-lib/src/command";
import { claimRun, parseTrainConfig, runTraining, type TrainingRun } from "../../../kernel-lib/src/train";
import { FakeEngine } from "../../helpers/fake-engine";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "run-lock-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let out: string;
let count = 0;
beforeEach(() => {
  out = path.join(root, `parent-${count++}`, "run");
});

const LINES = ["lora: {r: 2, alpha: 4, target_modules: [q_proj]}", "optimizer: {lr: 0.01}", "batch: 2", "epochs: 1"];
const config = parseTrainConfig([...LINES, "schedule: {warmup_steps: 0, total_steps: 4}"].join("\n"));
const run = (change: Partial<TrainingRun> = {}): TrainingRun => ({
  engine: new FakeEngine(),
  baseModel: { name: "fake", hash: "h" },
  examples: Array.from({ length: 8 }, (_, i) => ({
    id: i,
    context: [1, i],
    question: [2],
    labels: [3, 4],
    target: (i % 2) as 0 | 1,
    steering: null,
  })),
  vectors: [],
  config,
  out,
  ...change,
});
const inRun = (...names: string[]): string => path.join(out, ...names);
const holder = (pid: number): string => {
  const start = fs.existsSync(`/proc/${pid}/stat`)
    ? fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[19]
    : null;
  return JSON.stringify({ pid, start, host: os.hostname() });
};

describe("claimRun", () => {
  it("holds the folder until it is released, and takes away what it made for nothing", () => {
    const lock = claimRun(out, false);
    expect(lock.resumed).toBe(false);
    expect(() => claimRun(out, true)).toThrowError(expect.objectContaining({ code: "run-busy" }));
    lock.release();
    expect(fs.existsSync(path.dirname(out))).toBe(false);
  });

  it("does not take over from a living process, but from one that is gone, or whose number is used again", () => {
    fs.mkdirSync(out, { recursive: true });
    fs.writeFileSync(inRun("RUNNING"), holder(process.ppid));
    expect(() => claimRun(out, true)).toThrowError(new RegExp(`held by process ${process.ppid}`));
    const dead = spawnSync(process.execPath, ["-e", ""]).pid;
    const again = JSON.stringify({ ...JSON.parse(holder(process.ppid)), start: "1" });
    for (const text of [holder(dead), ...(fs.existsSync("/proc/self/stat") ? [again] : []), '{"pid"']) {
      fs.writeFileSync(inRun("RUNNING"), text);
      const lock = claimRun(out, true);
      expect(lock.resumed).toBe(true);
      lock.release();
    }
    expect(fs.readdirSync(out)).toEqual([]);
  });

  it.each(["events.jsonl", "checkpoints/x", "adapter/adapter_config.json"])("spares a folder with %s", (name) => {
    fs.mkdirSync(path.dirname(inRun(name)), { recursive: true });
    fs.writeFileSync(inRun(name), "precious\n");
    expect(() => claimRun(out, false)).toThrowError(expect.objectContaining({ code: "run-exists" }));
    expect(fs.readFileSync(inRun(name), "utf8")).toBe("precious\n");
    expect(fs.readdirSync(out)).toEqual([name.split("/")[0]]);
  });

  it("refuses a place that cannot be a folder in one sentence", () => {
    fs.mkdirSync(path.dirname(out), { recursive: true });
    fs.writeFileSync(out, "a file");
    for (const folder of [out, path.join(out, "below")])
      expect(() => claimRun(folder, false)).toThrowError(expect.objectContaining({ code: "out-folder" }));
  });

  it("clears away what a killed run left half-written", () => {
    fs.mkdirSync(inRun("checkpoints", "step-000002.77-1.partial", "deep"), { recursive: true });
    fs.writeFileSync(inRun("events.jsonl.77-3.partial"), "");
    fs.writeFileSync(inRun("mine.partial"), "");
    claimRun(out, true).release();
    expect(fs.readdirSync(out).sort()).toEqual(["checkpoints", "mine.partial"]);
    expect(fs.readdirSync(inRun("checkpoints"))).toEqual([]);
  });
});

describe("a training run", () => {
  it("gives its folder back when it ends", async () => {
    await runTraining(run());
    expect(fs.readdirSync(out).sort()).toEqual(["adapter", "checkpoints", "events.jsonl"]);
  });

  it("that fails in its first step leaves nothing", async () => {
    const engine = new FakeEngine();
    engine.createTrainer = () => {
      throw new Error("no room");
    };
    await expect(runTraining(run({ engine }))).rejects.toThrow("no room");
    expect(fs.existsSync(out)).toBe(false);
  });

  it("resumes with the same settings, data and arithmetic only, and says what differs", async () => {
    await runTraining(run());
    const other = new FakeEngine();
    Object.defineProperty(other, "dtype", { value: "bf16" });
    await expect(runTraining(run({ resume: true, engine: other }))).rejects.toThrow(/differ: dtype \(f32, now bf16\)/);
    await expect(runTraining(run({ resume: true, config: { ...config, seed: 9 } }))).rejects.toThrow(
      /differ: config \(/,
    );
    const examples = run().examples.slice(1);
    const vectors = [new Float32Array(8)];
    await expect(runTraining(run({ resume: true, examples, vectors }))).rejects.toThrow(
      /differ: examples \(.*, vectors \(/,
    );
    await expect(runTraining(run({ resume: true }))).resolves.toMatchObject({ steps: 4 });
  });

  it.each([
    ["null", /but received "format undefined"/],
    ['{"format": 1, "step": 4, "runHash": "a"}', /but received "format 1"/],
    [null, /but received "nothing"/],
  ])("refuses a damaged position %s", async (text, message) => {
    await runTraining(run());
    const file = inRun("checkpoints", "step-000004", "position.json");
    if (text === null) fs.rmSync(file);
    else fs.writeFileSync(file, text);
    await expect(runTraining(run({ resume: true }))).rejects.toThrow(message);
  });
});

describe("steerlab train", () => {
  const flags = ["--model", "none", "--examples", "none", "--vectors", "none", "--config", "none", "--out"];
  it("refuses to resume where there is no run, and makes no folder on bad input", async () => {
    await expect(train([...flags, out, "--resume"])).rejects.toMatchObject({ code: "no-run" });
    await expect(train([...flags, out])).rejects.toMatchObject({ code: "file-missing" });
    expect(fs.existsSync(path.dirname(out))).toBe(false);
  });
});
