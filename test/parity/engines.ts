/**
 * Opens engines for the parity suites: a checkpoint folder through the library's strict reader, on every instruction set and
 * thread count of this machine, and on its CUDA device. What the machine lacks is not in the list; `absentBackends` names it.
 */
import { readCheckpoint } from "../../kernel-lib/src/checkpoint";
import {
  type Cache,
  type DTypeName,
  loadBinding,
  NativeCache,
  type NativeEngine,
  nativeInfo,
  openNative,
} from "../../kernel-lib/src/engine";
import { type ModelName, modelFolder } from "./readers";

export interface EngineChoice {
  label: string;
  backend: "cpu" | "cuda";
  dtype: DTypeName;
  isa: string;
  threads: number;
}

/** Every instruction set with 1 thread, the best also with 2, best first; then the CUDA device (which has no f64). */
export function engineChoices(dtype: DTypeName): EngineChoice[] {
  const { isas, cuda } = nativeInfo();
  const cpu = [...isas.map((isa) => ({ isa, threads: 1 })), { isa: isas[0], threads: 2 }];
  const choices: EngineChoice[] = cpu.map(({ isa, threads }) => ({
    label: `${isa} threads=${threads}`,
    backend: "cpu",
    dtype,
    isa,
    threads,
  }));
  if (cuda.available && dtype !== "f64") choices.push({ label: "cuda", backend: "cuda", dtype, isa: "", threads: 1 });
  return choices;
}

/** Why a backend is not among the choices, for the titles of skipped tests. */
export function absentBackends(): string[] {
  const { cuda } = nativeInfo();
  return cuda.available ? [] : ["cuda: no usable device or library here"];
}

export async function openFolder(
  folder: string,
  { backend, dtype, isa, threads }: Omit<EngineChoice, "label">,
): Promise<NativeEngine> {
  const { config, tensors } = readCheckpoint(folder);
  return openNative({ backend, dtype, isa, threads, config, tensors });
}

export function openFixture(name: ModelName, choice: EngineChoice): Promise<NativeEngine> {
  return openFolder(modelFolder(name), choice);
}

/** Keys and values of one layer of a cache, each (length, KVH, D). */
export function cacheOf(cache: Cache, layer: number): { k: Float32Array; v: Float32Array } {
  if (!(cache instanceof NativeCache)) throw new Error("not a cache of the native engine");
  return loadBinding().readCache(cache.handle, layer);
}
