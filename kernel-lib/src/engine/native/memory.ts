/**
 * Will it fit? The native estimate of a model and its work, against what the device or the machine has free, before any weight is read.
 *
 * The arithmetic is gpu-native/src/memory_estimate.cpp and nowhere else; this file says what is free and words the answer.
 */
import { freemem, totalmem } from "node:os";
import type { NativeBinding, NativeDType, NativeMemoryEstimate } from "@steerlab/native";
import { DeviceError } from "../../base";
import { isBlockType, type ModelConfig, type TensorLocation } from "../../checkpoint";
import type { DTypeName, WorkShape } from "../types";
import { translated } from "./binding";

/** Bytes by part; `total` is their sum. */
export type MemoryEstimate = NativeMemoryEstimate;

export interface EstimateSubject {
  backend: "cpu" | "cuda";
  dtype: DTypeName;
  config: ModelConfig;
  /** where the checkpoint's tensors lie; null: random weights of `dtype` */
  tensors: readonly TensorLocation[] | null;
}

/** What an opened model must be able to do at least when nothing else is said: one text of this many tokens. */
const LEAST_WORK: WorkShape = { rows: 1, contextTokens: 0, questionTokens: 256 };

/** @param work the largest piece of work that will be asked for at once; default: one text of 256 tokens */
export function estimateOf(
  binding: NativeBinding,
  subject: EstimateSubject,
  work: WorkShape = LEAST_WORK,
): MemoryEstimate {
  const { backend, dtype, config, tensors } = subject;
  return translated(() =>
    binding.estimateMemory({ backend, dtype, stored: tensors === null ? dtype : mostStored(tensors, dtype) }, config, {
      rows: work.rows,
      contextTokens: work.contextTokens,
      questionTokens: work.questionTokens,
      sharedContext: work.sharedContext ?? false,
      keptTokens: work.keptTokens ?? 0,
      loraRank: work.lora?.r ?? 0,
      loraTargets: [...(work.lora?.targets ?? [])],
      training: work.training ?? false,
      matchPositions: work.matchPositions ?? 0,
    }),
  );
}

/** The type that holds most of the weights; quantised ones are kept as f32 where bf16 is not asked for. */
function mostStored(tensors: readonly TensorLocation[], otherwise: NativeDType): NativeDType {
  const bytes = new Map<NativeDType, number>();
  for (const { dtype, byteLength } of tensors) {
    const kept = isBlockType(dtype) ? "f32" : dtype;
    bytes.set(kept, (bytes.get(kept) ?? 0) + byteLength);
  }
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? otherwise;
}

/** Bytes that a model may take, and where; null where that cannot be found out. */
export interface FreeMemory {
  bytes: number;
  where: string;
}

/**
 * What is free now: of the device, or of the machine (page cache counts as free, a container's limit as the machine's end).
 * STEERLAB_MEMORY_GB=N puts N GB in its place.
 */
export function freeMemory(binding: NativeBinding, backend: "cpu" | "cuda"): FreeMemory | null {
  const told = Number(process.env.STEERLAB_MEMORY_GB || Number.NaN);
  if (told > 0) return { bytes: told * 1e9, where: "STEERLAB_MEMORY_GB" };
  if (backend === "cuda") {
    const { device, memoryFreeBytes } = translated(() => binding.info()).cuda;
    return memoryFreeBytes === null ? null : { bytes: memoryFreeBytes, where: `free on ${device ?? "the device"}` };
  }
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  // elsewhere than on Linux freemem() leaves out what the system would give up at once, so only the machine's size is a bound
  const most = process.platform === "linux" ? freemem() : totalmem();
  return { bytes: Math.min(most, limit), where: "free on this machine" };
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 10e9 ? 2 : 1)} GB`;

/** "70.7 GB: weights 65.5 GB, adapters 0.54 GB, ..."; parts below 10 MB are left out. */
export function describeEstimate(estimate: MemoryEstimate): string {
  const parts: [string, number][] = [
    ["weights", estimate.weights],
    ["adapters", estimate.adapters],
    ["keys and values", estimate.keysAndValues],
    ["activations", estimate.activations],
    ["workspace", estimate.workspace],
    ["driver", estimate.context],
  ];
  const shown = parts.filter(([, bytes]) => bytes >= 1e7).map(([name, bytes]) => `${name} ${gigabytes(bytes)}`);
  return gigabytes(estimate.total) + (shown.length === 0 ? "" : `: ${shown.join(", ")}`);
}

/** @throws DeviceError "out-of-memory" when the estimate is above what is free; nothing has been loaded then */
export function requireMemory(estimate: MemoryEstimate, free: FreeMemory | null): void {
  if (free === null || estimate.total <= free.bytes) return;
  const remedy =
    "Use smaller batches, shorter texts or a smaller model, or set STEERLAB_MEMORY_GB to what may be taken if this is wrong.";
  throw new DeviceError(
    "out-of-memory",
    `Expected at most ${gigabytes(free.bytes)} (${free.where}) for memory but the estimate is ${describeEstimate(estimate)}. ${remedy}`,
  );
}
