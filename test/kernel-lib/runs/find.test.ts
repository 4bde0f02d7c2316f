/** Earlier runs are found by what they were made from: newest first, never a failed one, never another model's. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  adapterRun,
  aimBounds,
  aimVerdict,
  createRunFolder,
  findRun,
  finishedRuns,
  type RunFolder,
  runsFolder,
  runsOfAdapter,
  runsSideBySide,
  runOrigin,
  trainingTitle,
  verdictTone,
} from "../../../kernel-lib/src/runs";
import { loadProtocol, protocolHash, saveProtocol, twin } from "../../../kernel-lib/src/study";

const folder = mkdtempSync(path.join(tmpdir(), "runs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let root: string;
let second = 0;
beforeEach(() => {
  root = path.join(folder, `case-${second}`);
});

function run(meta: Record<string, unknown> | null, end: "done" | "failed" | "open" = "done"): RunFolder {
  const made = createRunFolder({ root, slug: "run", seed: 1, time: new Date(1_750_000_000_000 + 1000 * second++) });
  if (meta !== null) made.writeMeta(meta);
  if (end === "done") made.markDone();
  if (end === "failed") made.markFailed("it broke");
  return made;
}

describe("findRun", () => {
  it("takes the newest that has every field, done or still open", () => {
    expect(findRun(root, {})).toBeNull();
    run({ kind: "train", seed: 1, modelHash: "a" });
    const newer = run({ kind: "train", seed: 1, modelHash: "a", residualNorms: [1, 2] }, "open");
    run({ kind: "train", seed: 2, modelHash: "a" });
    run({ kind: "train", seed: 1, modelHash: "b" });
    expect(findRun(root, { kind: "train", seed: 1, modelHash: "a" })?.path).toBe(newer.path);
    expect(findRun(root, { residualNorms: [1, 2] })?.path).toBe(newer.path);
    expect(findRun(root, { residualNorms: [1, 3] })).toBeNull();
    expect(findRun(root, { kind: "detection" })).toBeNull();
  });

  it("passes over failed runs and folders without meta.json", () => {
    const good = run({ kind: "train" });
    run({ kind: "train" }, "failed");
    run(null);
    expect(findRun(root, { kind: "train" })?.path).toBe(good.path);
    expect(findRun(root, {})?.path).toBe(good.path);
  });
});

describe("adapterRun", () => {
  it("is the newest finished training that fits, and says what to run where there is none", () => {
    expect(() => adapterRun(root, { modelHash: "a" })).toThrow(/finished training run .*Run 01-train first/);
    const done = run({ kind: "train", modelHash: "a" });
    run({ kind: "detection", modelHash: "a" });
    expect(adapterRun(root, { modelHash: "a" }).adapter).toBe(path.join(done.path, "adapter"));
    expect(() => adapterRun(root, { modelHash: "b" })).toThrow(/Run 01-train first/);
    run({ kind: "train", modelHash: "a" }, "open"); // newer, but it has no adapter yet
    expect(adapterRun(root, { modelHash: "a" }).adapter).toBe(path.join(done.path, "adapter"));
    run({ kind: "train", modelHash: "c" }, "open");
    expect(() => adapterRun(root, { modelHash: "c" })).toThrow(/stopped half-way .*Run 01-train again to finish it/);
  });

  it("names run, protocol, seed and date, and the others that fit", () => {
    const meta = { kind: "train", modelHash: "m", protocolLabel: "strict", started: "2030-01-02T03:04:05Z" };
    const [first, second] = [run({ ...meta, seed: 1 }), run({ ...meta, seed: 2 })];
    const newest = adapterRun(root, { modelHash: "m" });
    expect(newest.numbers).toEqual({
      "adapter run": second.id,
      "trained by": "strict",
      "training seed": 2,
      "trained on": "2030-01-02 03:04 UTC",
    });
    expect(inspect(newest)).toBe(
      `adapter of run ${second.id} (strict, training seed 2, 2030-01-02 03:04 UTC)\n` +
        `the newest of 2 that fit; set adapterName or trainSeed for another: ${first.id} (seed 1)`,
    );
    const chosen = adapterRun(root, { modelHash: "m" }, { trainSeed: 1 });
    expect(inspect(chosen)).toBe(`adapter of run ${first.id} (strict, training seed 1, 2030-01-02 03:04 UTC)`);
    expect(() => adapterRun(root, { modelHash: "m" }, { trainSeed: 3 })).toThrow(/with seed 3 in .* but found none/);
  });

  it("says where one lies that fits, if not here", () => {
    const there = run({ kind: "train", modelHash: "m" });
    expect(() => adapterRun(path.join(root, "batch"), { modelHash: "m" }, { elsewhere: root })).toThrow(
      `but found one only in ${root}. Set adapterName to "${there.path}"`,
    );
  });

  it("takes a run by name or folder, and an adapter by its folder or hub name", () => {
    const trained = run({ kind: "train", modelHash: "m", seed: 1 });
    run({ kind: "train", modelHash: "m", seed: 2 });
    const folder = path.join(trained.path, "adapter");
    mkdirSync(folder);
    for (const adapterName of [trained.id, trained.path, folder]) {
      const found = adapterRun(root, { modelHash: "m" }, { adapterName });
      expect([found.adapter, found.run?.id]).toEqual([folder, trained.id]);
    }
    const hub = adapterRun(root, {}, { adapterName: "someone/adapter" });
    expect([hub.adapter, hub.run]).toEqual(["someone/adapter", null]);
    expect(hub.numbers["training seed"]).toBeNull();
    expect(inspect(hub)).toMatch(/someone\/adapter: trained by no run of ours/);
  });
});

describe("runs of a batch below", () => {
  const below = (name: string, work: () => RunFolder): RunFolder => {
    const above = root;
    root = path.join(root, name);
    const made = work();
    root = above;
    return made;
  };

  it("are found from above, newest first, but not what a run holds itself", () => {
    const batch = below("batch", () => run({ kind: "train", modelHash: "m" }));
    const own = run({ kind: "train", modelHash: "m" });
    const deep = below("2030/night", () => run({ kind: "train", modelHash: "m" }));
    below(`${own.id}/imported`, () => run({ kind: "train", modelHash: "m" }));
    expect(finishedRuns(root, { modelHash: "m" }).map(({ id }) => id)).toEqual([deep.id, own.id, batch.id]);
    expect(adapterRun(root, { modelHash: "m" }).run?.path).toBe(deep.path);
    expect(finishedRuns(path.join(root, "batch")).map(({ id }) => id)).toEqual([batch.id]);
  });

  it("are taken up only when done: an open one may be at work", () => {
    const done = below("batch", () => run({ kind: "train" }));
    below("batch", () => run({ kind: "train" }, "open"));
    expect(findRun(root, { kind: "train" })?.path).toBe(done.path);
    expect(findRun(path.join(root, "batch"), { kind: "train" })?.status()).toBe("open");
  });
});

describe("runsOfAdapter", () => {
  it("gives the newest evaluation of each kind, in a report's order, then the training", () => {
    expect(runsOfAdapter(root, "h")).toEqual({ training: null, evaluations: [], all: [] });
    const training = run({ kind: "train", adapterHash: "h" });
    const effects = run({ kind: "side-effects", adapterHash: "h" });
    run({ kind: "detection", adapterHash: "h" });
    const detection = run({ kind: "detection", adapterHash: "h" });
    run({ kind: "identity", adapterHash: "h" }, "open");
    run({ kind: "identity", adapterHash: "other" });
    const evaluations = [detection.path, effects.path];
    expect(runsOfAdapter(root, "h")).toEqual({
      training: training.path,
      evaluations,
      all: [...evaluations, training.path],
    });
  });
});

describe("runsSideBySide", () => {
  it("takes the other shipped protocols by hash: a changed one of the same name does not stand in", () => {
    const [strict, card] = ["strict", "card"].map((name) => protocolHash(loadProtocol(name)));
    const own = run({ kind: "train", modelHash: "m", protocolHash: strict, protocol: "strict", adapterHash: "own" });
    run({ kind: "train", modelHash: "m", protocolHash: "changed", protocol: "card", adapterHash: "changed" });
    expect(runsSideBySide(root, "own")).toEqual([own.path]);
    const other = run({ kind: "train", modelHash: "m", protocolHash: card, protocol: "card", adapterHash: "card" });
    const sweep = run({ kind: "detection", modelHash: "m", protocolHash: card, protocol: "card", adapterHash: "card" });
    run({ kind: "train", modelHash: "m", protocolHash: "changed", protocol: "card", adapterHash: "changed" });
    expect(runsSideBySide(root, "own")).toEqual([own.path, sweep.path, other.path]);
  });
});

describe("runOrigin", () => {
  it("finds what the protocol of an older run is called by comparing it", () => {
    const old = run({ kind: "train", protocol: "strict", seed: 1 });
    saveProtocol(twin(loadProtocol("strict"), { "training.examples": 640 }), old.file("protocol.yaml"));
    expect(trainingTitle(runOrigin(old))).toMatch(
      /\(strict~[0-9a-f]{8}, not as shipped now \([0-9a-f]{8}\), training seed 1/,
    );
  });
});

describe("verdicts", () => {
  const aim = {
    metric: "falseAlarmRate",
    tier: "t",
    least: null,
    most: 0.02,
    value: 0.01,
    n: 9,
    low: 0,
    high: 0.3,
    text: "",
  };

  it("are the result's own, else of the point value, and coloured by how firm they are", () => {
    expect(aimVerdict({ ...aim, reached: true })).toBe("reached");
    expect(aimVerdict({ ...aim, reached: false })).toBe("missed");
    expect(aimVerdict({ ...aim, reached: null })).toBe("not measured");
    const open = "reached, but its interval goes past the aim";
    expect(aimVerdict({ ...aim, reached: true, verdict: open })).toBe(open);
    expect(["reached", open, "missed", "not measured"].map(verdictTone)).toEqual(["good", "warn", "bad", "warn"]);
    expect(aimBounds({ least: 0.45, most: 0.55 })).toBe("\u2265 0.45, \u2264 0.55");
  });
});

describe("runsFolder", () => {
  it("is the batch's folder in a batch, else runs/ of the project", () => {
    expect(runsFolder(root)).toBe(root);
    expect(runsFolder("")).toBe(path.resolve(__dirname, "../../../runs"));
    expect(runsFolder("runs/batch")).toBe(path.resolve(__dirname, "../../../runs/batch"));
  });
});
