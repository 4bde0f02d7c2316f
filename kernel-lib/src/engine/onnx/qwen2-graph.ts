/**
 * A Qwen2 decoder as an ONNX graph of standard operators: steerable, continuable, with LoRA beside the frozen weights.
 *
 * Per block: x = norm(h); q, k, v = linear(x); rotate q, k; h += linear(softmax(q k^T / sqrt(D)) v); x = norm(h);
 * h += down(silu(gate(x)) * up(x)); h += steering_weights[block] @ steering_vectors. Attention reads past and own keys apart,
 * so a past of batch 1 serves every row (one context, many questions) and nothing is copied. linear(x) = x W^T + b + (x A) B.
 * Letters: B batch, T own tokens, P past slots, C hidden_size, H heads, KVH key/value heads, G = H / KVH, D head_dim.
 */
import {
  type ModelConfig,
  moduleName,
  type Projection,
  PROJECTIONS,
  projectionShape,
  rotaryFrequencies,
} from "../../checkpoint";
import { type Dimension, GraphBuilder } from "./graph-builder";
import { ELEMENT, type GraphProto } from "./schema";

/** Added to the score of a slot that may not be seen; exp() of it is 0, and a row of nothing else stays finite. */
const HIDDEN_SCORE = -1e30;
const TO_END = Number.MAX_SAFE_INTEGER;

/** Where the graph's tensors come from: `weight` declares a checkpoint tensor as an initial value and gives its name. */
export interface GraphWeights {
  /** element type of the matrices; arithmetic is in f32 either way */
  dtype: "f32" | "f16";
  declare(builder: GraphBuilder, name: string): string;
  /** (L, in, r) and (L, r, out) initial values for an adapter that is always on, or null: then they are inputs */
  lora: ((builder: GraphBuilder, module: Projection) => { a: string; b: string }) | null;
}

/** Names of the graph's inputs and outputs; also the feeds of the engine. */
export const IO = {
  tokens: "input_ids",
  positions: "positions",
  pastLengths: "past_lengths",
  pastKey: (layer: number): string => `past_key.${layer}`,
  pastValue: (layer: number): string => `past_value.${layer}`,
  steeringVectors: "steering_vectors",
  steeringWeights: "steering_weights",
  logitRows: "logit_rows",
  hiddenRows: "hidden_rows",
  loraA: (module: Projection): string => `lora_a.${module}`,
  loraB: (module: Projection): string => `lora_b.${module}`,
  logits: "logits",
  hidden: (layer: number): string => `hidden.${layer}`,
  newKey: (layer: number): string => `new_key.${layer}`,
  newValue: (layer: number): string => `new_value.${layer}`,
} as const;

/** Builds the graph of `config`. */
export function qwen2Graph(config: ModelConfig, weights: GraphWeights): GraphProto {
  return new Qwen2Graph(config, weights).build();
}

class Qwen2Graph {
  private readonly g = new GraphBuilder();
  private readonly widened = new Map<string, string>();
  private lora: Record<string, { a: string; b: string }> = {};
  private shared = { cos: "", sin: "", pastMask: "", ownMask: "", pastSlots: "", heads: "", kvHeads: "", hidden: "" };

  constructor(
    private readonly config: ModelConfig,
    private readonly weights: GraphWeights,
  ) {}

  build(): GraphProto {
    const { g, config } = this;
    this.inputs();
    this.prologue();
    g.scope("embed");
    let h = this.embed();
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      h = this.attention(h, layer);
      h = this.mlp(h, layer);
      h = this.steer(h, layer);
      g.scope(`layers.${layer}/hidden`);
      g.op("Gather", [this.flat(h), IO.hiddenRows], { axis: 0 }, IO.hidden(layer));
    }
    g.scope("head");
    const last = g.op("Gather", [this.flat(h), IO.logitRows], { axis: 0 });
    const head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    g.op("Gemm", [this.norm(last, "model.norm.weight"), this.matrix(head)], { transB: 1 }, IO.logits);
    this.outputs();
    return g.build(
      "steerlab-qwen2",
      "Qwen2 decoder with steering, caches and LoRA as inputs; conventions in metadata_props.",
    );
  }

  private inputs(): void {
    const { g, config } = this;
    const { num_key_value_heads: KVH, head_dim: D, hidden_size: C, num_hidden_layers: L } = config;
    g.input(IO.tokens, "i64", ["batch", "tokens"], "token ids; shorter rows are padded on the right with any id");
    g.input(IO.positions, "i64", ["batch", "tokens"], "position of each token: past_lengths of its row + its index");
    g.input(IO.pastLengths, "i64", ["batch"], "past slots of each row that count, from slot 0");
    for (let layer = 0; layer < L; layer++) {
      const past: Dimension[] = ["past_batch", KVH, "past", D];
      g.input(
        IO.pastKey(layer),
        "f32",
        past,
        "keys after rotation; past_batch is batch, or 1 for one prefix under every row; past may be 0",
      );
      g.input(IO.pastValue(layer), "f32", past, "values, as past_key");
    }
    g.input(
      IO.steeringVectors,
      "f32",
      ["vector_batch", "vectors", C],
      "directions of each row; vector_batch is batch or 1",
    );
    g.input(
      IO.steeringWeights,
      "f32",
      [L, "weight_batch", "weight_tokens", "vectors"],
      "added after block l: weights[l] @ vectors; weight_batch and weight_tokens may be 1",
    );
    g.input(
      IO.logitRows,
      "i64",
      ["reported"],
      "row * tokens + index of the positions whose logits are wanted; may be empty",
    );
    g.input(IO.hiddenRows, "i64", ["captured"], "the same for the residual stream");
    for (const module of PROJECTIONS) {
      const [out, width] = projectionShape(config, module);
      const rank = `rank_${module}`;
      this.lora[module] = this.weights.lora?.(g, module) ?? {
        a: g.input(IO.loraA(module), "f32", [L, width, rank], "LoRA A of every layer, transposed; zeros: no adapter"),
        b: g.input(IO.loraB(module), "f32", [L, rank, out], "LoRA B of every layer, transposed, times alpha / r"),
      };
    }
  }

  private outputs(): void {
    const { g, config } = this;
    const { num_key_value_heads: KVH, head_dim: D, hidden_size: C, num_hidden_layers: L } = config;
    g.output(IO.logits, "f32", ["reported", config.vocab_size], "logits of logit_rows");
    for (let layer = 0; layer < L; layer++) {
      g.output(
        IO.newKey(layer),
        "f32",
        ["batch", KVH, "tokens", D],
        "keys of the own tokens only: append them to past_key",
      );
      g.output(IO.newValue(layer), "f32", ["batch", KVH, "tokens", D], "values of the own tokens only");
      g.output(IO.hidden(layer), "f32", ["captured", C], `residual stream after block ${layer}, steering included`);
    }
  }

  /** Masks, rotary tables and shapes that every block uses. */
  private prologue(): void {
    const { g, config } = this;
    const { num_attention_heads: H, num_key_value_heads: KVH, head_dim: D, hidden_size: C } = config;
    g.scope("shared");
    const shape = g.op("Shape", [IO.tokens]);
    const withTail = (...tail: number[]): string => g.op("Concat", [shape, g.integers(tail)], { axis: 0 });
    const { cos, sin } = this.rotary();
    const tokens = g.op("Gather", [shape, g.integers([1], [])], { axis: 0 });
    const pastSlots = g.op("Gather", [g.op("Shape", [IO.pastKey(0)]), g.integers([2])], { axis: 0 });
    this.shared = {
      cos,
      sin,
      pastMask: this.pastMask(g.op("Squeeze", [pastSlots])),
      ownMask: this.ownMask(tokens),
      pastSlots,
      heads: withTail(H, D),
      kvHeads: withTail(KVH, D),
      hidden: withTail(C),
    };
  }

  /** cos, sin (B, T, 1, D / 2) of the f32 angle position * frequency, as transformers does. */
  private rotary(): { cos: string; sin: string } {
    const { g, config } = this;
    const { frequencies, scale } = rotaryFrequencies(config);
    const position = g.op("Unsqueeze", [g.op("Cast", [IO.positions], { to: ELEMENT.f32 }), g.integers([2, 3])]);
    const angle = g.op("Mul", [position, g.floats("rotary_frequencies", frequencies, [frequencies.length])]);
    const scaled = (table: string): string => (scale === 1 ? table : g.op("Mul", [table, g.scalar(scale)]));
    return { cos: scaled(g.op("Cos", [angle])), sin: scaled(g.op("Sin", [angle])) };
  }

  /** (B, 1, 1, P): hides slots at and beyond each row's past length. */
  private pastMask(slots: string): string {
    const { g } = this;
    const slot = g.op("Range", [g.integers([0], []), slots, g.integers([1], [])]);
    const length = g.op("Unsqueeze", [IO.pastLengths, g.integers([1, 2, 3])]);
    return this.maskOf(g.op("Less", [slot, length]));
  }

  /** (G * T, T): row g * T + t sees own tokens 0..t. */
  private ownMask(tokens: string): string {
    const { g, config } = this;
    const groups = config.num_attention_heads / config.num_key_value_heads;
    const [zero, step] = [g.integers([0], []), g.integers([1], [])];
    const rows = g.op("Range", [zero, g.op("Mul", [tokens, g.integers([groups], [])]), step]);
    const query = g.op("Unsqueeze", [g.op("Mod", [rows, tokens]), g.integers([1])]);
    return this.maskOf(g.op("LessOrEqual", [g.op("Range", [zero, tokens, step]), query]));
  }

  private maskOf(visible: string): string {
    return this.g.op("Where", [visible, this.g.scalar(0), this.g.scalar(HIDDEN_SCORE)]);
  }

  /** (B, T, C) */
  private embed(): string {
    const { g, weights } = this;
    const rows = g.op("Gather", [weights.declare(g, "model.embed_tokens.weight"), IO.tokens], { axis: 0 });
    return weights.dtype === "f32" ? rows : g.op("Cast", [rows], { to: ELEMENT.f32 });
  }

  private attention(h: string, layer: number): string {
    const { g, config, shared } = this;
    const { num_attention_heads: H, num_key_value_heads: KVH, head_dim: D } = config;
    const [groups, name] = [H / KVH, `model.layers.${layer}`];
    g.scope(`layers.${layer}/attention`);
    const x = this.flat(this.norm(h, `${name}.input_layernorm.weight`));
    const q = g.op("Reshape", [this.linear(x, layer, "q_proj"), shared.heads]);
    const k = g.op("Reshape", [this.linear(x, layer, "k_proj"), shared.kvHeads]);
    const v = g.op("Reshape", [this.linear(x, layer, "v_proj"), shared.kvHeads]);
    const key = g.op("Transpose", [this.rotate(k)], { perm: [0, 2, 1, 3] }, IO.newKey(layer));
    const value = g.op("Transpose", [v], { perm: [0, 2, 1, 3] }, IO.newValue(layer));

    // Queries as (B, KVH, G * T, D): the G heads of a key/value head share one product.
    const scaled = g.op("Mul", [this.rotate(q), g.scalar(1 / Math.sqrt(D))]);
    const grouped = g.op("Transpose", [g.op("Reshape", [scaled, g.integers([0, 0, KVH, groups, D])])], {
      perm: [0, 2, 3, 1, 4],
    });
    const query = g.op("Reshape", [grouped, g.integers([0, 0, -1, D])]);
    const score = (keys: string, mask: string): string =>
      g.op("Add", [g.op("MatMul", [query, g.op("Transpose", [keys], { perm: [0, 1, 3, 2] })]), mask]);
    const scores = g.op("Concat", [score(IO.pastKey(layer), shared.pastMask), score(key, shared.ownMask)], {
      axis: -1,
    });
    const weights = g.op("Softmax", [scores], { axis: -1 });
    const lastAxis = g.integers([-1]);
    const ofPast = g.op("MatMul", [
      g.op("Slice", [weights, g.integers([0]), shared.pastSlots, lastAxis]),
      IO.pastValue(layer),
    ]);
    const ofOwn = g.op("MatMul", [g.op("Slice", [weights, shared.pastSlots, g.integers([TO_END]), lastAxis]), value]);
    const mixed = g.op("Reshape", [g.op("Add", [ofPast, ofOwn]), g.integers([0, 0, groups, -1, D])]);
    const heads = g.op("Reshape", [g.op("Transpose", [mixed], { perm: [0, 3, 1, 2, 4] }), g.integers([-1, H * D])]);
    return g.op("Add", [h, g.op("Reshape", [this.linear(heads, layer, "o_proj"), shared.hidden])]);
  }

  /** (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), halves of the last axis. */
  private rotate(x: string): string {
    const { g, shared } = this;
    const [first, second] = g.halves(x);
    const times = (a: string, b: string): string => g.op("Mul", [a, b]);
    const left = g.op("Sub", [times(first, shared.cos), times(second, shared.sin)]);
    const right = g.op("Add", [times(second, shared.cos), times(first, shared.sin)]);
    return g.op("Concat", [left, right], { axis: -1 });
  }

  private mlp(h: string, layer: number): string {
    const { g, shared } = this;
    g.scope(`layers.${layer}/mlp`);
    const x = this.flat(this.norm(h, `model.layers.${layer}.post_attention_layernorm.weight`));
    const gate = this.linear(x, layer, "gate_proj");
    const gated = g.op("Mul", [g.op("Mul", [gate, g.op("Sigmoid", [gate])]), this.linear(x, layer, "up_proj")]);
    return g.op("Add", [h, g.op("Reshape", [this.linear(gated, layer, "down_proj"), shared.hidden])]);
  }

  private steer(h: string, layer: number): string {
    const { g } = this;
    g.scope(`layers.${layer}/steering`);
    const weights = g.op("Gather", [IO.steeringWeights, g.integers([layer], [])], { axis: 0 });
    return g.op("Add", [h, g.op("MatMul", [weights, IO.steeringVectors])]);
  }

  /** (..., C) -> (rows, C) */
  private flat(x: string): string {
    return this.g.op("Reshape", [x, this.g.integers([-1, this.config.hidden_size])]);
  }

  /** x / sqrt(mean(x^2) + eps) * weight */
  private norm(x: string, weight: string): string {
    const { g, config } = this;
    const mean = g.op("ReduceMean", [g.op("Pow", [x, g.scalar(2)]), g.integers([-1])], { keepdims: 1 });
    const root = g.op("Sqrt", [g.op("Add", [mean, g.scalar(config.rms_norm_eps)])]);
    return g.op("Mul", [g.op("Div", [x, root]), this.weights.declare(g, weight)]);
  }

  /** x (N, in) -> x W^T + b + (x A) B, (N, out) */
  private linear(x: string, layer: number, module: Projection): string {
    const { g, lora } = this;
    const name = moduleName(layer, module);
    const bias = ["q_proj", "k_proj", "v_proj"].includes(module) ? [this.weights.declare(g, `${name}.bias`)] : [];
    const plain = g.op("Gemm", [x, this.matrix(`${name}.weight`), ...bias], { transB: 1 });
    const ofLayer = (stack: string): string => g.op("Gather", [stack, g.integers([layer], [])], { axis: 0 });
    return g.op("Gemm", [g.op("MatMul", [x, ofLayer(lora[module].a)]), ofLayer(lora[module].b), plain]);
  }

  /** A matrix in f32; f16 storage is widened where it is used, which a runtime does once when it loads. */
  private matrix(name: string): string {
    const { g, weights, widened } = this;
    const stored = weights.declare(g, name);
    if (weights.dtype === "f32") return stored;
    const known = widened.get(name) ?? g.op("Cast", [stored], { to: ELEMENT.f32 }, `${name}:f32`);
    widened.set(name, known);
    return known;
  }
}
