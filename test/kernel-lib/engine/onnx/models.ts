/** Checkpoints, rows and engines for the ONNX suites: the parity fixtures, random shapes, and the lab model where it is. */
import * as fs from "node:fs";
import * as path from "node:path";
import { type Random, random } from "../../../../kernel-lib/src/base";
import {
  type AdapterPart,
  type ModelConfig,
  modelTensors,
  PROJECTIONS,
  projectionShape,
  readCheckpoint,
} from "../../../../kernel-lib/src/checkpoint";
import {
  type NativeEngine,
  type OnnxEngine,
  openNative,
  openOnnx,
  type RowResult,
  type Steering,
} from "../../../../kernel-lib/src/engine";
import { writeSafetensors } from "../../../../kernel-lib/src/files";

export function normals(rng: Random, n: number, scale: number, mean = 0): Float32Array {
  return Float32Array.from({ length: n }, () => mean + scale * rng.normal());
}

export function randomConfig(rng: Random): ModelConfig {
  const kvHeads = 1 + rng.integer(3);
  return {
    hidden_size: 5 + rng.integer(40),
    num_hidden_layers: 1 + rng.integer(4),
    num_attention_heads: kvHeads * (1 + rng.integer(4)),
    num_key_value_heads: kvHeads,
    head_dim: 2 * (1 + rng.integer(9)),
    intermediate_size: 3 + rng.integer(60),
    vocab_size: 20 + rng.integer(100),
    max_position_embeddings: 96,
    rope_theta: rng.pick([10_000, 1_000_000, 100]),
    rms_norm_eps: rng.pick([1e-6, 1e-5]),
    tie_word_embeddings: rng.integer(2) === 0,
  };
}

/** Writes a random checkpoint folder and gives its path. */
export function writeCheckpoint(
  at: string,
  seed: number,
  config: ModelConfig,
  dtype: "F32" | "BF16" | "F16" | "F64" = "F32",
  scale = 1,
): string {
  const rng = random(seed);
  fs.mkdirSync(at, { recursive: true });
  fs.writeFileSync(
    path.join(at, "config.json"),
    JSON.stringify({ ...config, model_type: "qwen2", hidden_act: "silu" }),
  );
  const tensors: Parameters<typeof writeSafetensors>[1] = {};
  for (const { name, shape } of modelTensors(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const data =
      shape.length === 2
        ? normals(rng, count, scale / Math.sqrt(shape[1]))
        : normals(rng, count, 0.2, name.endsWith("norm.weight") ? 1 : 0);
    tensors[name] = { dtype, shape, data };
  }
  writeSafetensors(path.join(at, "model.safetensors"), tensors);
  return at;
}

export function randomSteering(rng: Random, config: ModelConfig, length: number): Steering[] {
  return Array.from({ length: rng.integer(4) }, () => {
    const start = rng.integer(config.num_hidden_layers + 1);
    const from = rng.integer(length + 1);
    return {
      direction: normals(rng, config.hidden_size, 1 / Math.sqrt(config.hidden_size)),
      layers: [start, start + rng.integer(config.num_hidden_layers - start + 1)] as const,
      magnitude: rng.pick([0, 0.3, 2, -4]),
      ...(rng.integer(2) === 0 ? {} : { span: [from, from + rng.integer(length - from + 1)] as const }),
    };
  });
}

/** Any rank and any subset of projections, in every second layer too. */
export function randomParts(rng: Random, config: ModelConfig): AdapterPart[] {
  const r = rng.pick([1, 3, 8]);
  const modules = rng.shuffle(PROJECTIONS).slice(0, 1 + rng.integer(7));
  const step = 1 + rng.integer(2);
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => layer)
    .filter((layer) => layer % step === 0)
    .flatMap((layer) =>
      modules.map((module) => {
        const [out, input] = projectionShape(config, module);
        return {
          layer,
          module,
          r,
          scaling: 2 / r,
          a: normals(rng, r * input, 1 / Math.sqrt(input)),
          b: normals(rng, out * r, 0.3),
        };
      }),
    );
}

/** Both engines on one checkpoint folder; the export goes below `cacheFolder`. */
export async function bothEngines(
  folder: string,
  cacheFolder: string,
): Promise<{ cpu: NativeEngine; onnx: OnnxEngine }> {
  const checkpoint = readCheckpoint(folder);
  const { config, tensors } = checkpoint;
  const cpu = await openNative({ backend: "cpu", dtype: "f32", threads: 1, config, tensors });
  return { cpu, onnx: await openOnnx(checkpoint, { threads: 1, cacheFolder, notice: () => undefined }) };
}

/** Largest difference of two arrays; NaN if there is one. */
export function largest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
}

/** Whole-vocabulary log-probabilities of every reported position. */
export function vocabularies(results: readonly RowResult[]): Float32Array[] {
  return results.flatMap((row) => row.positions.map(({ all }) => all as Float32Array));
}

/** Largest difference over all reported positions of all rows. */
export function farthest(a: readonly RowResult[], b: readonly RowResult[]): number {
  const [x, y] = [vocabularies(a), vocabularies(b)];
  if (x.length !== y.length || x.length === 0) return Number.NaN;
  return Math.max(...x.map((all, i) => largest(all, y[i])));
}
