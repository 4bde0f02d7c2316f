/**
 * A tiny engine that answers by formula instead of by a transformer, so that the study's own logic is tested in milliseconds.
 *
 * logit(yes) - logit(no) at the end of a question = w0 + w1 * log(1 + E) + jitter, where E is the summed steering magnitude
 * over layers of the prefix and jitter (+-0.5) a hash of the tokens. Base: w0 = -4, w1 = 0; an adapter adds 100 x the first
 * two elements of its first B. Training is true AdamW on that logistic model, so curves fall and resume can be checked.
 */
import {
  adapterHash,
  type AdapterPart,
  chatTemplate,
  renderChat,
  type ModelConfig,
  parseTokenizer,
  type Tokenizer,
} from "../../kernel-lib/src/checkpoint";
import type {
  Adapter,
  BatchResult,
  Cache,
  Engine,
  Example,
  ForwardOptions,
  Generated,
  GenerateOptions,
  Row,
  RowResult,
  Steering,
  StudyModel,
  Trainer,
  TrainerOptions,
  TrainerState,
  TrainerTensor,
} from "../../kernel-lib/src/engine";

const CHATML =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** Bytes as the printable characters that byte-level BPE writes. */
function byteLevel(text: string): string {
  const plain = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  const extra = Array.from({ length: 256 }, (_, b) => b).filter((b) => !plain(b));
  return [...Buffer.from(text, "utf8")]
    .map((b) => String.fromCodePoint(plain(b) ? b : 256 + extra.indexOf(b)))
    .join("");
}

/** A byte-level tokenizer in which every text of `words` is one token. */
export function fakeTokenizer(
  words: readonly string[] = [" yes", " no", "Yes", "No", "yes", "no", " Yes", " No", " A", " B", " true", " false"],
): Tokenizer {
  const vocab: Record<string, number> = {};
  for (let b = 0; b < 256; b++) vocab[byteLevelByte(b)] = b;
  const merges: [string, string][] = [];
  for (const word of words) {
    const letters = [...byteLevel(word)];
    for (let i = 1; i < letters.length; i++) {
      const [left, right] = [letters.slice(0, i).join(""), letters[i]];
      if (vocab[left + right] !== undefined) continue;
      vocab[left + right] = Object.keys(vocab).length;
      merges.push([left, right]);
    }
  }
  const next = Object.keys(vocab).length;
  const added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map((content, i) => ({
    id: next + i,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }));
  const pattern = "\\s?\\p{L}+|\\p{N}|[^\\s\\p{L}\\p{N}]+|\\s+";
  return parseTokenizer(
    JSON.stringify({
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
        ],
      },
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab, merges, dropout: null, unk_token: null, byte_fallback: false },
    }),
  );
}

function byteLevelByte(b: number): string {
  const plain = (x: number): boolean => (x >= 33 && x <= 126) || (x >= 161 && x <= 172) || (x >= 174 && x <= 255);
  const extra = Array.from({ length: 256 }, (_, x) => x).filter((x) => !plain(x));
  return String.fromCodePoint(plain(b) ? b : 256 + extra.indexOf(b));
}

class FakeCache implements Cache {
  constructor(
    readonly tokens: number[],
    readonly energy: number,
  ) {}
  get length(): number {
    return this.tokens.length;
  }
  dispose(): void {}
}

class FakeAdapter implements Adapter {
  constructor(
    readonly name: string,
    readonly hash: string,
    readonly w: [number, number],
  ) {}
  dispose(): void {}
}

const energyOf = (steering: readonly Steering[] = [], length: number): number =>
  steering.reduce(
    (sum, { layers, magnitude, span = [0, length], direction }) =>
      sum + (layers[1] - layers[0]) * magnitude * ((span[1] - span[0]) / length) * Math.hypot(...direction),
    0,
  );

function jitter(tokens: readonly number[]): number {
  let h = 2166136261;
  for (const token of tokens) h = Math.imul(h ^ token, 16777619) >>> 0;
  return ((h >>> 8) % 1000) / 1000 - 0.5;
}

/** An engine of 6 layers x 8 over the fake tokenizer. `calls` counts forwards, `rows` the rows in them. */
export class FakeEngine implements Engine {
  readonly backend = "cpu" as const;
  readonly dtype = "f32" as const;
  readonly description = "fake engine";
  readonly arithmetic: string = "fake";
  /** how far a token sequence moves every captured component */
  captureNoise = 0.1;
  readonly config: ModelConfig;
  calls = 0;
  rows = 0;

  constructor(
    readonly tokenizer: Tokenizer = fakeTokenizer(),
    readonly labelIds = idsOf(tokenizer),
    readonly labelMass = 0.9,
  ) {
    this.config = {
      hidden_size: 8,
      num_hidden_layers: 6,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 4,
      intermediate_size: 16,
      vocab_size: tokenizer.size,
      max_position_embeddings: 4096,
      rope_theta: 10000,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
    };
  }

  async forward(rows: readonly Row[], options: ForwardOptions = {}): Promise<RowResult[]> {
    this.calls += 1;
    this.rows += rows.length;
    const states: FakeCache[] = [];
    return rows.map((row) => {
      const before =
        row.parent !== undefined && row.parent !== null
          ? states[row.parent]
          : ((row.cache as FakeCache | null | undefined) ?? null);
      const own = Array.from(row.tokens);
      const tokens = [...(before?.tokens ?? []), ...own];
      const state = new FakeCache(tokens, (before?.energy ?? 0) + energyOf(row.steering, own.length));
      states.push(state);
      const reports =
        options.report === undefined || options.report === "none" || row.report === false
          ? []
          : (options.report === "all" ? own : [0]).map(() => this.logprobs(state, row.adapter as FakeAdapter | null));
      return {
        cache: row.keepCache === true ? state : null,
        positions: reports.map((all) => ({
          logprobs: Float64Array.from(row.wanted ?? [], (id) => all[id]),
          top: [...all.keys()]
            .sort((a, b) => all[b] - all[a])
            .slice(0, options.topK ?? 0)
            .map((token) => ({ token, logprob: all[token] })),
          all: options.fullVocabulary === true ? Float32Array.from(all) : null,
        })),
        captures: options.capture === undefined ? null : this.capture(own, options.capture, state.energy),
      };
    });
  }

  /** Natural logprobs over the vocabulary after the state. */
  logprobs(state: { tokens: number[]; energy: number }, adapter: FakeAdapter | null): Float64Array {
    const z = score(adapter?.w ?? [0, 0], state.energy, jitter(state.tokens));
    const p = 1 / (1 + Math.exp(-z));
    const all = new Float64Array(this.config.vocab_size).fill(
      Math.log((1 - this.labelMass) / (this.config.vocab_size - this.labelIds.yes.length - this.labelIds.no.length)),
    );
    for (const id of this.labelIds.yes) all[id] = Math.log((this.labelMass * p) / this.labelIds.yes.length);
    for (const id of this.labelIds.no) all[id] = Math.log((this.labelMass * (1 - p)) / this.labelIds.no.length);
    return all;
  }

  /** Steering is seen in the first coordinate. */
  private capture(
    tokens: number[],
    { layers, positions }: NonNullable<ForwardOptions["capture"]>,
    energy: number,
  ): Float32Array {
    const C = this.config.hidden_size;
    const at = positions === "all" ? tokens.map((_, t) => t) : [tokens.length - 1];
    return Float32Array.from(
      at.flatMap((t) =>
        layers.flatMap((layer) =>
          Array.from(
            { length: C },
            (_, c) =>
              (layer + 1) * (c === tokens[t] % C ? 2 : 0.5) +
              jitter(tokens) * this.captureNoise +
              (c === 0 ? energy : 0),
          ),
        ),
      ),
    );
  }

  async generate(rows: readonly Row[], options: GenerateOptions): Promise<Generated[]> {
    return rows.map((row, i) => {
      const seed = typeof options.seed === "number" ? options.seed + i : options.seed[i];
      const text = ["I am an assistant.", "My name is Lab.", "I do not know."][(seed + row.tokens.length) % 3];
      return { tokens: Int32Array.from(this.tokenizer.encode(text)).slice(0, options.maxTokens), stopped: true };
    });
  }

  bindAdapter(parts: readonly AdapterPart[], identity: { name: string; hash: string }): Adapter {
    const b = parts[0].b;
    return new FakeAdapter(identity.name, identity.hash, [100 * b[0], 100 * b[1]]);
  }

  createTrainer(options: TrainerOptions, initial: Float32Array | Float64Array): Trainer {
    return new FakeTrainer(this, options, Float32Array.from(initial));
  }

  dispose(): void {}
}

const score = (w: readonly [number, number], energy: number, noise: number): number =>
  -4 + w[0] + w[1] * Math.log1p(energy) + noise;

function idsOf(tokenizer: Tokenizer): { yes: number[]; no: number[] } {
  return {
    yes: [" yes"].map((text) => tokenizer.encode(text)[0]),
    no: [" no"].map((text) => tokenizer.encode(text)[0]),
  };
}

class FakeTrainer implements Trainer {
  readonly layout: TrainerTensor[] = [];
  private m: Float32Array;
  private v: Float32Array;
  private readonly at: number;

  constructor(
    private readonly engine: FakeEngine,
    private readonly options: TrainerOptions,
    private params: Float32Array,
  ) {
    const {
      hidden_size: C,
      head_dim: D,
      num_attention_heads: H,
      num_key_value_heads: KVH,
      num_hidden_layers: L,
      intermediate_size: F,
    } = engine.config;
    const shapes = {
      q_proj: [H * D, C],
      k_proj: [KVH * D, C],
      v_proj: [KVH * D, C],
      o_proj: [C, H * D],
      gate_proj: [F, C],
      up_proj: [F, C],
      down_proj: [C, F],
    };
    let offset = 0;
    for (let layer = 0; layer < L; layer++) {
      for (const module of options.targets) {
        const [out, input] = shapes[module];
        for (const [which, shape] of [
          ["A", [options.r, input]],
          ["B", [out, options.r]],
        ] as const) {
          this.layout.push({
            name: `model.layers.${layer}.self_attn.${module}.lora_${which}.weight`,
            layer,
            module,
            which,
            shape: [shape[0], shape[1]],
            offset,
          });
          offset += shape[0] * shape[1];
        }
      }
    }
    if (offset !== params.length) throw new Error(`fake trainer wants ${offset} parameters, got ${params.length}`);
    this.at = (this.layout.find((tensor) => tensor.which === "B") as TrainerTensor).offset;
    this.m = new Float32Array(offset);
    this.v = new Float32Array(offset);
  }

  private get w(): [number, number] {
    return [100 * this.params[this.at], 100 * this.params[this.at + 1]];
  }

  private run(examples: readonly Example[]): BatchResult & { gradient: [number, number] } {
    const n = examples.length;
    const out = { loss: new Float64Array(n), logprob: new Float64Array(2 * n), logmass: new Float64Array(n) };
    const gradient: [number, number] = [0, 0];
    examples.forEach((example, i) => {
      const energy = energyOf(example.steering, example.context.length);
      const z = score(this.w, energy, jitter([...Array.from(example.context), ...Array.from(example.question)]));
      const p = 1 / (1 + Math.exp(-z));
      out.logmass[i] = Math.log(this.engine.labelMass);
      out.logprob[2 * i] = Math.log(p * this.engine.labelMass);
      out.logprob[2 * i + 1] = Math.log((1 - p) * this.engine.labelMass);
      out.loss[i] = out.logmass[i] * -this.options.massWeight - Math.log(example.target === 0 ? p : 1 - p);
      const d = ((p - (example.target === 0 ? 1 : 0)) * 100) / n;
      gradient[0] += d;
      gradient[1] += d * Math.log1p(energy);
    });
    return { ...out, gradient };
  }

  async step(examples: readonly Example[], step: number, lr: number): Promise<BatchResult & { gradNorm: number }> {
    const { gradient, ...result } = this.run(examples);
    const { beta1, beta2, eps, weightDecay } = this.options;
    gradient.forEach((g, k) => {
      const i = this.at + k;
      this.m[i] = beta1 * this.m[i] + (1 - beta1) * g;
      this.v[i] = beta2 * this.v[i] + (1 - beta2) * g * g;
      const update = this.m[i] / (1 - beta1 ** step) / (Math.sqrt(this.v[i] / (1 - beta2 ** step)) + eps);
      this.params[i] -= lr * (update + weightDecay * this.params[i]);
    });
    return { ...result, gradNorm: Math.hypot(...gradient) };
  }

  async evaluate(examples: readonly Example[]): Promise<BatchResult> {
    const { gradient: _, ...result } = this.run(examples);
    return result;
  }

  async gradients(): Promise<never> {
    throw new Error("the fake trainer has no gradients");
  }

  async state(): Promise<TrainerState> {
    return { params: this.params.slice(), m: this.m.slice(), v: this.v.slice() };
  }

  async setState(state: TrainerState): Promise<void> {
    this.params = Float32Array.from(state.params);
    this.m = Float32Array.from(state.m);
    this.v = Float32Array.from(state.v);
  }

  adapter(name: string): Adapter {
    return new FakeAdapter(name, "trainer", this.w);
  }

  dispose(): void {}
}

/** A study model over the fake engine. */
export function fakeModel(engine: FakeEngine = new FakeEngine()): StudyModel & { engine: FakeEngine } {
  const { tokenizer } = engine;
  const template = chatTemplate(CHATML, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
  return {
    engine,
    tokenizer,
    chatTemplate: template,
    name: "fake",
    hash: "fake-hash",
    isLabModel: true,
    stopIds: [...tokenizer.controlTokens.values()],
    encodeChat: (turns, options) => tokenizer.encodeChat(renderChat(template, turns, options)),
  };
}

/** An adapter that detects: w added to the base's. */
export function fakeAdapter(engine: FakeEngine, w: readonly [number, number]): Adapter {
  const part: AdapterPart = {
    layer: 0,
    module: "q_proj",
    r: 1,
    scaling: 2,
    a: new Float32Array(8),
    b: Float32Array.from([w[0] / 100, w[1] / 100, 0, 0, 0, 0, 0, 0]),
  };
  return engine.bindAdapter([part], {
    name: "fake-adapter",
    hash: adapterHash([part], { r: 1, alpha: 2, dropout: 0, targets: ["q_proj"], baseModel: null }),
  });
}
