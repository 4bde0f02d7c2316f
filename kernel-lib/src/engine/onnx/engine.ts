/**
 * `Engine` over onnxruntime: the same requests and results as the native engines, calls answered in the order they were made.
 *
 * Cannot train, and computes every row by itself (no sharing of layers between rows): both are refused by name when asked for.
 */
import { DeviceError, InputError } from "../../base";
import type { AdapterPart, ModelConfig } from "../../checkpoint";
import { checkedGeneration } from "../checks";
import type {
  Adapter,
  Engine,
  ForwardOptions,
  Generated,
  GenerateOptions,
  PositionReport,
  Row,
  RowResult,
  Trainer,
  TrainerOptions,
} from "../types";
import { OnnxAdapter } from "./bound-adapter";
import type { OnnxFile } from "./file";
import { generateTokens } from "./generate";
import { type Held, OnnxCache } from "./held";
import { largestTokens, logSumExp } from "./logits";
import { prefill } from "./prefill";
import type { Feed, OnnxSession } from "./runtime";
import { type Task, tasksOf } from "./tasks";

/** The adapter feeds of a file that has its adapter built in: none, and the same for every row. */
const BUILT_IN: Record<string, Feed> = {};

export class OnnxEngine implements Engine {
  readonly backend = "onnx";
  readonly dtype = "f32";
  readonly config: ModelConfig;
  readonly description: string;
  readonly arithmetic: string;
  /** the exported file it runs */
  readonly file: OnnxFile;
  #session: OnnxSession | null;
  #last: Promise<unknown> = Promise.resolve();

  constructor(session: OnnxSession, file: OnnxFile, threads: number) {
    this.#session = session;
    this.file = file;
    this.config = file.metadata.config;
    const weights = file.metadata.dtype === "f32" ? "" : `, ${file.metadata.dtype} weights`;
    this.arithmetic = `onnxruntime-node ${session.version}`;
    this.description = `onnxruntime-node ${session.version}, ${threads === 0 ? "all" : threads} thread${threads === 1 ? "" : "s"}${weights}`;
  }

  /** See `Engine`. @throws InputError naming row and field; DeviceError "onnx-layer-forks"; AbortedError */
  async forward(rows: readonly Row[], options: ForwardOptions = {}): Promise<RowResult[]> {
    if (options.shareLayers === true) {
      throw new DeviceError(
        "onnx-layer-forks",
        "Expected backend cpu or cuda for shareLayers but received onnx. Leave the option out: the numbers are the same.",
      );
    }
    if (rows.length === 0) return [];
    const tasks = this.#tasks(rows, options);
    const keeps = rows.map((row) => row.keepCache ?? false);
    const results = tasks.map(
      (task): RowResult => ({ cache: null, positions: [], captures: this.#captureArray(task, options) }),
    );
    await this.#inTurn((session) =>
      prefill(session, this.config, tasks, options, {
        logits: (task, _, logits) => {
          results[task.index].positions.push(positionReport(task, logits, options));
        },
        hidden: (task, position, which, stream) => {
          const layers = options.capture?.layers.length ?? 0;
          const at = options.capture?.positions === "all" ? position : 0;
          results[task.index].captures?.set(stream, (at * layers + which) * this.config.hidden_size);
        },
      }),
    );
    for (const [i, result] of results.entries())
      if (keeps[i]) result.cache = new OnnxCache(this, tasks[i].held as Held);
    return results;
  }

  /** See `Engine`. Rows with `report: false` are prefilled (as parents) but generate nothing. */
  async generate(rows: readonly Row[], options: GenerateOptions): Promise<Generated[]> {
    if (rows.length === 0) return [];
    const settings = checkedGeneration(options, rows.length, this.config);
    const tasks = this.#tasks(rows, { report: "last" }, settings.maxTokens);
    return this.#inTurn((session) => generateTokens(session, this.config, tasks, settings, options));
  }

  /** @throws InputError "adapter-built-in" on a file exported with an adapter; as `checkParts` */
  bindAdapter(parts: readonly AdapterPart[], identity: { name: string; hash: string }): Adapter {
    this.#open();
    const builtIn = this.file.metadata.adapter;
    if (builtIn !== null) {
      throw new InputError(
        "adapter-built-in",
        `Expected an export without an adapter for ${identity.name} but ${this.file.file} has ${builtIn.name} built in. Export the model without --adapter.`,
      );
    }
    return new OnnxAdapter(this, identity.name, identity.hash, parts, this.config);
  }

  /** @throws DeviceError "onnx-training", always */
  createTrainer(_options: TrainerOptions, _initial: Float32Array | Float64Array): Trainer {
    throw new DeviceError(
      "onnx-training",
      "Expected backend cpu or cuda for training but received onnx. onnxruntime computes no gradients here; run npm run build for the native engine.",
    );
  }

  /** Frees the weights once calls already made are answered; later use throws "disposed". */
  dispose(): void {
    const session = this.#session;
    this.#session = null;
    if (session !== null) this.#last = this.#last.then(() => session.dispose());
  }

  #open(): OnnxSession {
    if (this.#session === null)
      throw new InputError("disposed", "Expected a live model but it was disposed. Open it again.");
    return this.#session;
  }

  #tasks(rows: readonly Row[], options: ForwardOptions, reserve = 0): Task[] {
    this.#open();
    const tasks = tasksOf(rows, options, this.config, this, reserve);
    return this.file.metadata.adapter === null ? tasks : tasks.map((task) => ({ ...task, adapter: BUILT_IN }));
  }

  /** Runs `work` after all work handed in before, whether that succeeded or not. */
  #inTurn<T>(work: (session: OnnxSession) => Promise<T>): Promise<T> {
    const session = this.#open();
    const result = this.#last.then(() => work(session));
    this.#last = result.catch(() => undefined);
    return result;
  }

  #captureArray(task: Task, options: ForwardOptions): Float32Array | null {
    if (options.capture === undefined) return null;
    const positions = options.capture.positions === "all" ? task.tokens.length : 1;
    return new Float32Array(positions * options.capture.layers.length * this.config.hidden_size);
  }
}

function positionReport(task: Task, logits: Float32Array, options: ForwardOptions): PositionReport {
  const total = logSumExp(logits);
  return {
    logprobs: Float64Array.from(task.wanted, (id) => logits[id] - total),
    top: largestTokens(logits, options.topK ?? 0).map((token) => ({ token, logprob: logits[token] - total })),
    all: options.fullVocabulary ? logits.map((x) => x - total) : null,
  };
}
