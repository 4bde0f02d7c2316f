/** Command-line flags: what is read, and that a slip is one sentence which names the flag. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import {
  backendOptions,
  flagsOf,
  otherBase,
  refuseToOverwriteInput,
  required,
  stopOnSignals,
  wholeNumber,
} from "../../../kernel-lib/src/command";

const parse = (...args: string[]) => flagsOf("score", args, ["model", "batch", "threads"], ["resume"]);

describe("flagsOf", () => {
  it("reads values in both forms and switches", () => {
    expect(parse("--model", "a b", "--batch=-1", "--resume")).toEqual({ model: "a b", batch: "-1", resume: "true" });
    expect(parse()).toEqual({});
  });

  it.each([
    [["--modle", "x"], /Unknown option '--modle'\. Run "steerlab score --help"/],
    [["stray"], /Unexpected argument 'stray'/],
    [["--model"], /'--model <value>' argument missing/],
    [["--batch", "-1"], /value for --batch but received one that starts with a dash, or none; write --batch=VALUE/],
    [["--model", "a", "--model", "b"], /--model once but received it 2 times/],
    [["--resume", "--resume=yes"], /--resume/],
  ])("refuses %j", (args, message) => {
    expect(() => parse(...args)).toThrowError(
      expect.objectContaining({ code: "bad-flag", message: expect.stringMatching(message) }),
    );
    expect(() => parse(...args)).not.toThrowError(/\n/);
  });
});

describe("values", () => {
  it("are required where they are, and not empty", () => {
    expect(required("score", { model: "m" }, "model")).toBe("m");
    for (const flags of [{}, { model: "" }])
      expect(() => required("score", flags, "model")).toThrowError(expect.objectContaining({ code: "missing-flag" }));
  });

  it("are whole numbers within their range", () => {
    expect(wholeNumber({}, "batch", 32, 1)).toBe(32);
    expect(wholeNumber({ batch: "7" }, "batch", 32, 1)).toBe(7);
    for (const text of ["0", "-1", "1.5", "", " ", "x", "NaN", "1e999"])
      expect(() => wholeNumber({ batch: text }, "batch", 32, 1)).toThrow(/whole number >= 1 for --batch/);
    expect(() => backendOptions({ threads: "1025" })).toThrow(/1\.\.1024 for --threads but received "1025"/);
  });

  it("name a backend, a type and what may be accepted", () => {
    // which type is best depends on where it runs: opening the engine decides
    expect(backendOptions({})).toEqual({ backend: "auto", dtype: undefined, threads: 0 });
    expect(backendOptions({ backend: "cpu", dtype: "bf16", threads: "2" })).toMatchObject({
      dtype: "bf16",
      threads: 2,
    });
    expect(() => backendOptions({ backend: "gpu" })).toThrow(/auto, cpu, cuda, onnx for --backend/);
    expect(() => backendOptions({ dtype: "f16" })).toThrow(/for --dtype/);
    expect([otherBase({}), otherBase({ "other-base": "accept" })]).toEqual(["refuse", "accept"]);
    expect(() => otherBase({ "other-base": "yes" })).toThrow(/refuse, accept for --other-base/);
  });
});

describe("refuseToOverwriteInput", () => {
  it("sees the same file by another path", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "flags-"));
    fs.mkdirSync(path.join(folder, "real"));
    fs.symlinkSync("real", path.join(folder, "link"));
    const input = path.join(folder, "real", "in.jsonl");
    for (const out of [input, path.join(folder, "real", ".", "in.jsonl"), path.join(folder, "link", "in.jsonl")])
      expect(() => refuseToOverwriteInput(out, [input])).toThrowError(expect.objectContaining({ code: "overwrite" }));
    refuseToOverwriteInput(path.join(folder, "real", "out.jsonl"), [input]);
    refuseToOverwriteInput(path.join(folder, "absent", "out.jsonl"), [input]);
    fs.rmSync(folder, { recursive: true });
  });
});

describe("stopOnSignals", () => {
  it.each(["SIGINT", "SIGTERM"] as const)("turns %s into an abort, once, and listens no more when released", (name) => {
    const before = process.listenerCount(name);
    const stop = stopOnSignals();
    expect(stop.signal.aborted).toBe(false);
    process.emit(name);
    expect(stop.signal.aborted).toBe(true);
    expect(process.listenerCount(name)).toBe(before); // a second one ends the process
    const other = stopOnSignals();
    other.release();
    expect(process.listenerCount(name)).toBe(before);
    stop.release();
  });
});
