/**
 * Builds the C++ side of the CUDA tests with the host compiler: the emulated library, the op comparison, the host-only checks.
 * Objects are kept under gpu-native/build/cuda-tests by the hash of what they are made of, so a second run compiles nothing.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";

export const native = join(__dirname, "..", "..", "..", "gpu-native");
const src = join(native, "src");
const out = join(native, "build", "cuda-tests");
const FLAGS = [
  "-std=c++20",
  "-O2",
  "-fPIC",
  "-Wall",
  "-Wextra",
  "-Wno-unknown-pragmas",
  "-fvisibility=hidden",
  `-I${src}`,
  `-I${join(native, "bench", "device")}`,
];
const JOBS = 2;

export const compiler = process.env.CXX ?? "c++";
export const compilerFound = spawnSync(compiler, ["--version"]).status === 0;

const headers = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((e) => e.isFile() && e.name.endsWith(".h"))
    .map((e) => join(e.parentPath, e.name))
    .sort();

function hash(parts: readonly (string | Buffer)[]): string {
  const h = createHash("sha256");
  for (const part of parts) h.update(part).update("\0");
  return h.digest("hex").slice(0, 20);
}

function command(args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler, args, { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        text += chunk;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${compiler} ${args.join(" ")}\n${text}`))));
  });
}

/** Builds `sources` (absolute, or under gpu-native/src, or bare names beside this file) into `name` and gives its path. */
async function build(
  name: string,
  sources: readonly string[],
  options: { shared?: boolean; defines?: string[] } = {},
): Promise<string> {
  mkdirSync(out, { recursive: true });
  const { shared = false, defines = [] } = options;
  const shape = hash(
    [...headers(src), ...headers(join(native, "bench", "device")), ...headers(__dirname)].map((file) =>
      readFileSync(file),
    ),
  );
  const objects = sources.map((source) => {
    const path = isAbsolute(source) ? source : source.includes("/") ? join(src, source) : join(__dirname, source);
    const flags = [...FLAGS, ...defines];
    const object = join(out, `${basename(source)}.${hash([readFileSync(path), flags.join(" "), shape])}.o`);
    return { path, object, flags };
  });
  const target = join(out, `${hash(objects.map((o) => o.object))}.${name}`);
  if (existsSync(target)) return target;
  const waiting = objects.filter((o) => !existsSync(o.object));
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const part = `${next.object}.${process.pid}`;
      await command([...next.flags, "-x", "c++", "-c", next.path, "-o", part]);
      renameSync(part, next.object);
    }
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  const part = `${target}.${process.pid}`;
  await command([...(shared ? ["-shared"] : []), "-o", part, ...objects.map((o) => o.object), "-ldl", "-lpthread"]);
  renameSync(part, target);
  return target;
}

const NOT_EMULATED = ["cuda_api.cu", "device_memory.cu"]; // the driver and its memory have stand-ins in emulation/

/** src/cuda compiled for the CPU: a library with the same C door, for STEERLAB_CUDA_LIBRARY. */
export function emulatedLibrary(): Promise<string> {
  const kernels = readdirSync(join(src, "cuda")).filter((f) => /\.(cu|cpp)$/.test(f) && !NOT_EMULATED.includes(f));
  const stands = readdirSync(join(src, "cuda", "emulation")).filter((f) => f.endsWith(".cpp"));
  return build(
    "libsteerlab_cuda_emulated.so",
    [...kernels.map((f) => `cuda/${f}`), ...stands.map((f) => `cuda/emulation/${f}`)],
    {
      shared: true,
      defines: ["-DSTEERLAB_CUDA_EMULATION"],
    },
  );
}

export function opsTest(): Promise<string> {
  return build("steerlab_cuda_ops_test", [
    ...["ops_test.cpp", "ops_rows.cpp", "ops_linear.cpp", "ops_attention.cpp", "ops_loss.cpp"],
    ...PLAIN,
  ]);
}

export function hostTest(): Promise<string> {
  return build("steerlab_cuda_host_test", [
    "host_test.cpp",
    "cuda/block_pool.cpp",
    "cuda/weight_arena.cpp",
    "cuda/gemm_source.cpp",
  ]);
}

export function estimateTest(): Promise<string> {
  return build("steerlab_estimate_test", [
    "estimate_test.cpp",
    join(src, "memory_estimate.cpp"),
    join(src, "config.cpp"),
  ]);
}

export function fakeCublasLt(): Promise<string> {
  return build("libcublasLt.so.13", ["fake_cublaslt.cpp"], { shared: true });
}

const PLAIN = ["cpu/plain.cpp", "cpu/cpu_backend.cpp", "cpu/pool.cpp"];
const work = join(native, "bench", "device", "work.cpp");

/** The model and trainer above the seam, without the addon. */
const engineSources = (): string[] =>
  readdirSync(src)
    .filter((f) => f.endsWith(".cpp") && !/^(addon.*|engine)\.cpp$/.test(f))
    .map((f) => join(src, f));

export function endToEnd(): Promise<string> {
  return build("steerlab_cuda_end_to_end", ["end_to_end.cpp", work, ...engineSources(), ...PLAIN]);
}

/** One of the programs of bench/device.sh: "bench", "check" or "lab". */
export function deviceProgram(name: string): Promise<string> {
  return build(`steerlab_device_${name}`, [join(native, "bench", "device", `${name}.cpp`), work, ...engineSources()]);
}
