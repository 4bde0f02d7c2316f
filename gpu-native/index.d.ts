/**
 * The native contract: everything that crosses from TypeScript to C++.
 *
 * Numbers, strings, typed arrays and opaque handles, nothing else. TypeScript (kernel-lib) applies defaults and validates;
 * C++ re-checks only what would crash. Every failure is a JS Error with a string `code`. Heavy calls return promises, run on
 * the engine's own thread in call order, report progress at most 20 times a second and obey `cancel` within one layer.
 * Shape letters: B rows, N packed tokens, C hidden_size, V vocab_size, r LoRA rank.
 */

export const API_VERSION: 1;

/** Opaque; using one after its release throws code "disposed". */
export interface EngineHandle {
  readonly __engine: unique symbol;
}
export interface ModelHandle {
  readonly __model: unique symbol;
}
export interface CacheHandle {
  readonly __cache: unique symbol;
}
export interface AdapterHandle {
  readonly __adapter: unique symbol;
}
export interface TrainerHandle {
  readonly __trainer: unique symbol;
}

export type NativeDType = "f64" | "f32" | "bf16" | "f16";
/** Block-quantised tensors of GGUF files; decoded to the compute type while loading. */
export type NativeBlockType = "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q8_0" | "q2_k" | "q3_k" | "q4_k" | "q5_k" | "q6_k";
export type NativeProjection = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** Progress and cancellation of one heavy call. `cancel[0] != 0` (Int32Array over a SharedArrayBuffer) stops it: code "aborted". */
export interface NativeJob {
  onProgress?: (done: number, total: number) => void;
  cancel?: Int32Array;
}

export interface NativeInfo {
  apiVersion: number;
  compiler: string;
  /** instruction sets of this processor that have kernels here, best first; "plain" is always last */
  isas: string[];
  cores: number;
  cuda: {
    available: boolean;
    /** why not; "" when available */
    reason: string;
    library: string | null;
    device: string | null;
    /** newest CUDA version that the driver serves, "12.4"; null: no driver */
    driver: string | null;
    /** CUDA version of the runtime inside the library */
    runtime: string | null;
    /** where matrix products come from: cuBLASLt with version and file, or our own kernels and what was tried */
    gemm: string | null;
    memoryBytes: number | null;
    /** free at this moment */
    memoryFreeBytes: number | null;
  };
}

/** The largest piece of work that will be asked for at once. */
export interface NativeWorkShape {
  rows: number; // of one pass; training: examples of a micro-batch
  contextTokens: number; // per row
  questionTokens: number; // per row
  sharedContext: boolean; // rows continue one context instead of each having its own
  keptTokens: number; // positions of caches held at the same time, over all caches
  loraRank: number; // 0 = no adapter
  loraTargets: NativeProjection[];
  training: boolean;
  matchPositions: number; // training: positions of each row compared with its base row of the same pass; 0 = none
}

/** Bytes; `context` is what the driver takes. An estimate: reads and allocates nothing. */
export interface NativeMemoryEstimate {
  weights: number;
  adapters: number;
  keysAndValues: number;
  activations: number;
  workspace: number;
  context: number;
  total: number;
}

export interface NativeEngineOptions {
  backend: "cpu" | "cuda";
  /** activation type; "f64" on the cpu only */
  dtype: "f64" | "f32" | "bf16";
  /** 0 = all cores */
  threads: number;
  /** "" = best; or one of NativeInfo.isas */
  isa: string;
}

/** Field names and meanings of the Hugging Face config.json. */
export interface NativeModelConfig {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  intermediate_size: number;
  vocab_size: number;
  max_position_embeddings: number;
  rope_theta: number;
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
  /** (head_dim / 2) of scaled rotary positions, with the factor on cosines and sines; absent: rope_theta^(-2i / head_dim) and 1 */
  rope_frequencies?: Float32Array;
  rope_scale?: number;
}

/** A tensor inside a safetensors or GGUF file whose header TypeScript has checked. */
export interface NativeTensor {
  name: string;
  file: string;
  dtype: NativeDType | NativeBlockType;
  shape: number[];
  byteOffset: number; // from the start of the file
  byteLength: number;
}

export interface NativeAdapterPart {
  layer: number;
  module: NativeProjection;
  r: number;
  scaling: number; // alpha / r, or alpha / sqrt(r) in rsLoRA
  a: Float32Array; // (r, in)
  b: Float32Array; // (out, r)
  bias?: Float32Array; // (out), added to B A x before scaling
}

/** Steering entries as columns of a table, one element per entry; entries of one row apply in table order. */
export interface NativeSteering {
  vectors: Float32Array; // (n, C), used as given
  row: Int32Array;
  vector: Int32Array;
  layerStart: Int32Array; // half-open block range
  layerEnd: Int32Array;
  spanStart: Int32Array; // half-open, indices into the row's own tokens
  spanEnd: Int32Array;
  magnitude: Float32Array;
}

export interface NativeForward {
  tokens: Int32Array; // (N) own tokens of all rows, end to end
  rowOffsets: Int32Array; // (B + 1)
  /** (B) an earlier row of this call that the row continues (its tokens come before this row's), or -1 */
  parentRow: Int32Array;
  /** (B) immutable prefix the row continues, or null; not together with parentRow >= 0 */
  parentCache: (CacheHandle | null)[];
  adapters: AdapterHandle[];
  rowAdapter: Int32Array; // (B) index into adapters, or -1
  steering: NativeSteering;
  report: {
    rows: Int32Array; // rows whose logits are wanted
    positions: "last" | "all"; // of the row's own tokens
    tokenIds: Int32Array; // chosen ids of each reported row, end to end
    tokenOffsets: Int32Array; // (report.rows.length + 1)
    topK: number; // 0 = none
    all: boolean; // whole vocabulary
  } | null;
  /** residual stream after these blocks (what a hook on the block's output sees, steering included) */
  capture: { rows: Int32Array; layers: Int32Array; positions: "last" | "all" } | null;
  keepCache: Uint8Array; // (B) 1 = return a cache of prefix + own tokens
  /** let rows with equal tokens, prefix and adapter share the layers below their first steered block (same numbers, less work) */
  shareLayers: boolean;
}

/** P = reported positions, in order of report.rows then position. Natural logarithms. */
export interface NativeForwardResult {
  caches: (CacheHandle | null)[];
  logSumExp: Float64Array; // (P) of the logits
  logprobs: Float64Array; // chosen ids: per position of a row, the row's ids in order
  topIds: Int32Array; // (P, topK) by falling logprob
  topLogprobs: Float64Array; // (P, topK)
  all: Float32Array; // (P, V) logprobs, or empty
  captures: Float32Array; // (positions, layers, C), positions in order of capture.rows
  stats: { tokenLayers: number; sharedTokenLayers: number }; // token-layers computed, and saved by sharing
}

export interface NativeGenerate {
  /** as in forward: the prompt (own tokens, at least one per row) over its prefix */
  prompt: NativeForward;
  maxTokens: number;
  temperature: number; // 0 = argmax
  topP: number;
  seeds: Float64Array; // (B) integers below 2^53
  stopIds: Int32Array;
}
export interface NativeGenerateResult {
  tokens: Int32Array; // new tokens end to end, stop token not included
  offsets: Int32Array; // (B + 1)
  stopped: Uint8Array; // (B) 1 = a stop id ended it, 0 = maxTokens
}

export interface NativeTrainerOptions {
  r: number;
  alpha: number;
  dropout: number;
  targets: NativeProjection[];
  /** 0 = pair, 1 = full vocabulary, between = pair + massWeight * (-log mass) */
  massWeight: number;
  seed: number; // dropout key
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  maxGradNorm: number; // <= 0: none
}

/** Where each tensor of the flat parameter array stands; names as in PEFT without the "base_model.model." prefix. */
export interface NativeTrainerTensor {
  name: string; // model.layers.0.self_attn.q_proj.lora_A.weight
  layer: number;
  module: NativeProjection;
  which: "A" | "B";
  shape: [number, number];
  offset: number;
}

/**
 * Examples of one optimizer step (or one evaluation); row = example. Of each kind:
 *   label (matchPositions 0)  loss of the two labels at the question's last position
 *   match (matchPositions K)  KL(base || adapter) in nats over the whole vocabulary, mean over the question's last K positions. The
 *                             base is a row of the same pass: same tokens and steering, no adapter, no dropout, no gradient
 * What is descended is the mean over all examples of weight * loss.
 */
export interface NativeTrainBatch {
  contextTokens: Int32Array;
  contextOffsets: Int32Array; // (B + 1)
  questionTokens: Int32Array;
  questionOffsets: Int32Array; // (B + 1)
  labels: Int32Array; // (B, 2) token ids; not read for a match example
  targets: Int32Array; // (B) 0 or 1; likewise
  matchPositions: Int32Array; // (B) 0 or 1 <= K <= tokens of the question
  weights: Float64Array; // (B) >= 0
  steering: NativeSteering; // row = example, span within the context
  /** examples packed into one pass; the result does not depend on it */
  microBatch: number;
  /** what the contexts are prefilled with instead of the trainer's parameters (gradient checks hold them constant), same dropout */
  contextAdapter?: AdapterHandle | null;
}
export interface NativeBatchResult {
  loss: Float64Array; // (B) label loss, or nats per position; before weights
  logprob: Float64Array; // (B, 2) of the labels over the whole vocabulary; NaN for a match example
  logmass: Float64Array; // (B) likewise
}

export interface NativeBinding {
  apiVersion: number;
  info(): NativeInfo;
  /** what a model whose weights are stored as `stored` takes on a backend, before anything is loaded */
  estimateMemory(
    options: { backend: "cpu" | "cuda"; dtype: "f64" | "f32" | "bf16"; stored: NativeDType },
    config: NativeModelConfig,
    work: NativeWorkShape,
  ): NativeMemoryEstimate;
  /** values of whole blocks, as a model's tensors are decoded */
  dequantise(dtype: NativeBlockType, blocks: Uint8Array): Float32Array;
  createEngine(options: NativeEngineOptions): EngineHandle;
  engineDescription(engine: EngineHandle): string;
  counters(engine: EngineHandle): Record<string, number>;
  /** `tensors` in any order with their Hugging Face names; null weights everything from `randomSeed` with std 0.02 */
  openModel(
    engine: EngineHandle,
    config: NativeModelConfig,
    tensors: NativeTensor[] | null,
    randomSeed: number,
    job: NativeJob,
  ): Promise<ModelHandle>;
  /** releases device memory now; later use of the handle (or of its caches and adapters) throws "disposed" */
  disposeModel(model: ModelHandle): void;
  loadAdapter(model: ModelHandle, parts: NativeAdapterPart[]): AdapterHandle;
  disposeAdapter(adapter: AdapterHandle): void;
  disposeCache(cache: CacheHandle): void;
  cacheLength(cache: CacheHandle): number;
  /** keys and values of one layer (post-rotation), for tests: each (length, KVH, D) */
  readCache(cache: CacheHandle, layer: number): { k: Float32Array; v: Float32Array };
  forward(model: ModelHandle, request: NativeForward, job: NativeJob): Promise<NativeForwardResult>;
  generate(model: ModelHandle, request: NativeGenerate, job: NativeJob): Promise<NativeGenerateResult>;

  /** `initial` = flat parameters (trainerLayout order) */
  createTrainer(model: ModelHandle, options: NativeTrainerOptions, initial: Float32Array | Float64Array): TrainerHandle;
  trainerLayout(config: NativeModelConfig, r: number, targets: NativeProjection[]): NativeTrainerTensor[];
  /** one optimizer step, 1-based `step`; the mean of weight * loss over the batch is descended */
  trainStep(
    trainer: TrainerHandle,
    batch: NativeTrainBatch,
    step: number,
    lr: number,
    job: NativeJob,
  ): Promise<NativeBatchResult & { gradNorm: number }>;
  /** no dropout, no gradient */
  evaluate(trainer: TrainerHandle, batch: NativeTrainBatch, job: NativeJob): Promise<NativeBatchResult>;
  /** gradient of the mean of weight * loss at the present parameters, without an update (tests); dropout of `step` applies */
  gradients(
    trainer: TrainerHandle,
    batch: NativeTrainBatch,
    step: number,
    job: NativeJob,
  ): Promise<NativeBatchResult & { gradients: Float32Array | Float64Array }>;
  /** copies; f64 engines give Float64Array */
  trainerState(
    trainer: TrainerHandle,
  ): Promise<{ params: Float32Array | Float64Array; m: Float32Array | Float64Array; v: Float32Array | Float64Array }>;
  setTrainerState(
    trainer: TrainerHandle,
    state: { params: Float32Array | Float64Array; m: Float32Array | Float64Array; v: Float32Array | Float64Array },
  ): Promise<void>;
  /** the trainer's parameters as they are now, as an adapter for forward() */
  trainerAdapter(trainer: TrainerHandle): AdapterHandle;
  disposeTrainer(trainer: TrainerHandle): void;
}

/** Loads the addon. Throws code "native-missing" listing what was tried and the command that mends it. */
export function loadNative(): NativeBinding;
