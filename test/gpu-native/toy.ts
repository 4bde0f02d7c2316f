/** Tiny random Qwen2 models and inputs for the laws of the native engine. */
import { random } from "../../kernel-lib/src/base";
import type { AdapterPart, ModelConfig, Projection } from "../../kernel-lib/src/checkpoint";
import {
  type Adapter,
  type DTypeName,
  type Example,
  type MatchExample,
  type NativeEngine,
  nativeInfo,
  openNative,
  type RowResult,
  type TrainerOptions,
  type TrainingExample,
} from "../../kernel-lib/src/engine";

export const TOY: ModelConfig = {
  hidden_size: 32,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  intermediate_size: 48,
  vocab_size: 61,
  max_position_embeddings: 96,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
};

export const ALL_PROJECTIONS: readonly Projection[] = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
];

/** One way to run a law: plain kernels, the best kernels of this processor, the CUDA device. */
export interface Build {
  label: string;
  backend: "cpu" | "cuda";
  isa: string;
  dtype: DTypeName;
}

/** The builds of this machine; a missing CUDA device is not among them, `absentBuilds` names it. */
export function toyBuilds(dtypes: readonly DTypeName[] = ["f32", "bf16"]): Build[] {
  const { isas, cuda } = nativeInfo();
  const cpu = [...new Set(["plain", isas[0]])].map((isa) => ({ backend: "cpu" as const, isa }));
  const all = cuda.available ? [...cpu, { backend: "cuda" as const, isa: "" }] : cpu;
  return all.flatMap((build) =>
    dtypes.map((dtype) => ({ ...build, dtype, label: `${build.isa || build.backend} ${dtype}` })),
  );
}

/** Why a build is not run here, for the titles of skipped tests. */
export function absentBuilds(): string[] {
  const { cuda } = nativeInfo();
  return cuda.available ? [] : [`cuda: ${cuda.reason}`];
}

export function toyEngine(
  options: {
    backend?: "cpu" | "cuda";
    dtype?: DTypeName;
    threads?: number;
    isa?: string;
    seed?: number;
    config?: Partial<ModelConfig>;
  } = {},
): Promise<NativeEngine> {
  return openNative({
    backend: options.backend ?? "cpu",
    dtype: options.dtype ?? "f32",
    threads: options.threads ?? 1,
    isa: options.isa,
    config: { ...TOY, ...options.config },
    tensors: null,
    randomSeed: options.seed ?? 11,
  });
}

export function tokensOf(length: number, seed: number, vocabulary = TOY.vocab_size): Int32Array {
  const rng = random(seed);
  return Int32Array.from({ length }, () => rng.integer(vocabulary));
}

/** Unit vector. */
export function directionOf(seed: number, width = TOY.hidden_size): Float32Array {
  const rng = random(seed);
  const v = Float32Array.from({ length: width }, () => rng.normal());
  const norm = Math.hypot(...v);
  return v.map((x) => x / norm);
}

export function projectionShape(config: ModelConfig, module: Projection): { in: number; out: number } {
  const query = config.num_attention_heads * config.head_dim;
  const kv = config.num_key_value_heads * config.head_dim;
  if (module === "q_proj") return { in: config.hidden_size, out: query };
  if (module === "k_proj" || module === "v_proj") return { in: config.hidden_size, out: kv };
  if (module === "o_proj") return { in: query, out: config.hidden_size };
  if (module === "down_proj") return { in: config.intermediate_size, out: config.hidden_size };
  return { in: config.hidden_size, out: config.intermediate_size };
}

export function adapterParts(
  seed: number,
  options: { r?: number; modules?: readonly Projection[]; config?: ModelConfig } = {},
): AdapterPart[] {
  const { r = 3, modules = ALL_PROJECTIONS, config = TOY } = options;
  const rng = random(seed);
  const matrix = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal() * 0.15);
  return Array.from({ length: config.num_hidden_layers }, (_, layer) =>
    modules.map((module) => {
      const shape = projectionShape(config, module);
      return { layer, module, r, scaling: 2 / r, a: matrix(r * shape.in), b: matrix(shape.out * r) };
    }),
  ).flat();
}

export function adapterOf(
  engine: NativeEngine,
  seed: number,
  options: { r?: number; modules?: readonly Projection[] } = {},
): Adapter {
  return engine.bindAdapter(adapterParts(seed, { ...options, config: engine.config }), {
    name: `toy-${seed}`,
    hash: `${seed}`,
  });
}

/** The whole vocabulary's logprobs at each reported position of each row. */
export function allLogprobs(results: readonly RowResult[]): Float32Array[][] {
  return results.map((r) => r.positions.map((p) => p.all as Float32Array));
}

export const TRAINER: TrainerOptions = {
  r: 2,
  alpha: 4,
  dropout: 0,
  targets: ALL_PROJECTIONS,
  massWeight: 0.1,
  seed: 5,
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0.01,
  maxGradNorm: 1,
};

/** Examples of uneven lengths, every second one steered. */
export function toyExamples(count: number, config: ModelConfig = TOY, seed = 100): Example[] {
  return Array.from({ length: count }, (_, i) => ({
    context: tokensOf(3 + ((i * 5) % 7), seed + i, config.vocab_size),
    question: tokensOf(2 + ((i * 3) % 4), seed + 1000 + i, config.vocab_size),
    labels: [4, 9] as const,
    target: (i % 3 === 0 ? 1 : 0) as 0 | 1,
    steering:
      i % 2 === 0
        ? []
        : [
            {
              direction: directionOf(seed + i, config.hidden_size),
              layers: [0, config.num_hidden_layers - 1] as const,
              magnitude: 0.5,
            },
          ],
  }));
}

/** The same conversations, every second one matched with the base at its last 1, 2, 3 ... positions, some with a weight. */
export function mixedExamples(count: number, config: ModelConfig = TOY, seed = 100): TrainingExample[] {
  return toyExamples(count, config, seed).map((example, i) => {
    const weight = [undefined, 0.5, 3][i % 3];
    return i % 2 === 0 ? { ...example, weight } : { ...matchOf(example, 1 + (i % example.question.length)), weight };
  });
}

export function matchOf({ context, question, steering }: Example, positions = question.length): MatchExample {
  return { context, question, steering, positions };
}

/** Flat parameters with B off zero, so that every gradient is exercised. */
export function initialParameters(count: number, seed: number, size = 0.15): Float64Array {
  const rng = random(seed);
  return Float64Array.from({ length: count }, () => rng.normal() * size);
}

/** Numbers in the flat parameter array: r * (in + out) for every target of every layer. */
export function countParameters(config: ModelConfig, options: Pick<TrainerOptions, "r" | "targets">): number {
  const perLayer = options.targets.reduce((sum, module) => {
    const shape = projectionShape(config, module);
    return sum + options.r * (shape.in + shape.out);
  }, 0);
  return config.num_hidden_layers * perLayer;
}
