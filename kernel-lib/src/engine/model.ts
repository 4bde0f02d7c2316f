/**
 * Opens a model: folder, GGUF file or hub name -> checked checkpoint -> engine (+ tokenizer and chat template).
 *
 * `openEngine` is for token ids only (scripts); `openModel` is what notebooks hold. Backends sit behind `Engine`: native cpu
 * and cuda, and onnx. Everything is checked before the weights are touched. Adapters are attached per request, never merged.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { inspect } from "node:util";
import { LAB_MODEL, say, SteerlabError } from "../base";
import {
  type AdapterFiles,
  type ChatTemplate,
  type ChatTurn,
  type Checkpoint,
  checkpointHash,
  type EncodedChat,
  loadChatTemplate,
  loadTokenizer,
  type ModelConfig,
  modelIdentity,
  readAdapter,
  readCheckpoint,
  renderChat,
  resolveAdapter,
  resolveModel,
  type Tokenizer,
  vocabularyNote,
} from "../checkpoint";
import { type Answer, answer } from "./answers";
import { nativeInfo, openNative } from "./native";
import { describeEstimate, type MemoryEstimate } from "./native/memory";
import { openOnnx } from "./onnx/open";
import type { Adapter, BackendName, Cache, DTypeName, Engine, Steering, WorkShape } from "./types";

/** Weights up to this size are hashed to tell whether an adapter was trained on them (about 2 s); beyond, its name is compared. */
const QUICK_HASH_BYTES = 2e9;

export interface EngineOptions {
  /** "auto" (default): cuda where a usable device is, else cpu; onnx where the addon is missing */
  backend?: BackendName | "auto";
  /** compute type; default f32 on the cpu, bf16 on cuda. "auto": bf16 where the processor or device multiplies it natively */
  dtype?: DTypeName | "auto";
  /** default 0: all cores */
  threads?: number;
  /** the largest work that will be asked for: what does not fit is refused before loading; default: one text of 256 tokens */
  work?: WorkShape;
  /** bytes of weights read so far and in all */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** Options of `openModel`. */
export interface ModelOptions extends EngineOptions {
  /** which of several named chat templates; default: the unnamed one */
  chatTemplate?: string;
}

/** Options of `Model.attach`. */
export interface AttachOptions {
  /** folder of the adapter within the repository or folder, as PEFT's `subfolder`: step_0900 */
  subfolder?: string;
  /** "accept" takes an adapter whose manifest or configuration tells of another base, without a word; default "refuse" */
  otherBase?: "refuse" | "accept";
}

/** An engine, the checkpoint it came from, and a way to bind adapter folders to it. */
export interface OpenedEngine {
  engine: Engine;
  checkpoint: Checkpoint;
  attach(folderOrName: string, options?: AttachOptions): Promise<Adapter>;
}

/** Reads a checkpoint's config and headers without its weights; what is not applied is said on stderr. @throws as `readCheckpoint` */
export async function readModelConfig(name: string): Promise<{ config: ModelConfig; checkpoint: Checkpoint }> {
  const checkpoint = readCheckpoint(await resolveModel(name));
  for (const note of checkpoint.notes) say(note);
  return { config: checkpoint.config, checkpoint };
}

/**
 * Opens an engine on a checkpoint, for work on token ids.
 * @param name folder, .gguf file, or hub name `org/name[@revision]`
 * @throws InputError, DataError as `readCheckpoint`; DeviceError "native-missing", "out-of-memory"
 * @example
 * const { engine, attach } = await openEngine("data/lab-model", { threads: 2 });
 */
export async function openEngine(name: string, options: EngineOptions = {}): Promise<OpenedEngine> {
  const { checkpoint } = await readModelConfig(name);
  const engine = await startEngine(checkpoint, options);
  const attach = async (folder: string, attachOptions?: AttachOptions): Promise<Adapter> =>
    bound(engine, await adapterFor(checkpoint, { name }, folder, attachOptions));
  return { engine, checkpoint, attach };
}

/**
 * Reads and checks an adapter for a checkpoint whose weights need not be loaded yet; what it notes goes to stderr.
 * @param base name of the model as the caller gave it; its `checkpointHash`, computed here if it is quick and not given
 * @throws as `readAdapter`
 */
export async function adapterFor(
  checkpoint: Checkpoint,
  base: { name: string; hash?: string | null },
  folderOrName: string,
  options: AttachOptions = {},
): Promise<AdapterFiles> {
  const quick = checkpoint.weightBytes <= QUICK_HASH_BYTES;
  const hash = base.hash ?? (quick ? await checkpointHash(checkpoint) : null);
  const { config, tensors } = checkpoint;
  const folder = await resolveAdapter(folderOrName, { subfolder: options.subfolder });
  const files = await readAdapter(folder, { config, tensors, name: base.name, hash }, options);
  for (const note of files.notes) say(note);
  return files;
}

function bound(engine: Engine, { parts, name, hash }: AdapterFiles): Adapter {
  return engine.bindAdapter(parts, { name, hash });
}

/** Starts the chosen backend on a checked checkpoint. @param modelHash `checkpointHash`, if it is known already */
async function startEngine(checkpoint: Checkpoint, options: EngineOptions, modelHash?: string): Promise<Engine> {
  const wanted = options.backend ?? "auto";
  const backend = wanted === "auto" ? usableBackend() : wanted;
  if (backend === "onnx")
    return openOnnx(checkpoint, { ...options, dtype: options.dtype === "auto" ? undefined : options.dtype, modelHash });
  return openNative({
    backend,
    dtype: chooseType(backend, options.dtype),
    threads: options.threads ?? 0,
    config: checkpoint.config,
    tensors: checkpoint.tensors,
    work: options.work,
    onEstimate: printEstimate,
    onProgress: options.onProgress,
    signal: options.signal,
  });
}

/** Models below this take no time to open, and their memory nobody's attention. */
const LARGE_BYTES = 2e9;

function printEstimate(estimate: MemoryEstimate): void {
  if (estimate.total >= LARGE_BYTES) process.stderr.write(`steerlab: memory estimate ${describeEstimate(estimate)}\n`);
}

/** cuda where a usable device is, else cpu; onnx, with a line on stderr, where the addon is missing. */
function usableBackend(): BackendName {
  try {
    return nativeInfo().cuda.available ? "cuda" : "cpu";
  } catch (error) {
    if (!(error instanceof SteerlabError) || error.code !== "native-missing") throw error;
    process.stderr.write(
      "steerlab: the native engine is not built, so onnxruntime runs this model (no training). Run: npm run build.\n",
    );
    return "onnx";
  }
}

/** bf16 halves the time where the hardware multiplies it, and costs time where it does not. */
function chooseType(backend: "cpu" | "cuda", wanted: EngineOptions["dtype"]): DTypeName {
  if (wanted !== undefined && wanted !== "auto") return wanted;
  if (backend === "cuda") return "bf16";
  return wanted === "auto" && nativeInfo().isas.includes("avx512bf16") ? "bf16" : "f32";
}

/**
 * A model as notebooks hold it: engine, tokenizer and chat template of one checkpoint. Made by `openModel`.
 *
 * @example
 * const model = await openModel();
 * const { num_hidden_layers: layers, hidden_size: width } = model.config; // 12 layers x 256
 */
export class Model {
  constructor(
    /** as the caller named it; a GGUF file with its quantisation and hash */
    readonly name: string,
    readonly checkpoint: Checkpoint,
    readonly engine: Engine,
    readonly tokenizer: Tokenizer,
    readonly chatTemplate: ChatTemplate,
    /** sha256 over the config and the weight files */
    readonly hash: string,
    /** true for the small model that ships with the project: no figure of it speaks for a published model */
    readonly isLabModel: boolean,
  ) {}

  get config(): ModelConfig {
    return this.checkpoint.config;
  }

  /** Tokens that end an answer: every control token of the tokenizer, and what generation_config.json names. */
  get stopIds(): readonly number[] {
    return [...new Set([...this.tokenizer.controlTokens.values(), ...this.checkpoint.eosTokenIds])];
  }

  /**
   * A conversation in tokens, by the model's own template.
   * @param options.answerPrefix opens the assistant's answer with this text, no trailing space
   * @returns token ids (n), and where each turn lies in them
   * @throws InputError "chat-turns", "trailing-space"; DataError "chat-template"
   * @example
   * const { ids } = model.encodeChat([{ role: "user", content: "Is bread a food?" }], { answerPrefix: "The answer is" });
   */
  encodeChat(turns: readonly ChatTurn[], options: { answerPrefix?: string } = {}): EncodedChat {
    return this.tokenizer.encodeChat(renderChat(this.chatTemplate, turns, options));
  }

  /**
   * Prefills `tokens` with `steering` added to the residual stream, then forgets the steering.
   * At each layer in [start, end) and every token t: residual[t] += magnitude * direction.
   * @param tokens ids (n), 1 <= n <= max_position_embeddings
   * @param options.steering each: direction (hidden_size, unit length), half-open layers, magnitude in residual-stream units
   * @returns an immutable cache of n positions; the caller disposes it
   * @throws InputError "layer-range", "empty-row", "bad-token", "too-long"; DeviceError "out-of-memory"
   * @example
   * const cache = await model.prefill(ids, { steering: [{ direction, layers: [0, 4], magnitude: 3 }] });
   */
  async prefill(
    tokens: ArrayLike<number>,
    options: { steering?: readonly Steering[]; adapter?: Adapter | null } = {},
  ): Promise<Cache> {
    const [row] = await this.engine.forward([
      { tokens, steering: options.steering, adapter: options.adapter, keepCache: true },
    ]);
    return row.cache as Cache;
  }

  /**
   * Asks questions of one cache, each on its own fork: the order never matters and the cache stays as it was.
   * @param questions token ids that continue the cached text   @param labels two token ids, first = "yes"
   * @returns one answer per question: probability of the first label of the two, mass of both (0..1), log-odds (nats)
   * @throws InputError "disposed", "bad-token", "too-long"
   * @example
   * const [a] = await model.ask(cache, [questionIds], [yes, no]);
   */
  async ask(
    cache: Cache,
    questions: readonly ArrayLike<number>[],
    labels: readonly [number, number],
    options: { adapter?: Adapter | null } = {},
  ): Promise<Answer[]> {
    const rows = questions.map((tokens) => ({ tokens, cache, adapter: options.adapter, wanted: labels }));
    const results = await this.engine.forward(rows, { report: "last" });
    return results.map(({ positions: [{ logprobs }] }) => answer(logprobs[0], logprobs[1]));
  }

  /**
   * Samples answers to a conversation.
   * @param options.seed one seed per sample is derived from it; same seed, same text
   * @param options.temperature 0: the likeliest token each time; default 1
   * @returns `samples` texts (default one) without control tokens
   * @throws InputError "chat-turns", "too-long", "not-finite" where the logits are none; DataError "chat-template"
   * @example
   * const [text] = await model.sample([{ role: "user", content: "Who are you?" }], { maxTokens: 40, seed: 1, temperature: 0 });
   */
  async sample(
    turns: readonly ChatTurn[],
    options: {
      maxTokens: number;
      seed: number;
      samples?: number;
      temperature?: number;
      topP?: number;
      adapter?: Adapter | null;
    },
  ): Promise<string[]> {
    const { ids } = this.encodeChat(turns, { answerPrefix: "" });
    const rows = Array.from({ length: options.samples ?? 1 }, () => ({ tokens: ids, adapter: options.adapter }));
    const generated = await this.engine.generate(rows, {
      maxTokens: options.maxTokens,
      temperature: options.temperature,
      topP: options.topP,
      seed: options.seed,
      stopIds: this.stopIds,
    });
    return generated.map(({ tokens }) => this.tokenizer.decode(tokens, { skipControls: true }));
  }

  /**
   * Binds a PEFT adapter to this model, for use per request; the weights stay as they are.
   * @param folderOrName folder, or hub name `org/name[@revision]`
   * @throws InputError, DataError "adapter-*" saying what the folder lacks or was made for
   * @example
   * const adapter = await model.attach("runs/detector/adapter");
   */
  async attach(folderOrName: string, options: AttachOptions = {}): Promise<Adapter> {
    return bound(this.engine, await adapterFor(this.checkpoint, this, folderOrName, options));
  }

  /**
   * Releases weights and device memory now; later use throws InputError "disposed". Results already computed stay.
   * @example
   * model.dispose();
   */
  dispose(): void {
    this.engine.dispose();
  }

  [inspect.custom](): string {
    const { num_hidden_layers: layers, hidden_size: width } = this.config;
    return `Model ${this.name}${this.isLabModel ? " (lab model)" : ""}: ${layers} layers x ${width}, ${this.engine.dtype} on ${this.engine.backend} (${this.engine.description})`;
  }
}

/**
 * Opens a model with its tokenizer and chat template.
 * @param name folder, .gguf file, or hub name `org/name[@revision]`; default: the lab model that ships with the project
 * @returns the model with its weights in memory; the caller disposes it
 * @throws InputError "hub-name", "config-field"; DataError for what in the folder or file is damaged, "chat-template", "tokenizer-missing";
 *   DeviceError "native-missing", "out-of-memory" (estimated and refused before loading)
 * @example
 * const model = await openModel(); // the lab model
 */
export async function openModel(name: string = LAB_MODEL, options: ModelOptions = {}): Promise<Model> {
  const { checkpoint } = await readModelConfig(name);
  const tokenizer = loadTokenizer(checkpoint.path);
  const beyond = vocabularyNote(tokenizer, checkpoint.config.vocab_size);
  if (beyond !== null) say(beyond);
  const template = loadChatTemplate(checkpoint.path, options.chatTemplate);
  const { name: recorded, hash } = await modelIdentity(name, checkpoint);
  const engine = await startEngine(checkpoint, options, hash);
  return new Model(
    name === LAB_MODEL ? "lab-model" : recorded,
    checkpoint,
    engine,
    tokenizer,
    template,
    hash,
    isLabModel(checkpoint),
  );
}

/** Our own recipe marks its config.json, so that a renamed copy of the lab model is still known for what it is. */
function isLabModel({ path: location, quantisation }: Checkpoint): boolean {
  if (quantisation !== null) return false;
  const config = JSON.parse(fs.readFileSync(path.join(location, "config.json"), "utf8")) as {
    steerlab_lab_model?: unknown;
  };
  return config.steerlab_lab_model === true;
}
