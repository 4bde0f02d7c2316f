/**
 * Caches and adapters of the native engine: typed owners of opaque handles.
 *
 * Freed by dispose(), or by the garbage collector when the last reference goes. Either way calls already queued still see them.
 */
import type { AdapterHandle, CacheHandle, NativeBinding } from "@steerlab/native";
import { expected, InputError } from "../../base";
import type { Adapter, Cache } from "../types";
import { translated } from "./binding";

export class NativeCache implements Cache {
  constructor(
    private readonly binding: NativeBinding,
    /** the engine that made it */
    readonly owner: object,
    readonly handle: CacheHandle,
    readonly length: number,
  ) {}

  dispose(): void {
    translated(() => this.binding.disposeCache(this.handle));
  }
}

export class NativeAdapter implements Adapter {
  constructor(
    private readonly binding: NativeBinding,
    readonly owner: object,
    readonly handle: AdapterHandle,
    readonly name: string,
    readonly hash: string,
  ) {}

  dispose(): void {
    translated(() => this.binding.disposeAdapter(this.handle));
  }
}

/** @throws InputError "foreign-cache" */
export function cacheHandle(cache: Cache, owner: object, name: string): CacheHandle {
  if (cache instanceof NativeCache && cache.owner === owner) return cache.handle;
  throw new InputError(
    "foreign-cache",
    expected(
      "a cache made by this engine",
      name,
      cache?.constructor?.name,
      "Prefill the context again with this model.",
    ),
  );
}

/** @throws InputError "foreign-adapter" */
export function adapterHandle(adapter: Adapter, owner: object, name: string): AdapterHandle {
  if (adapter instanceof NativeAdapter && adapter.owner === owner) return adapter.handle;
  throw new InputError(
    "foreign-adapter",
    expected("an adapter bound to this engine", name, adapter?.name, "Bind the adapter to this model."),
  );
}
