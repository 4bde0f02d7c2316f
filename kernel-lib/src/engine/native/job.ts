/**
 * One heavy native call: AbortSignal -> shared cancel flag, progress callback, translated errors.
 */
import type { NativeJob } from "@steerlab/native";
import { AbortedError } from "../../base";
import { translateError } from "./binding";

/** Options that every heavy call takes. */
export interface JobOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Runs `call` with a job made from `options`; an abort stops it within one block of the model. @throws AbortedError */
export async function abortable<T>(options: JobOptions, call: (job: NativeJob) => Promise<T>): Promise<T> {
  const { signal, onProgress } = options;
  if (signal?.aborted) throw new AbortedError();
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const stop = (): void => {
    Atomics.store(cancel, 0, 1);
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    return await call({ cancel, onProgress });
  } catch (error) {
    throw translateError(error);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
