/**
 * The CUDA library as the engine meets it: built for both architectures, refused with a reason where no device is, and a toy model
 * end to end against the CPU backend: on the emulated library everywhere, on the real one where a device is.
 * With STEERLAB_REQUIRE_GPU=1 a missing library or device is a failure.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cudaFinding } from "../../kernel-lib/src/command";
import type { NativeInfo } from "../../kernel-lib/src/engine";
import { configured, emulatedLibrary, native, program as built } from "./targets";

const BUILD_MS = 900_000; // some 40 files on one busy core; seconds when the objects are there
const RUN_MS = 600_000;

const library = process.env.STEERLAB_CUDA_LIBRARY ?? join(native, "build", "libsteerlab_cuda.so");
const addon = process.env.STEERLAB_NATIVE ?? join(native, "build", "steerlab.node");
const required = process.env.STEERLAB_REQUIRE_GPU === "1";
const folders = [
  ...["CUDA_HOME", "CUDA_PATH"].flatMap((n) => (process.env[n] ? [join(process.env[n] as string, "bin")] : [])),
  "/usr/local/cuda/bin",
];
const nvcc = [...folders, ...(process.env.PATH ?? "").split(delimiter)].map((f) => join(f, "nvcc")).find(existsSync);

/** Compute capabilities of the machine code (2) and PTX (1) entries of every fat binary in a library. */
function architectures(file: string): { machine: Set<number>; ptx: Set<number> } {
  const data = readFileSync(file);
  const found = { machine: new Set<number>(), ptx: new Set<number>() };
  const magic = Buffer.from([0x50, 0xed, 0x55, 0xba]);
  for (let at = data.indexOf(magic); at >= 0; at = data.indexOf(magic, at + 16)) {
    const start = at + data.readUInt16LE(at + 6);
    const end = start + Number(data.readBigUInt64LE(at + 8));
    if (end > data.length) continue;
    for (let entry = start; entry + 32 <= end; ) {
      const kind = data.readUInt16LE(entry);
      (kind === 2 ? found.machine : found.ptx).add(data.readUInt32LE(entry + 28));
      entry += data.readUInt32LE(entry + 4) + Number(data.readBigUInt64LE(entry + 8));
    }
  }
  return found;
}

/** What a fresh process finds: info().cuda, and what creating an engine answers. */
function meet(env: Record<string, string>, dtype = "bf16"): { cuda: NativeInfo["cuda"]; made: string; code: string } {
  const script = `
    const binding = require(${JSON.stringify(join(native, "index.cjs"))}).loadNative();
    let made = "", code = "";
    try { made = binding.engineDescription(binding.createEngine({ backend: "cuda", dtype: ${JSON.stringify(dtype)}, threads: 1, isa: "" })); }
    catch (error) { made = error.message; code = error.code; }
    console.log(JSON.stringify({ cuda: binding.info().cuda, made, code }));`;
  const result = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", env: { ...process.env, ...env } });
  expect(result.status, result.stderr).toBe(0);
  return JSON.parse(result.stdout);
}

function run(
  program: string,
  args: string[],
  env: Record<string, string>,
): { status: number | null; text: string; failed: string[]; passed: number } {
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

describe("the CUDA library", () => {
  it("holds machine code for sm_80 and sm_90 where nvcc is", (context) => {
    if (!existsSync(library)) {
      if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${library} is not built`);
      if (process.env.STEERLAB_CUDA === "0") context.skip("STEERLAB_CUDA=0: the library is not built");
      if (!nvcc) context.skip("nvcc is not installed: the library is not built");
      expect.fail(`nvcc is at ${nvcc} but ${library} is missing. Run: npm run build`);
    }
    const { machine, ptx } = architectures(library);
    expect([...machine].sort()).toEqual([80, 90]);
    expect([...ptx]).toEqual([90]);
  });

  it.skipIf(!existsSync(addon))("is opened by the addon, and refuses with a reason where no device is", (context) => {
    if (!existsSync(library)) context.skip("libsteerlab_cuda.so is not built here");
    const { cuda, made, code } = meet({ STEERLAB_CUDA_LIBRARY: library });
    if (cuda.available) {
      expect(made).toMatch(/^cuda .+ sm_\d+, bf16, (cuBLASLt|own)/);
      return;
    }
    if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${cuda.reason}`);
    expect(cuda.reason).toMatch(/driver|device|compute capability/);
    expect(code).toBe("cuda-missing");
    expect(made).toContain(cuda.reason);
    expect(made).toContain('Use backend "cpu".');
    expect(meet({ STEERLAB_CUDA_LIBRARY: library }, "f64").code).not.toBe("");
  });

  it.skipIf(!existsSync(addon))(
    "is described by doctor: library, driver, source of matrix products, reason",
    (context) => {
      if (!existsSync(library)) context.skip("libsteerlab_cuda.so is not built here");
      const { cuda } = meet({ STEERLAB_CUDA_LIBRARY: library, STEERLAB_CUBLASLT: "own" });
      const { level, fact } = cudaFinding(cuda);
      expect(fact).toContain(`library ${library} (CUDA `);
      expect(fact).toMatch(
        /; (no driver|driver for CUDA \d+\.\d+); matrix products: own mma\.sync kernels \(STEERLAB_CUBLASLT=own\)/,
      );
      expect(level).toBe(cuda.available ? "good" : "note");
      if (cuda.available) return;
      expect(fact.startsWith(`not used: ${cuda.reason}; library`)).toBe(true);
      const searched = cudaFinding(meet({ STEERLAB_CUDA_LIBRARY: library, STEERLAB_CUBLASLT: "" }).cuda).fact;
      expect(searched).toMatch(
        /matrix products: (cuBLASLt \d+\.\d+\.\d+ from .+ \(.+\)|own mma\.sync kernels \(no cuBLASLt; tried .+\))$/,
      );
    },
  );

  it.skipIf(!existsSync(addon))("is named with what to do when its file is missing", () => {
    const { cuda, code } = meet({ STEERLAB_CUDA_LIBRARY: join(native, "build", "no-such-library.so") });
    expect(cuda.available).toBe(false);
    expect(cuda.reason).toMatch(/could not be opened .*npm run build/);
    expect(code).toBe("cuda-missing");
    expect(cudaFinding(cuda)).toMatchObject({ level: "note", fact: `not used: ${cuda.reason}` });
  });

  it("runs a toy model like the CPU on its device", { timeout: BUILD_MS + RUN_MS }, async (context) => {
    if (!existsSync(library)) {
      if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${library} is not built`);
      context.skip("libsteerlab_cuda.so is not built here");
    }
    if (!configured) context.skip("no CMake folder of `npm run build`: the comparison cannot be built");
    const program = await built("cuda_end_to_end");
    for (const source of ["own", ""]) {
      const { status, text, failed } = run(program, ["both"], {
        STEERLAB_CUDA_LIBRARY: library,
        STEERLAB_CUBLASLT: source,
      });
      if (status === 2) {
        if (required) expect.fail(`STEERLAB_REQUIRE_GPU=1 but ${text}`);
        expect(text).toMatch(/^no device: .+/);
        context.skip(`no device here (${text.trim()})`);
      }
      expect(failed, text).toEqual([]);
      expect(status).toBe(0);
    }
  });
});

describe.skipIf(!configured)("the emulated library (needs the CMake folder of `npm run build`)", () => {
  let emulated = "";
  beforeAll(async () => {
    emulated = await emulatedLibrary();
  }, BUILD_MS);
  const env = (): Record<string, string> => ({ STEERLAB_CUDA_LIBRARY: emulated, STEERLAB_CUBLASLT: "own" });

  it.each(["f32", "bf16"])(
    "runs a toy model like the CPU in %s: forward, caches, twelve steps, generation",
    { timeout: BUILD_MS + RUN_MS },
    async (dtype) => {
      const { status, text, failed, passed } = run(await built("cuda_end_to_end"), [dtype], env());
      expect(failed, text).toEqual([]);
      expect(status).toBe(0);
      expect(passed).toBeGreaterThan(20);
      expect(text).toMatch(dtype === "bf16" ? /^attention\.mma=\d+$/m : /^gemm\.tile=\d+$/m);
    },
  );

  it.skipIf(!existsSync(addon))("is met by the addon like a device", () => {
    const { cuda, made } = meet(env());
    expect(cuda).toMatchObject({ available: true, device: "emulated device" });
    expect(made).toBe("cuda emulated device sm_80, bf16, own mma.sync kernels (STEERLAB_CUBLASLT=own)");
    expect(meet(env(), "f32").made).toContain("own F32 matrix products");
    expect(cudaFinding(cuda)).toMatchObject({
      level: "good",
      fact: expect.stringMatching(/^device emulated device, 8 GiB \(8 free\); library .+; matrix products: own mma/),
    });
  });

  it.skipIf(!existsSync(addon))("gives all device memory back when its models are disposed", () => {
    const script = `
      const binding = require(${JSON.stringify(join(native, "index.cjs"))}).loadNative();
      const free = () => binding.info().cuda.memoryFreeBytes;
      const config = { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16,
        intermediate_size: 96, vocab_size: 320, max_position_embeddings: 512, rope_theta: 1e4, rms_norm_eps: 1e-6,
        tie_word_embeddings: false };
      (async () => {
        const engine = binding.createEngine({ backend: "cuda", dtype: "bf16", threads: 1, isa: "" });
        const model = await binding.openModel(engine, config, null, 1, {});
        const other = await binding.openModel(engine, config, null, 2, {});
        const open = free();
        binding.disposeModel(model);
        const counters = binding.counters(engine);
        binding.disposeModel(other);
        for (let i = 0; i < 100 && free() < ${2 ** 33}; i++) // freed on the engine's thread
          await new Promise((done) => setTimeout(done, 20));
        console.log(JSON.stringify({ open, left: counters["memory.matrices"], end: free() }));
      })();`;
    const result = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", env: { ...process.env, ...env() } });
    expect(result.status, result.stderr).toBe(0);
    const { open, left, end } = JSON.parse(result.stdout);
    expect(open).toBeLessThan(8 * 2 ** 30 - 64 * 2 ** 20);
    expect(left).toBe(16); // of the model that is still open: 2 x 7 projections, embedding, head
    expect(end).toBe(8 * 2 ** 30);
  });
});
