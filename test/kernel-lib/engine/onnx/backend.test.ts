/** The onnx backend as users meet it: by name, chosen when the addon is missing, and on the command line. */
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { DeviceError } from "../../../../kernel-lib/src/base";
import { openEngine, readOnnxFile } from "../../../../kernel-lib/src/engine";
import * as native from "../../../../kernel-lib/src/engine";
import { F32_LOGPROB } from "../../../parity/tolerances";
import { expectScores, steerlab } from "../../../parity/command-line";
import { adapterFolder, FIXTURES, modelFolder } from "../../../parity/readers";
import { farthest } from "./models";

vi.mock("../../../../kernel-lib/src/engine/native", async (original) => {
  const real = await original<typeof native>();
  return { ...real, nativeInfo: vi.fn(real.nativeInfo) };
});

const run = promisify(execFile);
const CLI = path.resolve(__dirname, "../../../../kernel-lib/bin/steerlab.cjs");
const MODEL = modelFolder("gqa-tied");
/** Folders of trials with what transformers and PEFT answered. */
const GOLDENS = path.join(FIXTURES, "cli");
const LAST = { report: "last", fullVocabulary: true } as const;

let scratch: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-onnx-"));
  vi.stubEnv("STEERLAB_CACHE", scratch);
});
afterAll(() => {
  vi.unstubAllEnvs();
  fs.rmSync(scratch, { recursive: true, force: true });
});
beforeEach(() => void vi.restoreAllMocks());

describe("backend onnx", () => {
  it("opens by name, attaches an adapter folder, and agrees with cpu", async () => {
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const results = [];
    for (const backend of ["cpu", "onnx"] as const) {
      const { engine, attach } = await openEngine(MODEL, { backend, threads: 1 });
      const adapter = await attach(adapterFolder("gqa-tied", "r4-all"), { otherBase: "accept" });
      results.push(await engine.forward([{ tokens: [3, 4, 5], adapter }], LAST));
      expect(engine.backend).toBe(backend);
      engine.dispose();
    }
    expect(farthest(results[0], results[1])).toBeLessThan(F32_LOGPROB);
  });

  it("is chosen with a notice when the addon is missing, and only then", async () => {
    const said: string[] = [];
    vi.spyOn(process.stderr, "write").mockImplementation((text) => said.push(String(text)) > 0);
    const { engine } = await openEngine(MODEL, { threads: 1 });
    expect(engine.backend).not.toBe("onnx");
    engine.dispose();
    expect(said).toEqual([]);
    vi.mocked(native.nativeInfo).mockImplementation(() => {
      throw new DeviceError("native-missing", "The native engine could not be loaded.");
    });
    const { engine: instead } = await openEngine(MODEL, { threads: 1 });
    expect(instead.backend).toBe("onnx");
    instead.dispose();
    expect(said.filter((line) => line.includes("the native engine is not built")).length).toBe(1);
  });
});

describe.each(fs.readdirSync(GOLDENS))("steerlab score --backend onnx against transformers + PEFT, seed %s", (seed) => {
  const at = (name: string): string => path.join(GOLDENS, seed, name);

  it.each([
    ["the base", "expected-base.jsonl", []],
    ["an adapter", "expected-adapter.jsonl", ["--adapter", at("adapter")]],
  ])("%s", async (what, golden, flags) => {
    const out = path.join(scratch, `${seed}-${what}.jsonl`);
    await steerlab(
      ...["score", "--model", at("model"), "--trials", at("trials.jsonl"), "--out", out],
      ...["--backend", "onnx", "--threads", "1", ...flags],
    );
    expectScores(out, at(golden));
  });
});

describe("steerlab export-onnx", () => {
  const cli = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    run(process.execPath, [CLI, "export-onnx", ...args]);

  it("writes a file that opens, and prints its path", async () => {
    const out = path.join(scratch, "cli", "m.onnx");
    const { stdout } = await cli(
      "--model",
      MODEL,
      "--adapter",
      adapterFolder("gqa-tied", "r4-all"),
      "--out",
      out,
      "--dtype",
      "f16",
    );
    expect(stdout).toBe(`${out}\n`);
    const { metadata } = await readOnnxFile(out, { verify: true });
    expect(metadata.dtype).toBe("f16");
    expect(metadata.adapter?.name).toBe("r4-all");
  });

  it.each([
    [["--model", MODEL], "missing-flag"],
    [["--model", MODEL, "--out", "x.onnx", "--dtype", "bf16"], "bad-flag"],
    [["--model", MODEL, "--out", "x.bin"], "onnx-out"],
  ])("refuses %j with status 2 and one line", async (args, code) => {
    await expect(cli(...args)).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(new RegExp(`^steerlab: .*\\[${code}\\]\n$`)),
    });
  });
});
