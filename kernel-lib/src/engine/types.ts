/**
 * The batch that engines take and what they give back. Backends (native, onnx) implement `Engine`; `Model` (model.ts) is what users
 * hold. Shape letters: B rows, C hidden_size, V vocab_size, L num_hidden_layers, r LoRA rank. Logarithms are natural.
 */
import type {
  AdapterPart,
  ChatTemplate,
  ChatTurn,
  EncodedChat,
  ModelConfig,
  Projection,
  Tokenizer,
} from "../checkpoint";

export type BackendName = "cpu" | "cuda" | "onnx";
export type DTypeName = "f32" | "bf16" | "f64";

/** One addition to the residual stream: `magnitude * direction` after every block of `layers` at every token of `span`. */
export interface Steering {
  /** (C), used as given; unit norm where a study speaks of magnitudes */
  direction: Float32Array;
  /** half-open block range [start, end), 0 <= start <= end <= L */
  layers: readonly [number, number];
  /** L2 length added per layer and token when `direction` has unit norm */
  magnitude: number;
  /** half-open positions of the row's own tokens; default: all of them */
  span?: readonly [number, number];
}

/** Immutable keys and values of a prefix; forks are implicit: continuing it never changes it. */
export interface Cache {
  /** positions held */
  readonly length: number;
  dispose(): void;
}

/** A LoRA adapter bound to a model's shapes; used per row, never merged into the model. */
export interface Adapter {
  readonly name: string;
  /** sha256 of the adapter's tensors */
  readonly hash: string;
  dispose(): void;
}

/** One sequence of a batch: own tokens over an optional prefix. */
export interface Row {
  tokens: ArrayLike<number>;
  /** immutable prefix that the row continues */
  cache?: Cache | null;
  /** index of an earlier row of the same batch that this row continues (instead of `cache`) */
  parent?: number | null;
  steering?: readonly Steering[];
  adapter?: Adapter | null;
  /** ids whose logprobs are wanted at the reported positions of this row */
  wanted?: ArrayLike<number>;
  /** keep a cache of prefix + own tokens */
  keepCache?: boolean;
  /** report logits of this row (default true when the request reports) */
  report?: boolean;
}

export interface ForwardOptions {
  /** logits to report: nothing (default), at the last own position, or at all own positions */
  report?: "none" | "last" | "all";
  topK?: number;
  /** whole vocabulary at each reported position */
  fullVocabulary?: boolean;
  /** residual stream after these blocks */
  capture?: { layers: readonly number[]; positions: "last" | "all" };
  /** share layers below the first steered block between rows that differ only in steering; default true */
  shareLayers?: boolean;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** What one reported position says. */
export interface PositionReport {
  /** natural-log probabilities of Row.wanted over the whole vocabulary */
  logprobs: Float64Array;
  top: { token: number; logprob: number }[];
  /** (V) logprobs, or null */
  all: Float32Array | null;
}

export interface RowResult {
  cache: Cache | null;
  /** one entry per reported position */
  positions: PositionReport[];
  /** (positions, layers, C) residual stream, or null */
  captures: Float32Array | null;
}

export interface GenerateOptions {
  maxTokens: number;
  /** 0 = argmax (default 1) */
  temperature?: number;
  topP?: number;
  /** one seed per row, or one from which rows are numbered */
  seed: number | readonly number[];
  stopIds?: readonly number[];
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

export interface Generated {
  tokens: Int32Array;
  /** true when a stop id ended it, false when maxTokens did */
  stopped: boolean;
}

/** What every backend offers; onnx refuses training by name. */
export interface Engine {
  readonly backend: BackendName;
  readonly dtype: DTypeName;
  readonly config: ModelConfig;
  /** ISA or device, threads: for run records */
  readonly description: string;
  /** what rounds: instruction set, GPU with its source of products, or runtime version; equal arithmetic, equal bytes */
  readonly arithmetic: string;
  forward(rows: readonly Row[], options?: ForwardOptions): Promise<RowResult[]>;
  generate(rows: readonly Row[], options: GenerateOptions): Promise<Generated[]>;
  bindAdapter(parts: readonly AdapterPart[], identity: { name: string; hash: string }): Adapter;
  createTrainer(options: TrainerOptions, initial: Float32Array | Float64Array): Trainer;
  dispose(): void;
}

export interface TrainerOptions {
  r: number;
  alpha: number;
  dropout: number;
  targets: readonly Projection[];
  /** loss = pair cross-entropy + massWeight * (-log mass); 0 pair, 1 full vocabulary */
  massWeight: number;
  seed: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** <= 0: no clipping */
  maxGradNorm: number;
}

/** A conversation to learn from: the context is prefilled (steered or not), the question asked clean on its cache; without a context, bare. */
interface Lesson {
  context: ArrayLike<number>;
  question: ArrayLike<number>;
  steering: readonly Steering[];
  /** factor of its loss in the mean over the batch, >= 0; default 1 */
  weight?: number;
}

/** Loss of two labels at the question's last position. */
export interface Example extends Lesson {
  /** two token ids */
  labels: readonly [number, number];
  /** which label is right */
  target: 0 | 1;
}

/**
 * Loss that keeps a model as it was: KL(base || adapter) over the whole vocabulary, in nats, mean over the question's last `positions`
 * positions (1 = what follows the question; all tokens of a reply = what the base would say after each). The base is the model without
 * adapter and without dropout on the same tokens with the same steering.
 */
export interface MatchExample extends Lesson {
  positions: number;
}

/** Both kinds may stand in one batch. */
export type TrainingExample = Example | MatchExample;

export interface BatchResult {
  /** (B) before weights: label loss, or of a match example the divergence in nats per position */
  loss: Float64Array;
  /** (B, 2) label logprobs over the whole vocabulary; NaN for a match example */
  logprob: Float64Array;
  /** (B) log(p(label 0) + p(label 1)); NaN for a match example */
  logmass: Float64Array;
}

/** A flat parameter array with AdamW state; the layout is that of `trainerLayout`. */
export interface Trainer {
  readonly layout: readonly TrainerTensor[];
  /** 1-based step; descends the mean over the examples of weight * loss */
  step(
    examples: readonly TrainingExample[],
    step: number,
    lr: number,
    run?: TrainRun,
  ): Promise<BatchResult & { gradNorm: number }>;
  evaluate(examples: readonly TrainingExample[], run?: TrainRun): Promise<BatchResult>;
  gradients(
    examples: readonly TrainingExample[],
    step: number,
    run?: TrainRun,
  ): Promise<BatchResult & { gradients: Float32Array | Float64Array }>;
  state(): Promise<TrainerState>;
  setState(state: TrainerState): Promise<void>;
  /** the present parameters as an adapter */
  adapter(name: string): Adapter;
  dispose(): void;
}

/** The largest piece of work that will be asked of an engine at once: what a memory estimate needs to know. */
export interface WorkShape {
  /** rows of one pass; training: examples */
  rows: number;
  /** of the longest row; context tokens get no gradient */
  contextTokens: number;
  questionTokens: number;
  /** rows continue one context instead of each having its own; default false */
  sharedContext?: boolean;
  /** positions of caches held at the same time, over all caches; default 0 */
  keptTokens?: number;
  lora?: { r: number; targets: readonly Projection[] } | null;
  /** default false */
  training?: boolean;
  /** training: positions of a row that are compared with the base model's; default 0: no match examples */
  matchPositions?: number;
}

export interface TrainRun {
  /** examples per pass; changes memory and speed, never the numbers */
  microBatch?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

export interface TrainerTensor {
  /** PEFT name without "base_model.model." */
  name: string;
  layer: number;
  module: Projection;
  which: "A" | "B";
  shape: readonly [number, number];
  offset: number;
}

export interface TrainerState {
  params: Float32Array | Float64Array;
  m: Float32Array | Float64Array;
  v: Float32Array | Float64Array;
}

/** What a study needs of a model; `Model` is one. */
export interface StudyModel {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate;
  /** hub name or folder */
  readonly name: string;
  /** hash of the weights */
  readonly hash: string;
  /** true for the small model that ships with the project */
  readonly isLabModel: boolean;
  /** tokens that end an answer */
  readonly stopIds: readonly number[];
  /** a conversation in tokens, by the model's own template; `answerPrefix` opens the assistant's answer */
  encodeChat(turns: readonly ChatTurn[], options?: { answerPrefix?: string }): EncodedChat;
}
