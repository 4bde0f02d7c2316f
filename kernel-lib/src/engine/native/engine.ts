/**
 * `Engine` over the native binding: one model on one backend, calls answered in the order they were made.
 */
import type { EngineHandle, ModelHandle, NativeBinding, NativeGenerateResult } from "@steerlab/native";
import type { AdapterPart, ModelConfig } from "../../checkpoint";
import { checkedGeneration } from "../checks";
import type {
  Adapter,
  Cache,
  DTypeName,
  Engine,
  ForwardOptions,
  Generated,
  GenerateOptions,
  Row,
  RowResult,
  Trainer,
  TrainerOptions,
} from "../types";
import { translated } from "./binding";
import { cacheHandle, NativeAdapter, NativeCache } from "./handles";
import { abortable } from "./job";
import { packRows } from "./pack";
import { NativeTrainer } from "./trainer";
import { unpackRows } from "./unpack";

/** Token-layers computed since the engine was opened, and those saved by rows that shared layers. */
export interface NativeWork {
  tokenLayers: number;
  sharedTokenLayers: number;
}

export class NativeEngine implements Engine {
  readonly backend: "cpu" | "cuda";
  readonly dtype: DTypeName;
  readonly config: ModelConfig;
  readonly description: string;
  readonly arithmetic: string;
  /** forward() calls only */
  readonly work: NativeWork = { tokenLayers: 0, sharedTokenLayers: 0 };
  readonly #binding: NativeBinding;
  readonly #engine: EngineHandle;
  readonly #model: ModelHandle;

  constructor(
    binding: NativeBinding,
    engine: EngineHandle,
    model: ModelHandle,
    is: { backend: "cpu" | "cuda"; dtype: DTypeName; config: ModelConfig; arithmetic: string },
  ) {
    this.#binding = binding;
    this.#engine = engine;
    this.#model = model;
    this.backend = is.backend;
    this.dtype = is.dtype;
    this.config = is.config;
    this.arithmetic = is.arithmetic;
    this.description = binding.engineDescription(engine);
  }

  /** See `Engine`. @throws InputError naming row and field; AbortedError */
  async forward(rows: readonly Row[], options: ForwardOptions = {}): Promise<RowResult[]> {
    if (rows.length === 0) return [];
    return abortable(options, async (job) => {
      const request = packRows(rows, options, this.config, this);
      const result = await this.#binding.forward(this.#model, request, job);
      this.work.tokenLayers += result.stats.tokenLayers;
      this.work.sharedTokenLayers += result.stats.sharedTokenLayers;
      return unpackRows(rows, request, result, this.config, (i) => this.#cache(result.caches[i]));
    });
  }

  /** See `Engine`. Rows with `report: false` are prefilled (as parents) but generate nothing. */
  async generate(rows: readonly Row[], options: GenerateOptions): Promise<Generated[]> {
    if (rows.length === 0) return [];
    const { maxTokens, temperature, topP, stopIds, seeds } = checkedGeneration(options, rows.length, this.config);
    return abortable(options, async (job) => {
      const prompt = packRows(rows, { report: "last" }, this.config, this);
      return unpackGenerated(
        await this.#binding.generate(this.#model, { prompt, maxTokens, temperature, topP, seeds, stopIds }, job),
      );
    });
  }

  bindAdapter(parts: readonly AdapterPart[], identity: { name: string; hash: string }): Adapter {
    const handle = translated(() => this.#binding.loadAdapter(this.#model, [...parts]));
    return new NativeAdapter(this.#binding, this, handle, identity.name, identity.hash);
  }

  createTrainer(options: TrainerOptions, initial: Float32Array | Float64Array): Trainer {
    return translated(() => {
      const targets = [...options.targets];
      const layout = this.#binding.trainerLayout(this.config, options.r, targets);
      return new NativeTrainer(
        this.#binding,
        this,
        this.#binding.createTrainer(this.#model, { ...options, targets }, initial),
        this.config,
        layout,
      );
    });
  }

  /** Keys and values of one layer after rotation, each (length, KVH, D): for tests and measurements. */
  readCache(cache: Cache, layer: number): { k: Float32Array; v: Float32Array } {
    return translated(() => this.#binding.readCache(cacheHandle(cache, this, "readCache"), layer));
  }

  /** How often each operation of the backend ran. Waits for calls already made. */
  counters(): Record<string, number> {
    return translated(() => this.#binding.counters(this.#engine));
  }

  dispose(): void {
    translated(() => this.#binding.disposeModel(this.#model));
  }

  #cache(handle: Parameters<NativeBinding["cacheLength"]>[0] | null): NativeCache | null {
    return handle === null ? null : new NativeCache(this.#binding, this, handle, this.#binding.cacheLength(handle));
  }
}

function unpackGenerated({ tokens, offsets, stopped }: NativeGenerateResult): Generated[] {
  return Array.from({ length: stopped.length }, (_, i) => ({
    tokens: tokens.slice(offsets[i], offsets[i + 1]),
    stopped: stopped[i] === 1,
  }));
}
