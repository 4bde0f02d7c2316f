/** The flags that score, train and export share: where the arithmetic runs, which adapter, and what may be accepted. */
import type { EngineOptions } from "../engine";

/** More threads than any machine has cores: a slip, and more than the system would start. */
const MAX_THREADS = 1024;

/** --model */
export const MODEL_FLAG = {
  kind: "text",
  value: "DIR|FILE|ORG/NAME",
  required: true,
  about: "checkpoint folder, .gguf file or hub name",
} as const;

/** --threads */
export const THREADS_FLAG = { kind: "whole", least: 1, most: MAX_THREADS, about: "default: all cores" } as const;

/** --dtype of the engines */
export const DTYPE_FLAG = {
  kind: "choice",
  choices: ["f32", "bf16", "f64"],
  about: "f32 or bf16 (default: f32 on the cpu, bf16 on cuda); f64 on the cpu for checks",
} as const;

/** What the flags say about the engine. Which type is best depends on where it runs: opening the engine decides. */
export function engineOptions(flags: {
  backend?: EngineOptions["backend"];
  dtype?: "f32" | "bf16" | "f64";
  threads?: number;
}): EngineOptions {
  return { backend: flags.backend ?? "auto", dtype: flags.dtype, threads: flags.threads ?? 0 };
}
