/** Earlier runs are found by what they were made from: newest first, never a failed one, never another model's. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  adapterOrigin,
  aimBounds,
  aimVerdict,
  createRunFolder,
  findRun,
  type RunFolder,
  runsFolder,
  runsOfAdapter,
  runsSideBySide,
  trainedAdapter,
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

describe("trainedAdapter", () => {
  it("is the newest finished training's, and says what to run where there is none", () => {
    expect(() => trainedAdapter(root, {})).toThrow(/finished training run .*Run 01-train first/);
    const done = run({ kind: "train", modelHash: "a" });
    run({ kind: "detection", modelHash: "a" });
    expect(trainedAdapter(root, { modelHash: "a" })).toBe(path.join(done.path, "adapter"));
    expect(() => trainedAdapter(root, { modelHash: "b" })).toThrow(/Run 01-train first/);
    run({ kind: "train", modelHash: "a" }, "open"); // newer, but it has no adapter yet
    expect(trainedAdapter(root, { modelHash: "a" })).toBe(path.join(done.path, "adapter"));
    run({ kind: "train", modelHash: "c" }, "open");
    expect(() => trainedAdapter(root, { modelHash: "c" })).toThrow(
      /stopped half-way .*Run 01-train again to finish it/,
    );
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

describe("adapterOrigin", () => {
  it("names the run that trained an adapter, with protocol, seed and date, or says that there is none", () => {
    const meta = {
      kind: "train",
      adapterHash: "0123456789abcdef",
      protocolLabel: "strict",
      seed: 3,
      started: "2030-01-02T03:04:05Z",
    };
    const trained = run(meta);
    expect(adapterOrigin(root, "0123456789abcdef")).toBe(
      `adapter 0123456789ab of run ${trained.id} (strict, training seed 3, 2030-01-02 03:04 UTC)`,
    );
    expect(adapterOrigin(root, "other")).toMatch(/trained by no run in/);
    const old = run({ kind: "train", adapterHash: "old", protocol: "strict", seed: 1 });
    saveProtocol(twin(loadProtocol("strict"), { "training.examples": 640 }), old.file("protocol.yaml"));
    expect(adapterOrigin(root, "old")).toMatch(
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
    const open = "reached, not excluded by its interval";
    expect(aimVerdict({ ...aim, reached: true, verdict: open })).toBe(open);
    expect(["reached", open, "missed", "not measured"].map(verdictTone)).toEqual(["good", "warn", "bad", "warn"]);
    expect(aimBounds({ least: 0.45, most: 0.55 })).toBe("\u2265 0.45, \u2264 0.55");
  });
});

describe("runsFolder", () => {
  it("is the batch's folder in a batch, else runs/ of the project", () => {
    expect(runsFolder(root)).toBe(root);
    expect(runsFolder("")).toBe(path.resolve(__dirname, "../../../runs"));
  });
});
