/**
 * bench/device.sh where no device is. Its own behaviour (time limits, appended files, the second try, the verdict, being cut off) on
 * programs of a few lines; its programs on the emulated library; its comparison with transformers where STEERLAB_ORACLE_PYTHON
 * names a Python that has it.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configured, emulatedLibrary, fakeCublasLt, native, program as built } from "./targets";

const BUILD_MS = 900_000; // some 30 files on one busy core; seconds when the objects are there
const RUN_MS = 600_000;
const script = join(native, "bench", "device.sh");
const python = process.env.STEERLAB_ORACLE_PYTHON;
const folder = mkdtempSync(join(tmpdir(), "steerlab-device-script-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let next = 0;
const fresh = (): string => {
  const path = join(folder, String(next++));
  mkdirSync(path);
  return path;
};

/** A folder of stand-ins for the programs: lines of shell by name; what is not named passes one check. */
function programs(bodies: Record<string, string>): string {
  const bin = fresh();
  for (const name of ["cuda_ops_test", "cuda_end_to_end", "device_check", "device_lab", "device_bench"]) {
    const file = join(bin, `steerlab_${name}`);
    writeFileSync(file, `#!/bin/sh\n${bodies[name] ?? `echo "ok   ${name}"`}\n`);
    chmodSync(file, 0o755);
  }
  return bin;
}

interface Run {
  status: number | null;
  text: string;
  results: string[][];
  log: string;
}

function read(out: string): Pick<Run, "results" | "log"> {
  return {
    results: readFileSync(join(out, "results.tsv"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t")),
    log: readFileSync(join(out, "device.log"), "utf8"),
  };
}

function device(bin: string, out: string, args: string[], env: Record<string, string> = {}): Run {
  const result = spawnSync("bash", [script, "--dry", ...args], {
    encoding: "utf8",
    env: {
      ...process.env,
      STEERLAB_DEVICE_BIN: bin,
      OUT: out,
      STEERLAB_PEER_PYTHON: "python3",
      STEERLAB_CUBLASLT_CHOICES: join(out, "..", "choices.tsv"),
      ...env,
    },
    maxBuffer: 1 << 26,
  });
  return { status: result.status, text: result.stdout + result.stderr, ...read(out) };
}

const times_of = (results: string[][], work: string): (string | undefined)[] =>
  results.filter(([kind, , what]) => kind === "time" && what === work).map((row) => row[3]);

const RESULT = "printf 'result\\ttoy\\ttraining 42+25 batch 8\\t70\\tms\\t58\\t0.01\\tcuBLASLt\\n'";

describe("device.sh", () => {
  it("says that all is right, and keeps two files that a second run appends to", { timeout: RUN_MS }, () => {
    const out = fresh();
    const bin = programs({
      device_check: "echo 'ok   one'; echo 'ok   two'; printf 'found\\tbackend\\tcuda card, cuBLASLt 13.0.2\\n'",
    });
    const first = device(bin, out, ["1"]);
    expect(first.status, first.text).toBe(0);
    expect(first.text).toMatch(
      /VERDICT: RIGHT: \d+ checks passed, none failed(, \d+ skipped: .+)? \[cuda card, cuBLASLt 13\.0\.2\]\n$/,
    );
    expect(first.results.filter(([kind]) => kind === "verdict")).toHaveLength(1);
    expect(first.results.find((line) => line[2] === "products of toy")).toEqual([
      "check",
      "1",
      "products of toy",
      "2",
      "0",
      "0",
      "launches",
    ]);
    const second = device(bin, out, ["1"]);
    expect(second.log.startsWith(first.log)).toBe(true);
    expect(second.results.length).toBe(2 * first.results.length);
    expect(readdirSync(out).sort()).toEqual(["device.log", "results.tsv"]);
  });

  it("names what is wrong and runs it once more with blocking launches", { timeout: RUN_MS }, () => {
    const bin = programs({
      cuda_ops_test:
        'if [ "$CUDA_LAUNCH_BLOCKING" = 1 ]; then echo "FAIL bf16/norm threw Expected kernel norm_kernel"; else echo "ok   a"; echo "FAIL bf16/norm threw something"; fi; exit 1',
      device_bench: `${RESULT}; [ "$CUDA_LAUNCH_BLOCKING" = 1 ] || { printf 'failed\\ttoy\\tlost\\n'; }; exit 1`,
    });
    const run = device(bin, fresh(), ["1", "2"]);
    expect(run.status, run.text).toBe(1);
    expect(run.text).toMatch(/VERDICT: WRONG: ops against the CPU \(status 1, 1 checks failed\); /);
    expect(run.text).toContain("FAIL bf16/norm threw Expected kernel norm_kernel");
    const tries = run.results.filter((line) => line[0] === "check" && line[2] === "ops against the CPU");
    expect(tries.map((line) => line[6])).toEqual(["launches", "blocking"]);
    // what is measured under blocking launches is not kept
    expect(run.results.filter(([kind]) => kind === "result")).toHaveLength(2); // algorithms chosen, then the bench
    expect(run.log.match(/^result/gm)).toHaveLength(4);
    expect(run.results).toContainEqual(["failed", "toy", "lost"]);
    expect(run.text).toContain("1.21 x"); // 70 ms of a floor of 58
  });

  it("counts what was skipped, misses cuBLASLt by name, and does not repeat wrong numbers", { timeout: RUN_MS }, () => {
    const found = "printf 'found\\tbackend\\tcuda card, bf16, own mma.sync kernels (no cuBLASLt; tried x)\\n'";
    const check = `case "$2" in found) ${found}; echo "ok   a" ;; products) exit 3 ;; *) echo "ok   b" ;; esac`;
    const skipped = device(programs({ device_check: check }), fresh(), ["1"], { STEERLAB_CUBLASLT: "" });
    expect(skipped.text).toMatch(/VERDICT: RIGHT: \d+ checks passed, none failed, \d+ skipped: .*products of toy/);
    expect(skipped.text).toContain("cuBLASLt was expected but NOT FOUND");
    const own = device(programs({ device_check: check }), fresh(), ["1"], { STEERLAB_CUBLASLT: "own" });
    expect(own.text).not.toContain("NOT FOUND");
    const wrong = device(programs({ device_check: 'echo "FAIL toy error 1 allowed 0"; exit 1' }), fresh(), ["2"]);
    expect(wrong.status, wrong.text).toBe(1);
    expect(wrong.text).toContain("VERDICT: WRONG: one step of toy, chosen algorithms");
    expect(wrong.results.filter((line) => line[0] === "check" && line[6] === "blocking")).toEqual([]);
  });

  it("stops what hangs at its limit, keeps what it had said, and goes on", { timeout: RUN_MS }, () => {
    const bin = programs({ device_bench: `${RESULT}; exec sleep 1000` });
    const started = Date.now();
    const run = device(bin, fresh(), ["2", "3"], { LIMITS: "9 8 30" });
    expect(run.status, run.text).toBe(0);
    expect(Date.now() - started).toBeLessThan(120_000);
    expect(run.results.find(([kind]) => kind === "cut")).toEqual([
      "cut",
      "choosing algorithms for toy",
      expect.stringMatching(/^\d+ s$/),
    ]);
    expect(run.results.filter((line) => line[0] === "result").length).toBeGreaterThan(0);
    expect(run.text).toMatch(/phase 3: why\?/);
  });

  it("does not call a phase right that it could not finish", { timeout: RUN_MS }, () => {
    const run = device(programs({ cuda_end_to_end: "exec sleep 1000" }), fresh(), ["1"], { LIMITS: "12 1 1" });
    expect(run.text).toMatch(/VERDICT: UNKNOWN: \d+ programs did not finish; \d+ checks passed, none failed/);
    expect(run.results.some((line) => line[0] === "skipped" && line[2]?.startsWith("no time left in phase 1"))).toBe(
      true,
    );
  });

  it("loses nothing when it is killed", { timeout: RUN_MS }, async () => {
    const out = fresh();
    const bin = programs({ device_bench: `${RESULT}; exec sleep 20 # outlives the script` });
    const child = spawn("bash", [script, "--dry", "2"], {
      detached: true,
      stdio: "ignore",
      env: { ...process.env, STEERLAB_DEVICE_BIN: bin, OUT: out },
    });
    const gone = new Promise((done) => child.on("close", done));
    const kept = (): boolean =>
      existsSync(join(out, "results.tsv")) && readFileSync(join(out, "results.tsv"), "utf8").includes("result\ttoy");
    for (let i = 0; i < 600 && !kept(); i++) await new Promise((done) => setTimeout(done, 100));
    process.kill(-(child.pid as number), "SIGKILL");
    await gone;
    const { results, log } = read(out);
    expect(results.at(-1)?.slice(0, 3)).toEqual(["result", "toy", "training 42+25 batch 8"]);
    expect(log).toContain("result\ttoy");
  });

  it("skips compute-sanitizer by name where the machine refuses it", { timeout: RUN_MS }, () => {
    const tools = fresh();
    const tool = join(tools, "compute-sanitizer");
    writeFileSync(tool, "#!/bin/sh\necho '========= Error: Device not supported.'\nexit 1\n");
    chmodSync(tool, 0o755);
    const run = device(programs({}), fresh(), ["3"], { PATH: `${tools}:${process.env.PATH}` });
    expect(run.status, run.text).toBe(0);
    expect(run.results).toContainEqual(["skipped", "memcheck, linear_backward", "this machine refuses it"]);
    expect(run.results.filter((line) => line[0] === "skipped" && line[1]?.includes("check"))).toHaveLength(1);
  });
});

describe.skipIf(!configured)("the programs of device.sh on the emulated library (needs a C++20 compiler)", () => {
  let bin = "";
  let env: Record<string, string> = {};
  beforeAll(async () => {
    bin = fresh();
    copyFileSync(await emulatedLibrary(), join(bin, "libsteerlab_cuda.so"));
    for (const name of ["bench", "check", "lab"])
      copyFileSync(await built(`device_${name}`), join(bin, `steerlab_device_${name}`));
    const fake = join(fresh(), "libcublasLt.so.13");
    copyFileSync(await fakeCublasLt(), fake);
    env = { STEERLAB_CUBLASLT: fake };
  }, BUILD_MS);

  const program = (
    name: string,
    args: string[],
    more: Record<string, string> = {},
  ): { status: number | null; text: string } => {
    const result = spawnSync(join(bin, `steerlab_device_${name}`), args, {
      encoding: "utf8",
      env: { ...process.env, STEERLAB_CUDA_LIBRARY: join(bin, "libsteerlab_cuda.so"), ...env, ...more },
    });
    return { status: result.status, text: result.stdout + result.stderr };
  };

  it("measure every row of the table, and say what served it", { timeout: RUN_MS }, () => {
    const { status, text, results, log } = device(bin, fresh(), ["2", "3"], env);
    expect(status, text).toBe(0);
    const rows = results.filter(([kind]) => kind === "result");
    for (const what of [
      "ceiling: matrix product",
      "training step",
      "memory after training",
      "sweep of 1 x 24 rows, shared",
      "sweep of 1 x 24 rows, unshared",
      "3 questions on one cache",
      "decode, batch 3",
      "peak device memory",
      "product gate_up 8 rows",
      "first answer, product gate_up 8 rows",
      "sampling 2 rows, greedy",
      "sampling 2 rows, top 0.95",
      "product down backward 1 rows",
    ])
      expect(rows.find((row) => row[2]?.startsWith(what))?.[3], what).toMatch(/^[\d.e+-]+$/);
    for (const row of rows.filter((row) => /training|sweep|questions|decode|product /.test(row[2] as string)))
      expect(row[7], row[2]).toBe("cuBLASLt");
    expect(log).toMatch(/^\[?.*timed algorithms, digest [0-9a-f]{16}/m);
    expect(log).toMatch(/^emulated device sm_80\t130002\t/m);
    const times = results.filter(([kind]) => kind === "time").map((row) => row[3]);
    expect(times).toEqual(
      expect.arrayContaining(["linear", "linear_backward", "attention_backward", "lora_backward", "uploads"]),
    );
    expect(text).toMatch(/^ +linear +[\d.]+ ms/m);
    for (const units of ["matrix units", "F32 units"])
      expect(times_of(results, `a block, ${units}`)).toEqual([
        "lora",
        "lora_backward",
        "lora_dx",
        "attention",
        "attention_backward",
      ]);
  });

  it("fail a figure that cuBLASLt did not serve though it is there", { timeout: RUN_MS }, () => {
    const { status, text } = program("check", ["toy", "step"], { FAKE_CUBLASLT_REFUSE: "matmul" });
    expect(status, text).toBe(1);
    expect(text).toMatch(/^FAIL gemm\.mma is 0 in toy step \(own\)/m);
  });

  it("compare products at model size and a whole step, cuBLASLt against own kernels", { timeout: RUN_MS }, () => {
    const products = program("check", ["toy", "products"]);
    expect(products.status, products.text).toBe(0);
    expect(products.text.match(/^ok {3}product /gm)).toHaveLength(16);
    const wrong = program("check", ["toy", "products"], { FAKE_CUBLASLT_LOSES: "8" });
    expect(wrong.status).toBe(1);
    expect(wrong.text).toMatch(/^FAIL product gate_up backward 8 rows/m);
    expect(program("check", ["toy", "products"], { STEERLAB_CUBLASLT: "own" }).status).toBe(3);
    const block = program("check", ["toy", "block"]);
    expect(block.status, block.text).toBe(0);
    expect(block.text.match(/^ok {3}adapters .*matrix units against F32 units/gm)).toHaveLength(8);
    expect(block.text.match(/^ok {3}attention, matrix units against F32 units/gm)).toHaveLength(2);
    expect(block.text.match(/^ok {3}\w+ ran on the matrix units/gm)).toHaveLength(4);
    const step = program("check", ["toy", "step"]);
    expect(step.status, step.text).toBe(0);
    expect(step.text).toMatch(/^ok {3}toy step, cuBLASLt against own products: gradients/m);
  });

  it.skipIf(!python)(
    "agree with transformers + PEFT on a small model: scores, a step, twelve steps with dropout (STEERLAB_ORACLE_PYTHON)",
    { timeout: RUN_MS },
    () => {
      const written = fresh();
      const lab = join(native, "bench", "device", "lab.py");
      const made = spawnSync(python as string, [lab, written, "toy", "cpu"], { encoding: "utf8" });
      expect(made.status, made.stdout + made.stderr).toBe(0);
      for (const type of ["f32", "bf16"]) {
        const { status, text } = program("lab", [join(written, type)]);
        expect(status, text).toBe(0);
        expect(text.match(/^ok {3}lab model/gm)).toHaveLength(type === "bf16" ? 8 : 6);
      }
      // the index says where the numbers lie: with another seed of the masks nothing fits
      const index = join(written, "f32", "index.txt");
      const at = Number(readFileSync(index, "utf8").match(/^sizes i32 8 (\d+)$/m)?.[1]);
      const data = readFileSync(join(written, "f32", "data.bin"));
      data.writeInt32LE(12, at + 7 * 4);
      writeFileSync(join(written, "f32", "data.bin"), data);
      expect(program("lab", [join(written, "f32")]).text).toMatch(
        /^FAIL lab model against transformers \+ PEFT: gradients/m,
      );
    },
  );
});
