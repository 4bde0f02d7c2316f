/**
 * Opens the native engine (C++ on the CPU, CUDA where a device is) behind the `Engine` interface.
 *
 * The only door to gpu-native: loads the addon, applies defaults, validates, packs rows into typed arrays and turns native
 * failures into the house's error classes. Numbers come from gpu-native/src; this file and native/ compute nothing.
 */
import { type ModelConfig, rotaryFrequencies, type TensorLocation } from "../checkpoint";
import { checkRawConfig } from "./checks";
import { loadBinding, translated } from "./native/binding";
import { NativeEngine } from "./native/engine";
import { abortable } from "./native/job";
import { estimateOf, type EstimateSubject, freeMemory, type MemoryEstimate, requireMemory } from "./native/memory";
import type { DTypeName, WorkShape } from "./types";

/** What the addon found on this machine. */
export interface NativeInfo {
  apiVersion: number;
  compiler: string;
  /** instruction sets with kernels that this processor runs, best first; "plain" is always last */
  isas: string[];
  cores: number;
  cuda: {
    available: boolean;
    reason: string;
    library: string | null;
    device: string | null;
    /** newest CUDA version that the driver serves; null: no driver */
    driver: string | null;
    /** CUDA version of the runtime inside the library */
    runtime: string | null;
    /** where matrix products come from */
    gemm: string | null;
    memoryBytes: number | null;
    memoryFreeBytes: number | null;
  };
}

export interface NativeOptions {
  backend: "cpu" | "cuda";
  /** compute type; "f64" on the cpu only */
  dtype: DTypeName;
  /** default 0: all cores; never changes the numbers */
  threads?: number;
  /** instruction set of the cpu kernels, one of `nativeInfo().isas`; default: the best */
  isa?: string;
  config: ModelConfig;
  /** where the checkpoint's tensors lie; null: random weights from `randomSeed` */
  tensors: readonly TensorLocation[] | null;
  /** default 0 */
  randomSeed?: number;
  /** the largest work that will be asked for, for the memory estimate; default: one text of 256 tokens */
  work?: WorkShape;
  /** told what the model and its work will take, before anything is loaded or refused */
  onEstimate?: (estimate: MemoryEstimate) => void;
  /** matrix elements loaded so far and in all */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Backends, instruction sets and devices of this machine.
 * @throws DeviceError "native-missing" with what was tried and the command that mends it
 * @example
 * nativeInfo().isas[0]; // best first, for instance "amx"
 */
export function nativeInfo(): NativeInfo {
  return loadBinding().info();
}

/**
 * What a model and a piece of work take on a backend, in bytes; nothing is loaded.
 * @throws DeviceError "native-missing"; InputError "bad-config"
 * @example
 * estimateMemory({ backend: "cuda", dtype: "bf16", config: qwen2Shape("32B"), tensors: null }).total; // 67.2e9
 */
export function estimateMemory(subject: EstimateSubject, work?: WorkShape): MemoryEstimate {
  checkRawConfig(subject.config);
  return estimateOf(loadBinding(), subject, work);
}

/**
 * Opens a Qwen2 model on the native engine; what does not fit is refused before a weight is read.
 * @throws DeviceError "native-missing", "cuda-missing", "out-of-memory"; DataError "missing-tensor", "tensor-shape",
 *   "tensor-range", "unreadable-file"; InputError "bad-config", "bad-isa", "bad-dtype"; AbortedError
 * @example
 * const engine = await openNative({ backend: "cpu", dtype: "f32", config, tensors: null, randomSeed: 1 });
 */
export async function openNative(options: NativeOptions): Promise<NativeEngine> {
  checkRawConfig(options.config);
  const binding = loadBinding();
  const { backend, dtype, threads = 0, isa = "", config, tensors, randomSeed = 0 } = options;
  const estimate = estimateOf(binding, { backend, dtype, config, tensors }, options.work);
  options.onEstimate?.(estimate);
  requireMemory(estimate, freeMemory(binding, backend));
  const handle = translated(() => binding.createEngine({ backend, dtype, threads, isa }));
  const model = await abortable(options, (job) =>
    binding.openModel(
      handle,
      { ...config, ...scaledRotary(config) },
      tensors === null ? null : [...tensors],
      randomSeed,
      job,
    ),
  );
  return new NativeEngine(binding, handle, model, { backend, dtype, config, arithmetic: arithmeticOf(backend, isa) });
}

/** What decides the last bits: the instruction set in use, or the device and where its matrix products come from. */
function arithmeticOf(backend: "cpu" | "cuda", isa: string): string {
  const { isas, cuda } = nativeInfo();
  return backend === "cpu" ? isa || isas[0] : `${cuda.device ?? "cuda"}, ${cuda.gemm ?? "own products"}`;
}

/** Scaled positions cross to C++ as frequencies; plain ones follow from rope_theta there. */
function scaledRotary(config: ModelConfig): { rope_frequencies?: Float32Array; rope_scale?: number } {
  if (config.rope_scaling === undefined) return {};
  const { frequencies, scale } = rotaryFrequencies(config);
  return { rope_frequencies: frequencies, rope_scale: scale };
}
