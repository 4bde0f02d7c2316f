/**
 * Reads the parity fixtures: checkpoints, PEFT adapters and goldens as plain arrays, and measures distances between arrays.
 *
 * A second, naive safetensors reader on purpose: the library's strict one is under test in the engine suites, and a shared
 * mistake would hide. Everything is widened to f64. Trusts its input, which this repository made.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import type { AdapterPart, Projection } from "../../kernel-lib/src/checkpoint";
import type { Steering } from "../../kernel-lib/src/engine";
import type { PlainConfig, PlainModel } from "./plain-qwen2";

export const FIXTURES = path.resolve(__dirname, "../fixtures/parity");
export const MODEL_NAMES = ["gqa-tied", "head-dim-odd", "mha-sharded-f16", "bf16-theta"] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

export interface PlainTensor {
  shape: number[];
  data: Float64Array;
}

/** The float value of bf16 and f16 bits. */
function halfValue(bits: number, dtype: string): number {
  if (dtype === "BF16") return new Float32Array(new Uint32Array([bits << 16]).buffer)[0];
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Every tensor of a safetensors file, by name. */
export function readSafetensors(file: string): Map<string, PlainTensor> {
  const bytes = fs.readFileSync(file);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength));
  const out = new Map<string, PlainTensor>();
  for (const [name, entry] of Object.entries(header) as [
    string,
    { dtype: string; shape: number[]; data_offsets: number[] },
  ][]) {
    if (name === "__metadata__") continue;
    const body = bytes.subarray(8 + headerLength + entry.data_offsets[0], 8 + headerLength + entry.data_offsets[1]);
    const size = { F64: 8, F32: 4, F16: 2, BF16: 2 }[entry.dtype];
    if (size === undefined) throw new Error(`dtype ${entry.dtype} of ${name} in ${file}`);
    const data = new Float64Array(body.length / size);
    for (let i = 0; i < data.length; i++) {
      data[i] =
        size === 8
          ? body.readDoubleLE(i * 8)
          : size === 4
            ? body.readFloatLE(i * 4)
            : halfValue(body.readUInt16LE(i * 2), entry.dtype);
    }
    out.set(name, { shape: entry.shape, data });
  }
  return out;
}

/** A checkpoint folder as plain arrays; shards are found by listing, not by the index. */
export function readPlainModel(folder: string): PlainModel {
  const raw = JSON.parse(fs.readFileSync(path.join(folder, "config.json"), "utf8"));
  const config: PlainConfig = {
    ...raw,
    head_dim: raw.head_dim ?? raw.hidden_size / raw.num_attention_heads,
    rope_theta: raw.rope_parameters?.rope_theta ?? raw.rope_theta,
  };
  const weights = new Map<string, Float64Array>();
  for (const file of fs.readdirSync(folder).filter((f) => f.endsWith(".safetensors"))) {
    for (const [name, tensor] of readSafetensors(path.join(folder, file))) weights.set(name, tensor.data);
  }
  return { config, weights };
}

export function modelFolder(name: ModelName): string {
  return path.join(FIXTURES, "models", name);
}

export function adapterFolder(name: ModelName, tag: string): string {
  return path.join(FIXTURES, "adapters", name, tag);
}

/** Splits "…model.layers.3.self_attn.q_proj.lora_A.weight". */
export function parseLoraName(name: string): { layer: number; module: Projection; which: "A" | "B" } {
  const match = /model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight$/.exec(name);
  if (match === null) throw new Error(`not a LoRA tensor: ${name}`);
  return { layer: Number(match[1]), module: match[2] as Projection, which: match[3] as "A" | "B" };
}

/** A PEFT adapter folder as engine parts. */
export function readAdapterParts(folder: string): AdapterPart[] {
  const config = JSON.parse(fs.readFileSync(path.join(folder, "adapter_config.json"), "utf8"));
  return partsOf(readSafetensors(path.join(folder, "adapter_model.safetensors")), config.lora_alpha);
}

/** LoRA tensors by PEFT name -> parts with scaling alpha / r. */
export function partsOf(tensors: Map<string, PlainTensor>, alpha: number): AdapterPart[] {
  const parts = new Map<string, AdapterPart>();
  for (const [name, tensor] of tensors) {
    const { layer, module, which } = parseLoraName(name);
    const r = which === "A" ? tensor.shape[0] : tensor.shape[1];
    const key = `${layer}.${module}`;
    const part = parts.get(key) ?? {
      layer,
      module,
      r,
      scaling: alpha / r,
      a: new Float32Array(),
      b: new Float32Array(),
    };
    part[which === "A" ? "a" : "b"] = Float32Array.from(tensor.data);
    parts.set(key, part);
  }
  return [...parts.values()].sort((x, y) => x.layer - y.layer);
}

interface GoldenSteering {
  vector: number;
  layers: [number, number];
  magnitude: number;
  span: [number, number] | null;
}
export interface GoldenRow {
  name: string;
  tokens: number[];
  steering: GoldenSteering[];
}
export interface GoldenAsk {
  name: string;
  context: number[];
  question: number[];
  steering: GoldenSteering[];
}
export interface GoldenExample {
  context: number[];
  question: number[];
  labels: [number, number];
  target: 0 | 1;
  steering: GoldenSteering[];
}
export interface GoldenTraining {
  r: number;
  alpha: number;
  modules: Projection[];
  batch: number;
  mass_weight: number;
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  max_grad_norm: number;
  warmup_steps: number;
  total_steps: number;
  gradNorms: number[];
  lrs: number[];
  examples: GoldenExample[];
}

/** Goldens of one model; see make.py for what each number is. */
export interface Golden {
  name: ModelName;
  adapters: string[];
  forward: GoldenRow[];
  ask: GoldenAsk[];
  /** eight argmax tokens after an ask case */
  greedy: { ask: number; adapter: string | null; tokens: number[] }[];
  gradients: { adapter: string; massWeights: Record<string, number>; examples: GoldenExample[] };
  training: GoldenTraining;
  /** numbers of one part: f32, bf16 or training */
  part(name: "f32" | "bf16" | "training"): Map<string, PlainTensor>;
  /** the steering of a case with its vectors */
  steering(entries: GoldenSteering[]): Steering[];
}

export function readGolden(name: ModelName): Golden {
  const base = path.join(FIXTURES, "golden", name);
  const cases = JSON.parse(fs.readFileSync(`${base}.json`, "utf8"));
  const { shape, data } = readSafetensors(`${base}.vectors.safetensors`).get("vectors") as PlainTensor;
  const parts = new Map<string, Map<string, PlainTensor>>();
  return {
    ...cases,
    name,
    part(part) {
      const known = parts.get(part) ?? readSafetensors(`${base}.${part}.safetensors`);
      parts.set(part, known);
      return known;
    },
    steering(entries) {
      return entries.map(({ vector, layers, magnitude, span }) => ({
        direction: Float32Array.from(data.subarray(vector * shape[1], (vector + 1) * shape[1])),
        layers,
        magnitude,
        ...(span === null ? {} : { span }),
      }));
    },
  };
}

/** A tensor that must be there. */
export function numbers(part: Map<string, PlainTensor>, name: string): Float64Array {
  const tensor = part.get(name);
  if (tensor === undefined) throw new Error(`golden tensor ${name} is missing; remake the fixtures`);
  return tensor.data;
}

/** ||a - b|| / ||b||, Infinity when anything is not finite or the lengths differ, so that no comparison passes by accident. */
export function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length === 0) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  const value = Math.sqrt(difference / (norm || 1));
  return Number.isFinite(value) ? value : Number.POSITIVE_INFINITY;
}

/** Largest |a - b|, Infinity as in `relative`. */
export function largest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length === 0) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= worst)) worst = Number.isFinite(d) ? d : Number.POSITIVE_INFINITY;
  }
  return worst;
}

export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}

/** log softmax of one row of logits, in f64. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) max = Math.max(max, logits[i]);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return Float64Array.from(logits, (x) => x - max - Math.log(sum));
}

/** Row `i` of a (n, width) array. */
export function row(data: Float64Array, i: number, width: number): Float64Array {
  return data.subarray(i * width, (i + 1) * width);
}
