/** An adapter bound to one ONNX engine: its stacks as feeds of the graph. */
import { expected, InputError } from "../../base";
import { type AdapterPart, type ModelConfig, PROJECTIONS, projectionShape } from "../../checkpoint";
import type { Adapter } from "../types";
import { stackParts } from "./lora-stack";
import { IO } from "./qwen2-graph";
import type { Feed } from "./runtime";

export class OnnxAdapter implements Adapter {
  #feeds: Record<string, Feed> | null;

  /** @throws InputError as `checkParts` */
  constructor(
    readonly owner: object,
    readonly name: string,
    readonly hash: string,
    parts: readonly AdapterPart[],
    config: ModelConfig,
  ) {
    const layers = config.num_hidden_layers;
    this.#feeds = {};
    for (const [module, { a, b, rank, width, out }] of Object.entries(stackParts(parts, config))) {
      this.#feeds[IO.loraA(module as AdapterPart["module"])] = { data: a, dims: [layers, width, rank] };
      this.#feeds[IO.loraB(module as AdapterPart["module"])] = { data: b, dims: [layers, rank, out] };
    }
  }

  /** @throws InputError "disposed" */
  get feeds(): Record<string, Feed> {
    if (this.#feeds === null)
      throw new InputError("disposed", `Expected a live adapter but ${this.name} was disposed. Bind it again.`);
    return this.#feeds;
  }

  dispose(): void {
    this.#feeds = null;
  }
}

/** Feeds of no adapter: rank 0. */
export function noAdapterFeeds(config: ModelConfig): Record<string, Feed> {
  const layers = config.num_hidden_layers;
  return Object.fromEntries(
    PROJECTIONS.flatMap((module) => {
      const [out, width] = projectionShape(config, module);
      return [
        [IO.loraA(module), { data: new Float32Array(0), dims: [layers, width, 0] }],
        [IO.loraB(module), { data: new Float32Array(0), dims: [layers, 0, out] }],
      ] as const;
    }),
  );
}

/** @throws InputError "foreign-adapter", "disposed" */
export function adapterFeeds(adapter: Adapter, owner: object, name: string): Record<string, Feed> {
  if (adapter instanceof OnnxAdapter && adapter.owner === owner) return adapter.feeds;
  throw new InputError(
    "foreign-adapter",
    expected("an adapter bound to this engine", name, adapter?.name, "Bind the adapter to this model."),
  );
}
