/**
 * Qwen2 in plain loops and f64: the slow twin of the engine, with steering, caches and LoRA, for one sequence at a time.
 *
 * Block: h += o(attention(rope(q, k, v of norm(h)))); h += down(silu(gate(x)) * up(x)), x = norm(h); then steering:
 * h[t] += magnitude * direction. Written from the architecture, not from the engine, and shares nothing with it; tested against
 * transformers in plain-goldens.test.ts. Rotary cosines are rounded to f32, because transformers computes them so.
 * No backward, no batching, no speed.
 */
import type { AdapterPart, ModelConfig, Projection } from "../../kernel-lib/src/checkpoint";
import type { Steering } from "../../kernel-lib/src/engine";

export type PlainConfig = ModelConfig;
export interface PlainModel {
  config: PlainConfig;
  /** by Hugging Face name, row-major (out, in) */
  weights: Map<string, Float64Array>;
}

/** Keys (after rotation) and values per layer, each (length, KVH, D). */
export interface PlainCache {
  length: number;
  keys: Float64Array[];
  values: Float64Array[];
}
export interface PlainRow {
  tokens: ArrayLike<number>;
  cache?: PlainCache | null;
  steering?: readonly Steering[];
  adapter?: readonly AdapterPart[] | null;
}
export interface PlainResult {
  /** residual stream after every block, each (T, C) */
  hidden: Float64Array[];
  /** (T, V) */
  logits: Float64Array;
  /** prefix + own tokens; the input cache is left as it was */
  cache: PlainCache;
}

/** y (n, out) = x (n, in) W^T (+ bias) + scaling * (x A^T) B^T. Scaling, magnitudes and eps are f32 in the engine. */
function linear(
  x: Float64Array,
  n: number,
  w: Float64Array,
  bias: Float64Array | null,
  lora: AdapterPart | undefined,
): Float64Array {
  const inner = x.length / n;
  const outer = w.length / inner;
  const y = new Float64Array(n * outer);
  for (let t = 0; t < n; t++) {
    for (let o = 0; o < outer; o++) {
      let sum = bias === null ? 0 : bias[o];
      for (let i = 0; i < inner; i++) sum += x[t * inner + i] * w[o * inner + i];
      y[t * outer + o] = sum;
    }
    if (lora === undefined) continue;
    for (let j = 0; j < lora.r; j++) {
      let u = 0;
      for (let i = 0; i < inner; i++) u += x[t * inner + i] * lora.a[j * inner + i];
      for (let o = 0; o < outer; o++) y[t * outer + o] += Math.fround(lora.scaling) * u * lora.b[o * lora.r + j];
    }
  }
  return y;
}

/** x * weight / sqrt(mean(x^2) + eps), row by row. */
function rmsNorm(h: Float64Array, weight: Float64Array, eps: number): Float64Array {
  const C = weight.length;
  const out = new Float64Array(h.length);
  for (let t = 0; t < h.length / C; t++) {
    let squares = 0;
    for (let i = 0; i < C; i++) squares += h[t * C + i] ** 2;
    const scale = 1 / Math.sqrt(squares / C + Math.fround(eps));
    for (let i = 0; i < C; i++) out[t * C + i] = h[t * C + i] * scale * weight[i];
  }
  return out;
}

/** Rotates pairs (i, i + D/2) of every head in place; position of row t is start + t. */
function rotate(x: Float64Array, n: number, heads: number, config: PlainConfig, start: number): void {
  const D = config.head_dim;
  const f = Math.fround;
  for (let t = 0; t < n; t++) {
    for (let i = 0; i < D / 2; i++) {
      const frequency = f(1 / f(config.rope_theta ** f((2 * i) / D)));
      const angle = f((start + t) * frequency);
      const cos = f(Math.cos(angle));
      const sin = f(Math.sin(angle));
      for (let head = 0; head < heads; head++) {
        const at = (t * heads + head) * D + i;
        const [a, b] = [x[at], x[at + D / 2]];
        x[at] = a * cos - b * sin;
        x[at + D / 2] = b * cos + a * sin;
      }
    }
  }
}

/** Causal grouped-query attention: q (n, H, D) at positions length - n .. over k, v (length, KVH, D). */
function attention(q: Float64Array, k: Float64Array, v: Float64Array, n: number, config: PlainConfig): Float64Array {
  const { num_attention_heads: H, num_key_value_heads: KVH, head_dim: D } = config;
  const start = k.length / (KVH * D) - n;
  const out = new Float64Array(n * H * D);
  for (let t = 0; t < n; t++) {
    for (let h = 0; h < H; h++) {
      const kv = Math.floor(h / (H / KVH));
      const scores = new Float64Array(start + t + 1);
      for (let s = 0; s < scores.length; s++) {
        for (let i = 0; i < D; i++) scores[s] += q[(t * H + h) * D + i] * k[(s * KVH + kv) * D + i];
        scores[s] /= Math.sqrt(D);
      }
      const max = scores.reduce((a, b) => Math.max(a, b));
      const exps = scores.map((x) => Math.exp(x - max));
      const sum = exps.reduce((a, b) => a + b);
      for (let s = 0; s < scores.length; s++) {
        for (let i = 0; i < D; i++) out[(t * H + h) * D + i] += (exps[s] / sum) * v[(s * KVH + kv) * D + i];
      }
    }
  }
  return out;
}

function append(prefix: Float64Array | undefined, own: Float64Array): Float64Array {
  const out = new Float64Array((prefix?.length ?? 0) + own.length);
  out.set(prefix ?? []);
  out.set(own, prefix?.length ?? 0);
  return out;
}

function addTo(h: Float64Array, delta: Float64Array): void {
  for (let i = 0; i < h.length; i++) h[i] += delta[i];
}

/** Adds every entry whose layers hold `layer`. */
function steer(h: Float64Array, n: number, layer: number, entries: readonly Steering[]): void {
  const C = h.length / n;
  for (const { direction, layers, magnitude, span } of entries) {
    if (layer < layers[0] || layer >= layers[1]) continue;
    for (let t = span?.[0] ?? 0; t < (span?.[1] ?? n); t++) {
      for (let i = 0; i < C; i++) h[t * C + i] += Math.fround(magnitude) * direction[i];
    }
  }
}

/** One sequence through the model. */
export function plainForward(model: PlainModel, input: PlainRow): PlainResult {
  const { config, weights } = model;
  const { hidden_size: C, num_attention_heads: H, num_key_value_heads: KVH } = config;
  const n = input.tokens.length;
  const start = input.cache?.length ?? 0;
  const weight = (name: string): Float64Array => {
    const found = weights.get(name);
    if (found === undefined) throw new Error(`no tensor ${name}`);
    return found;
  };
  const embedding = weight("model.embed_tokens.weight");
  const h = new Float64Array(n * C);
  for (let t = 0; t < n; t++) h.set(embedding.subarray(input.tokens[t] * C, (input.tokens[t] + 1) * C), t * C);
  const cache: PlainCache = { length: start + n, keys: [], values: [] };
  const hidden: Float64Array[] = [];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `model.layers.${layer}`;
    const project = (x: Float64Array, group: string, module: Projection): Float64Array => {
      const lora = input.adapter?.find((part) => part.layer === layer && part.module === module);
      return linear(
        x,
        n,
        weight(`${name}.${group}.${module}.weight`),
        weights.get(`${name}.${group}.${module}.bias`) ?? null,
        lora,
      );
    };
    const x = rmsNorm(h, weight(`${name}.input_layernorm.weight`), config.rms_norm_eps);
    const q = project(x, "self_attn", "q_proj");
    const k = project(x, "self_attn", "k_proj");
    rotate(q, n, H, config, start);
    rotate(k, n, KVH, config, start);
    cache.keys.push(append(input.cache?.keys[layer], k));
    cache.values.push(append(input.cache?.values[layer], project(x, "self_attn", "v_proj")));
    addTo(h, project(attention(q, cache.keys[layer], cache.values[layer], n, config), "self_attn", "o_proj"));
    const y = rmsNorm(h, weight(`${name}.post_attention_layernorm.weight`), config.rms_norm_eps);
    const up = project(y, "mlp", "up_proj");
    const gated = project(y, "mlp", "gate_proj").map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
    addTo(h, project(gated, "mlp", "down_proj"));
    steer(h, n, layer, input.steering ?? []);
    hidden.push(h.slice());
  }
  const head = config.tie_word_embeddings ? embedding : weight("lm_head.weight");
  const logits = linear(rmsNorm(h, weight("model.norm.weight"), config.rms_norm_eps), n, head, null, undefined);
  return { hidden, logits, cache };
}
