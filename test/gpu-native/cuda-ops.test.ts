/**
 * The CUDA sources without a GPU: host parts, memory estimates, and every op of the emulated library against its CPU twin.
 * Where a device is, the same comparison runs on it too; with STEERLAB_REQUIRE_GPU=1 its absence is a failure.
 */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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
    expect(find({ ...base, STEERLAB_BATCH_INVARIANT: "1" })).toEqual([]);
  });

  it("follows the links of python3 to every environment they lead through", { timeout: BUILD_MS }, async () => {
    const root = join(folder, "links");
    const put = (path: string): string => {
      const file = join(root, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, "");
      return file;
    };
    put("system/bin/python3.12");
    for (const bin of ["local/bin", "torch/bin"]) mkdirSync(join(root, bin), { recursive: true });
    symlinkSync(join(root, "torch", "bin", "python3"), join(root, "local", "bin", "python3")); // on PATH
    symlinkSync("../../system/bin/python3.12", join(root, "torch", "bin", "python3")); // an environment, as venv makes it
    const wheel = "lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13";
    const wanted = ["torch", "system"].map((prefix) => `${put(join(prefix, wheel))}|python3 on PATH`);
    const text = run(await built("cuda_host_test"), ["candidates"], {
      ...Object.fromEntries(
        ["CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "STEERLAB_CUBLASLT"].map((n) => [n, ""]),
      ),
      PATH: join(root, "local", "bin"),
    }).text;
    expect(text.split("\n").filter((line) => line.endsWith("|python3 on PATH"))).toEqual(wanted);
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
      for (const name of [
        "gemm.mma",
        "gemm.tile",
        "attention.mma",
        "attention_backward.mma",
        "lora.mma",
        "lora_backward.mma",
        "logits_backward.labels",
      ])
        expect(counter(text, name), name).toBeGreaterThan(0);
      for (const op of ["attention", "attention_backward"])
        expect(counter(text, op)).toBeGreaterThan(counter(text, `${op}.mma`));
    });

    it("adapters on the F32 units when that is asked for", { timeout: RUN_MS }, () => {
      const { failed, text } = run(ops, [library, "bf16", "linear_backward"], {
        STEERLAB_CUBLASLT: "own",
        STEERLAB_CUDA_LORA: "plain",
      });
      expect(failed, text).toEqual([]);
      expect(counter(text, "lora_backward")).toBeGreaterThan(0);
      for (const name of ["lora.mma", "lora_backward.mma"]) expect(counter(text, name), name).toBe(0);
    });

    it("attention on the F32 units when that is asked for", { timeout: RUN_MS }, () => {
      const { failed, text } = run(ops, [library, "bf16", "attention"], {
        STEERLAB_CUBLASLT: "own",
        STEERLAB_CUDA_ATTENTION: "plain",
      });
      expect(failed, text).toEqual([]);
      for (const op of ["attention", "attention_backward"]) {
        expect(counter(text, op)).toBeGreaterThan(0);
        expect(counter(text, `${op}.mma`), op).toBe(0);
      }
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
      expect(counter(served.text, "gemm.bias")).toBeGreaterThan(3); // in the library's epilogue
      const wide = run(ops, [library, "bf16", "invariance"], { STEERLAB_CUBLASLT: fake }); // a bias that bf16 cannot hold
      expect(wide.failed, wide.text).toEqual([]);
      expect(counter(wide.text, "gemm.cublaslt")).toBeGreaterThan(0);
      expect(counter(wide.text, "gemm.bias")).toBe(0);
      for (const refusal of ["1", "matmul"]) {
        const refused = run(ops, [library, "bf16", "linear"], {
          STEERLAB_CUBLASLT: fake,
          FAKE_CUBLASLT_REFUSE: refusal,
        });
        expect(refused.failed, refused.text).toEqual([]);
        expect(counter(refused.text, "gemm.cublaslt")).toBe(0);
        expect(counter(refused.text, "gemm.mma")).toBeGreaterThan(0);
      }
      // no answer for the bucket, or one that does not hold: the row count itself is asked for, and own kernels stay idle
      const asked = run(ops, [library, "bf16", "linear"], { STEERLAB_CUBLASLT: fake });
      expect(counter(asked.text, "gemm.cublaslt")).toBeGreaterThan(5);
      for (const refusal of ["bucket", "rows"]) {
        const exact = run(ops, [library, "bf16", "linear"], {
          STEERLAB_CUBLASLT: fake,
          FAKE_CUBLASLT_REFUSE: refusal,
        });
        expect(exact.failed, exact.text).toEqual([]);
        for (const name of ["gemm.cublaslt", "gemm.mma", "gemm.tile"])
          expect(counter(exact.text, name), `${refusal}: ${name}`).toBe(counter(asked.text, name));
      }
    });

    it("times cuBLASLt's algorithms once when asked, keeps none that own kernels disagree with, and uses what is kept", {
      timeout: RUN_MS,
    }, async () => {
      const fake = await fakeCublasLt();
      const kept = join(folder, "kept", "choices.tsv");
      const with_ = (env: Record<string, string>): Run =>
        run(ops, [library, "bf16", "linear_backward"], {
          STEERLAB_CUBLASLT: fake,
          STEERLAB_CUBLASLT_CHOICES: kept,
          ...env,
        });
      const description = (r: Run): string => r.text.match(/^# cuda .+ against/m)?.[0] ?? "";
      const served = (r: Run): number => counter(r.text, "gemm.cublaslt");

      const before = with_({ FAKE_CUBLASLT_EXPECT: "0" });
      expect(before.failed, before.text).toEqual([]);
      expect(description(before)).not.toMatch(/timed|timing/);
      expect(existsSync(kept)).toBe(false);

      const timing = with_({ STEERLAB_CUBLASLT_TIME: "1" });
      expect(timing.failed, timing.text).toEqual([]);
      expect(description(timing)).toContain("; timing more against");
      expect(served(timing)).toBe(served(before));
      const lines = readFileSync(kept, "utf8").trimEnd().split("\n");
      expect(counter(timing.text, "gemm.tried")).toBe(5 * lines.length);
      expect(counter(timing.text, "gemm.rejected")).toBe(2 * lines.length); // a lost tail, unsteady bits
      for (const line of lines) {
        const [device, version, , algorithm] = line.split("\t");
        expect([device, version]).toEqual(["emulated device sm_80", "130002"]);
        expect(algorithm?.split(" ")[4], line).toBe("0000000000000001"); // the fast one
      }

      const after = with_({ FAKE_CUBLASLT_EXPECT: "1" });
      expect(after.failed, after.text).toEqual([]);
      expect(after.text).not.toContain("fake cuBLASLt:");
      expect(served(after)).toBe(served(before));
      const told = /; (\d+) timed algorithms, digest ([0-9a-f]{16}) against/;
      expect(description(after)).toMatch(told);
      expect(description(after).match(told)?.[1]).toBe(String(lines.length));
      const again = with_({ STEERLAB_CUBLASLT_TIME: "1" }); // nothing is timed twice
      expect(counter(again.text, "gemm.tried")).toBe(0);
      expect(readFileSync(kept, "utf8").trimEnd().split("\n")).toEqual(lines);

      // of two lines for one product the first holds; lines of another version are not ours
      const other = (lines[0] as string).replace(/ 0000000000000001 /, " 0000000000000000 ");
      writeFileSync(kept, `${lines.join("\n")}\n${other}\n`);
      expect(description(with_({}))).toBe(description(after));
      writeFileSync(kept, lines.map((line) => `${line.replace("\t130002\t", "\t120900\t")}\n`).join(""));
      expect(description(with_({}))).toBe(description(before));
      writeFileSync(kept, `${other}\n${lines.slice(1).join("\n")}\n`);
      expect(description(with_({}))).toMatch(told);
      expect(description(with_({}))).not.toBe(description(after));

      // no algorithm agrees: own kernels serve, and nothing is kept
      const wrong = with_({
        STEERLAB_CUBLASLT_TIME: "1",
        STEERLAB_CUBLASLT_CHOICES: join(folder, "kept", "none.tsv"),
        FAKE_CUBLASLT_LOSES: "8",
      });
      expect(wrong.failed, wrong.text).toEqual([]);
      expect(served(wrong)).toBe(0);
      expect(counter(wrong.text, "gemm.mma")).toBeGreaterThan(0);
      expect(existsSync(join(folder, "kept", "none.tsv"))).toBe(false);
      const unwritable = with_({ STEERLAB_CUBLASLT_TIME: "1", STEERLAB_CUBLASLT_CHOICES: join(kept, "file") });
      expect(unwritable.text).toContain("Name another one in STEERLAB_CUBLASLT_CHOICES.");
    });

    it("tries an algorithm at the product's own rows, and takes the first answer where a trial has no room", {
      timeout: RUN_MS,
    }, async () => {
      const timing = async (kept: string, env: Record<string, string>): Promise<Run> =>
        run(ops, [library, "bf16", "linear_backward"], {
          STEERLAB_CUBLASLT: await fakeCublasLt(),
          STEERLAB_CUBLASLT_TIME: "1",
          STEERLAB_CUBLASLT_CHOICES: join(folder, "trials", kept),
          ...env,
        });
      const partly = await timing("partly.tsv", { FAKE_CUBLASLT_REFUSE: "fast" });
      expect(partly.failed, partly.text).toEqual([]);
      const lines = readFileSync(join(folder, "trials", "partly.tsv"), "utf8")
        .trimEnd()
        .split("\n");
      expect(counter(partly.text, "gemm.rejected")).toBe(3 * lines.length);
      const full = await timing("full.tsv", { STEERLAB_EMULATION_L2: String(2 ** 31 - 1), FAKE_CUBLASLT_EXPECT: "0" });
      expect(full.failed, full.text).toEqual([]);
      expect(counter(full.text, "gemm.cublaslt")).toBe(counter(partly.text, "gemm.cublaslt"));
      expect(counter(full.text, "gemm.tried")).toBe(0);
      expect(existsSync(join(folder, "trials", "full.tsv"))).toBe(false);
    });

    it("names the product that cuBLASLt fails, and a cuBLASLt that takes no settings", {
      timeout: RUN_MS,
    }, async () => {
      const refusing = async (what: string): Promise<string> =>
        run(ops, [library, "bf16", "linear"], { STEERLAB_CUBLASLT: await fakeCublasLt(), FAKE_CUBLASLT_REFUSE: what })
          .text;
      expect(await refusing("device")).toMatch(
        /received status 13 for 0 0 \d+ \d+ .+ by the algorithm for 16 rows, algorithm \d+/,
      );
      expect(await refusing("settings")).toMatch(
        /^# cuda .+ own mma\.sync kernels \(cuBLASLt .+ refused the settings/m,
      );
    });

    it("says by name where less address space than asked for is given, and where there is none", {
      timeout: RUN_MS,
    }, () => {
      const with_ = (gigabytes: string): Run =>
        run(ops, [library, "bf16", "linear"], { STEERLAB_CUBLASLT: "own", STEERLAB_EMULATION_ADDRESS_GB: gigabytes });
      const plenty = with_("128"); // 16 x the emulated card's 8 GiB
      expect(plenty.text).toMatch(
        /^# cuda emulated device sm_80, bf16, own mma\.sync kernels \(STEERLAB_CUBLASLT=own\) against/m,
      );
      const less = with_("40");
      expect(less.text).toContain("; 32768 MiB of address space for weights, more was refused");
      expect(counter(less.text, "memory.address_space")).toBe(2 ** 35);
      expect(with_("10").text).toContain("; 10240 MiB of address space for weights, more was refused");
      const none = with_("1");
      expect(none.text).toContain("; no address space for weights: neighbouring projections are multiplied one by one");
      expect(none.failed, none.text).toEqual([]);
      // neighbours are one product where the arena holds them, one each where it does not
      expect(counter(less.text, "product")).toBe(counter(plenty.text, "product"));
      expect(counter(none.text, "product")).toBeGreaterThan(counter(plenty.text, "product"));
    });

    it("a failed launch names its kernel, and only a full device is called full", { timeout: RUN_MS }, () => {
      const failing = (what: string, blocking = ""): string =>
        run(ops, [library, "bf16", "linear"], {
          STEERLAB_CUBLASLT: "own",
          STEERLAB_EMULATION_FAIL: what,
          CUDA_LAUNCH_BLOCKING: blocking,
        }).text;
      expect(failing("gemm_kernel")).toMatch(
        /^FAIL bf16\/linear threw Expected kernel gemm_kernel<S, Y>, or one before it, to succeed on the device but received: .+ \(cudaErrorIllegalAddress\)\. Set CUDA_LAUNCH_BLOCKING=1/m,
      );
      expect(failing("gemm_kernel", "1")).toMatch(
        /Expected kernel gemm_kernel<S, Y> to succeed .+ \(cudaErrorIllegalAddress\)\.$/m,
      );
      const refused = failing("malloc");
      expect(refused).toContain("cudaErrorIllegalAddress");
      expect(refused).not.toMatch(/out-of-memory|none left|are free/);
      expect(failing("pinned")).toMatch(/Expected 64 KiB of pinned host memory for uploads but the machine gives none/);
    });

    it("rows do not depend on their batch when that is asked for by name", { timeout: RUN_MS }, async () => {
      const invariant = run(ops, [library, "bf16", "invariance"], {
        STEERLAB_CUBLASLT: await fakeCublasLt(),
        STEERLAB_BATCH_INVARIANT: "1",
      });
      expect(invariant.text).toContain("own mma.sync kernels (STEERLAB_BATCH_INVARIANT=1)");
      expect(invariant.failed, invariant.text).toEqual([]);
      expect(invariant.text).toMatch(/^ok {3}bf16\/invariance\/row_alone/m);
      expect(counter(invariant.text, "gemm.cublaslt")).toBe(0);
    });

    it("times every op on the device when asked, and says nothing of time otherwise", { timeout: RUN_MS }, () => {
      const env = { STEERLAB_CUBLASLT: "own" };
      const timed = run(ops, [library, "bf16", "linear_backward"], { ...env, STEERLAB_CUDA_TIMES: "1" });
      const plain = run(ops, [library, "bf16", "linear_backward"], env);
      expect(timed.failed, timed.text).toEqual([]);
      for (const op of ["linear", "linear_backward", "product", "product_backward", "lora", "lora_backward", "lora_dx"])
        expect(counter(timed.text, `time.${op}`), op).toBeGreaterThan(0);
      expect(counter(timed.text, "time.linear_backward")).toBeGreaterThan(counter(timed.text, "time.product_backward"));
      expect(plain.text).not.toMatch(/^time\./m);
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
