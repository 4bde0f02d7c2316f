/**
 * Builds CMake targets of gpu-native for the tests, in the folder that `npm run build` configured (gpu-native/CMakeLists.txt).
 * Test files run at the same time and CMake does not guard its folder against itself, so one process builds at a time.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export const native = join(__dirname, "..", "..", "gpu-native");
const folder = join(native, "build", "addon");
const lock = `${folder}.lock`;
const STALE_MS = 900_000; // longer than any build: whoever held it is gone

/** Whether the folder is there: without a compiler `npm run build` leaves none. */
export const configured = existsSync(join(folder, "CMakeCache.txt"));

async function locked<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > STALE_MS) rmSync(lock, { recursive: true, force: true });
    else await pause(200);
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function cmake(target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("cmake", ["--build", folder, "--target", target, "--parallel", "2"]);
    let text = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        text += chunk;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${target} could not be built\n${text}`))));
  });
}

/** Builds the program `steerlab_<name>` and gives its path. */
export async function program(name: string): Promise<string> {
  await locked(() => cmake(`steerlab_${name}`));
  return join(folder, `steerlab_${name}`);
}

/** src/cuda compiled for the CPU: a library with the same C door, for STEERLAB_CUDA_LIBRARY. */
export async function emulatedLibrary(): Promise<string> {
  await locked(() => cmake("steerlab_cuda"));
  return join(folder, "libsteerlab_cuda.so");
}

/** A stand-in for libcublasLt that checks how it is called. */
export async function fakeCublasLt(): Promise<string> {
  await locked(() => cmake("fake_cublaslt"));
  return join(folder, "libfake_cublaslt.so");
}
