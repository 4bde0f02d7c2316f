/**
 * The CUDA sources without a GPU: host parts, memory estimates, and every op of the emulated library against its CPU twin.
 * Where a device is, the same comparison runs on it too; with STEERLAB_REQUIRE_GPU=1 its absence is a failure.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configured, emulatedLibrary, fakeCublasLt, native, program as built } from "./targets";

const BUILD_MS = 900_000; // some 30 files on one busy core; seconds when the objects are there
const RUN_MS = 600_000; // seconds when the machine is free

interface Run {
  status: number | null;
  text: string;
  failed: string[];
  passed: number;
}

function run(program: string, args: string[] = [], env: Record<string, string> = {}): Run {
  const result = spawnSync(program, args, { encoding: "utf8", env: { ...process.env, ...env }, maxBuffer: 1 << 26 });
  const text = result.stdout + result.stderr;
  const lines = text.split("\n");
  return {
    status: result.status,
    text,
    failed: lines.filter((l) => l.startsWith("FAIL")),
    passed: lines.filter((l) => l.startsWith("ok")).length,
  };
}

const counter = (text: string, name: string): number =>
  Number(text.match(new RegExp(`^${name.replace(".", "\\.")}=(\\d+)$`, "m"))?.[1] ?? 0);

describe.skipIf(!configured)("CUDA sources on the host (needs the CMake folder of `npm run build`)", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "steerlab-cuda-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("pool, arena, index maps, orders and buckets hold their laws", { timeout: BUILD_MS }, async () => {
    const { status, failed, passed, text } = run(await built("cuda_host_test"));
    expect(failed, text).toEqual([]);
    expect(status).toBe(0);
    expect(passed).toBeGreaterThan(30);
  });

  it("memory estimates agree with hand counts, and the card's recipe on 32B fits 80 GB", {
    timeout: BUILD_MS,
  }, async () => {
    const { failed, passed, text } = run(await built("estimate_test"));
    expect(failed, text).toEqual([]);
    expect(passed).toBe(12);
    expect(text).toMatch(/total +\d+\.\d\d GB/);
  });

  it("looks for cuBLASLt in its documented order", { timeout: BUILD_MS }, async () => {
    const program = await built("cuda_host_test");
    const put = (path: string): string => {
      const file = join(folder, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, "");
      return file;
    };
    const own = put("own/libcublasLt.so.12");
    const home = [put("toolkit/lib64/libcublasLt.so.13"), put("toolkit/targets/x86_64-linux/lib/libcublasLt.so.12")];
    const venv = [
      put("venv/lib/python3.11/site-packages/nvidia/cu13/lib/libcublasLt.so.13"),
      put("venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12"),
    ];
    const conda = put("conda/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
    put("bin/python3");
    const path = put("lib/python3.10/dist-packages/nvidia/cublas/lib/libcublasLt.so");
    const base = {
      CUDA_HOME: join(folder, "toolkit"),
      CUDA_PATH: "",
      VIRTUAL_ENV: join(folder, "venv"),
      CONDA_PREFIX: join(folder, "conda"),
      PATH: join(folder, "bin"),
    };
    const find = (env: Record<string, string>): string[] =>
      run(program, ["candidates"], env).text.trim().split("\n").filter(Boolean);
    const loader = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"].map((f) => `${f}|loader path`);
    const rest = [
      ...home.map((f) => `${f}|CUDA_HOME`),
      ...loader,
      ...venv.map((f) => `${f}|VIRTUAL_ENV`),
      `${conda}|CONDA_PREFIX`,
      `${path}|python3 on PATH`,
    ];
    const installed = (lines: string[]): string[] => lines.filter((l) => !l.endsWith("|/usr/local/cuda"));
    expect(installed(find({ ...base, STEERLAB_CUBLASLT: "" }))).toEqual(rest);
    expect(installed(find({ ...base, STEERLAB_CUBLASLT: own }))).toEqual([`${own}|STEERLAB_CUBLASLT`, ...rest]);
    expect(installed(find({ ...base, STEERLAB_CUBLASLT: dirname(own) }))[0]).toBe(`${own}|STEERLAB_CUBLASLT`);
    expect(find({ ...base, STEERLAB_CUBLASLT: "own" })).toEqual([]);
  });

  describe("every op, emulated, against the plain CPU backend", () => {
    let ops = "";
    let library = "";
    beforeAll(async () => {
      [ops, library] = [await built("cuda_ops_test"), await emulatedLibrary()];
    }, BUILD_MS);

    // Threads of a block run by index (0) or rotated at random: a missing barrier shows up in one of them.
    it.each(["0", "7"])("own matrix products, schedule %s", { timeout: RUN_MS }, (seed) => {
      const { status, failed, passed, text } = run(ops, [library, "both"], {
        STEERLAB_CUBLASLT: "own",
        STEERLAB_EMULATION_SEED: seed,
      });
      expect(failed, text.slice(-4000)).toEqual([]);
      expect(status).toBe(0);
      expect(passed).toBeGreaterThan(600);
      for (const name of ["gemm.mma", "gemm.tile", "attention.mma", "lora", "lora_backward", "logits_backward.labels"])
        expect(counter(text, name), name).toBeGreaterThan(0);
      expect(counter(text, "attention")).toBeGreaterThan(counter(text, "attention.mma"));
    });

    it("matrix products through the prototypes of cuBLASLt, and without them when it declines", {
      timeout: RUN_MS,
    }, async () => {
      const fake = join(folder, "libcublasLt.so.13");
      copyFileSync(await fakeCublasLt(), fake);
      const served = run(ops, [library, "bf16"], { STEERLAB_CUBLASLT: fake });
      expect(served.failed, served.text.slice(-4000)).toEqual([]);
      expect(served.text).not.toContain("fake cuBLASLt:");
      expect(served.text).toContain("cuBLASLt 13.0.2");
      expect(counter(served.text, "gemm.cublaslt")).toBeGreaterThan(20);
      for (const refusal of ["1", "matmul"]) {
        const refused = run(ops, [library, "bf16", "linear"], {
          STEERLAB_CUBLASLT: fake,
          FAKE_CUBLASLT_REFUSE: refusal,
        });
        expect(refused.failed, refused.text).toEqual([]);
        expect(counter(refused.text, "gemm.cublaslt")).toBe(0);
        expect(counter(refused.text, "gemm.mma")).toBeGreaterThan(0);
      }
    });

    it("a cuBLASLt that does not start on the device gives way to the next one", { timeout: RUN_MS }, async () => {
      const copies = ["newer/libcublasLt.so.13", "older/lib64/libcublasLt.so.12"].map((path) => join(folder, path));
      for (const copy of copies) {
        mkdirSync(dirname(copy), { recursive: true });
        copyFileSync(await fakeCublasLt(), copy);
      }
      const { text, failed } = run(ops, [library, "bf16", "logits"], {
        STEERLAB_CUBLASLT: copies[0],
        CUDA_HOME: join(folder, "older"),
      });
      expect(failed, text).toEqual([]);
      expect(text).toContain(`from ${copies[1]} (CUDA_HOME)`);
    });

    it("the real library, where it is built: on its device, or refused with a reason", {
      timeout: RUN_MS,
    }, (context) => {
      const real = process.env.STEERLAB_CUDA_LIBRARY ?? join(native, "build", "libsteerlab_cuda.so");
      const required = process.env.STEERLAB_REQUIRE_GPU === "1";
      if (!existsSync(real)) {
        if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${real} is not built`);
        context.skip("libsteerlab_cuda.so is not built here (no nvcc, or STEERLAB_CUDA=0)");
      }
      for (const source of ["own", ""]) {
        const { status, failed, passed, text } = run(ops, [real, "both"], { STEERLAB_CUBLASLT: source });
        if (status === 2) {
          expect(text).toMatch(/^no device: .+/m);
          if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${text}`);
          return;
        }
        expect(failed, text.slice(-4000)).toEqual([]);
        expect(status).toBe(0);
        expect(passed).toBeGreaterThan(600);
      }
    });
  });
});
