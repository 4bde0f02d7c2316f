/**
 * Opens engines for the parity suites: a checkpoint folder through the library's strict reader, on every instruction set and
 * thread count of this machine. An instruction set that the processor lacks makes no suite, so each suite's title names its own.
 */
import { readCheckpoint } from "../../kernel-lib/src/checkpoint";
import { type NativeEngine, nativeInfo, openNative } from "../../kernel-lib/src/native";
import { loadBinding } from "../../kernel-lib/src/native/binding";
import { NativeCache } from "../../kernel-lib/src/native/handles";
import type { Cache, DTypeName } from "../../kernel-lib/src/types";
import { type ModelName, modelFolder } from "./readers";

export interface EngineChoice {
  label: string;
  dtype: DTypeName;
  isa: string;
  threads: number;
}

/** Every instruction set with 1 thread, and the best also with 2; best first. */
export function engineChoices(dtype: DTypeName): EngineChoice[] {
  const { isas } = nativeInfo();
  const choices = [...isas.map((isa) => ({ isa, threads: 1 })), { isa: isas[0], threads: 2 }];
  return choices.map(({ isa, threads }) => ({ label: `${isa} ${threads} thread${threads === 1 ? "" : "s"}`, dtype, isa, threads }));
}

export async function openFolder(folder: string, { dtype, isa, threads }: Omit<EngineChoice, "label">): Promise<NativeEngine> {
  const { config, tensors } = readCheckpoint(folder);
  return openNative({ backend: "cpu", dtype, isa, threads, config, tensors });
}

export function openFixture(name: ModelName, choice: EngineChoice): Promise<NativeEngine> {
  return openFolder(modelFolder(name), choice);
}

/** Keys and values of one layer of a cache, each (length, KVH, D). */
export function cacheOf(cache: Cache, layer: number): { k: Float32Array; v: Float32Array } {
  if (!(cache instanceof NativeCache)) throw new Error("not a cache of the native engine");
  return loadBinding().readCache(cache.handle, layer);
}
