// A Qwen2 model in a GGUF file: its config, tensors, tokenizer and template as a folder would give them, and what is refused.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  checkpointHash,
  loadChatTemplate,
  loadTokenizer,
  modelIdentity,
  modelTensors,
  parseModelConfig,
  readCheckpoint,
  renderChat,
  resolveModel,
} from "../../../kernel-lib/src/checkpoint";
import { sha256File } from "../../../kernel-lib/src/files";
import { type GgufParts, ggufBytes, type TensorBytes, tinyQwen2, type Value } from "../../helpers/gguf";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-gguf-model-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const fixtures = path.join(import.meta.dirname, "../../fixtures");
const toy = path.join(fixtures, "gguf/toy.gguf");
const golden = JSON.parse(fs.readFileSync(path.join(fixtures, "gguf/golden.json"), "utf8")) as {
  texts: { text: string; ids: number[] }[];
};

function put(parts: GgufParts, name = "x.gguf"): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, ggufBytes(parts));
  return file;
}

describe("readCheckpoint of a GGUF file", () => {
  it("says the config in the words of config.json", () => {
    const { config, quantisation, eosTokenIds, path: place, notes } = readCheckpoint(toy);
    expect(config).toEqual({
      hidden_size: 256,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      intermediate_size: 256,
      vocab_size: 720,
      max_position_embeddings: 128,
      rope_theta: 1e6,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
    });
    expect([quantisation, place, notes]).toEqual(["Q4_K_M", toy, []]);
    const { controlTokens } = loadTokenizer(toy);
    expect(eosTokenIds).toEqual([controlTokens.get("<|im_end|>"), controlTokens.get("<|endoftext|>")]);
  });

  it("places every tensor under its Hugging Face name", () => {
    const { tensors, config } = readCheckpoint(toy);
    expect(tensors.map(({ name, shape }) => ({ name, shape }))).toEqual(modelTensors(config));
    expect(new Set(tensors.map(({ dtype }) => dtype))).toEqual(
      new Set(["f32", "f16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]),
    );
  });

  it("knows a tied head by its absence, and a file that does not name its quantisation by its types", () => {
    const { config, quantisation } = readCheckpoint(put(tinyQwen2()));
    expect([config.tie_word_embeddings, quantisation]).toEqual([true, "F32"]);
  });

  it("reads YaRN as transformers would from a folder", () => {
    const yarn: Record<string, Value> = {
      "qwen2.rope.scaling.type": "yarn",
      "qwen2.rope.scaling.factor": { kind: "f32", value: 4 },
      "qwen2.rope.scaling.original_context_length": 16,
      "qwen2.rope.scaling.yarn_beta_fast": { kind: "f32", value: 24 },
    };
    const { config } = readCheckpoint(put(tinyQwen2(yarn)));
    const rope = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, beta_fast: 24 };
    const fields = { model_type: "qwen2", ...config, rope_scaling: rope };
    expect(parseModelConfig(JSON.stringify(fields))).toEqual(config);
    const doubled = { ...yarn, "qwen2.rope.scaling.attn_factor": { kind: "f32", value: 2 } as Value };
    const factor = (given: Record<string, Value>): number =>
      readCheckpoint(put(tinyQwen2(given))).config.rope_scaling?.attention_factor ?? 0;
    expect(factor(doubled)).toBeCloseTo(2 * factor(yarn), 12);
  });

  it.each<[string, RegExp, GgufParts]>([
    ["another architecture", /architecture qwen2.*"llama"/, tinyQwen2({ "general.architecture": "llama" })],
    ["experts", /qwen2\.expert_count/, tinyQwen2({ "qwen2.expert_count": 8 })],
    ["linear scaling", /linear/, tinyQwen2({ "qwen2.rope.scaling.type": "linear" })],
    [
      "another YaRN blend",
      /yarn_ext_factor/,
      tinyQwen2({
        "qwen2.rope.scaling.type": "yarn",
        "qwen2.rope.scaling.factor": 4,
        "qwen2.rope.scaling.yarn_ext_factor": { kind: "f32", value: 0.5 },
      }),
    ],
    ["half-rotated heads", /rope\.dimension_count/, tinyQwen2({ "qwen2.rope.dimension_count": 2 })],
    ["a vocabulary of another size", /qwen2\.vocab_size/, tinyQwen2({ "qwen2.vocab_size": 7 })],
    ["no heads", /num_attention_heads/, tinyQwen2({ "qwen2.attention.head_count": undefined })],
    [
      "a missing tensor",
      /self_attn\.q_proj\.bias/,
      tinyQwen2({}, (all) => all.filter(({ name }) => !name.endsWith("q.bias"))),
    ],
    [
      "an extra tensor",
      /rope_freqs\.weight/,
      tinyQwen2({}, (all) => [...all, { name: "rope_freqs.weight", shape: [2], bytes: 8 }]),
    ],
    [
      "a wrong shape",
      /mlp\.down_proj\.weight/,
      tinyQwen2({}, (all) => replaced(all, "blk.0.ffn_down.weight", { shape: [16, 8] })),
    ],
    [
      "an IQ type",
      /IQ4_NL/,
      tinyQwen2({}, (all) => [...all, { name: "output.weight", shape: [6, 32], type: 20, bytes: 108 }]),
    ],
  ])("refuses %s by name", (_, sentence, parts) => {
    expect(() => readCheckpoint(put(parts))).toThrowError(sentence);
  });
});

function replaced(all: TensorBytes[], name: string, change: Partial<TensorBytes>): TensorBytes[] {
  return all.map((tensor) => (tensor.name === name ? { ...tensor, ...change } : tensor));
}

describe("a GGUF file in parts", () => {
  const part = (no: number, count: number, pick: (i: number) => boolean): GgufParts => {
    const whole = tinyQwen2();
    const split = [
      ["split.no", no],
      ["split.count", count],
      ["split.tensors.count", whole.tensors?.length ?? 0],
    ] as const;
    return {
      metadata: [...(no === 0 ? (whole.metadata ?? []) : []), ...split],
      tensors: whole.tensors?.filter((_, i) => pick(i)),
    };
  };
  const name = (i: number): string => `m-0000${i}-of-00002.gguf`;

  it("opens by any part, and names the one that is missing", () => {
    const first = put(
      part(0, 2, (i) => i < 5),
      name(1),
    );
    expect(() => readCheckpoint(first)).toThrowError(/m-00002-of-00002\.gguf, part 2 of 2, but it is missing/);
    const second = put(
      part(1, 2, (i) => i >= 5),
      name(2),
    );
    expect(readCheckpoint(first)).toEqual(readCheckpoint(second));
    expect(readCheckpoint(first).files).toEqual([first, second]);
    put(
      part(1, 2, (i) => i > 5),
      name(2),
    );
    expect(() => readCheckpoint(first)).toThrowError(/14 tensors in all parts/);
    put(
      part(0, 2, (i) => i >= 5),
      name(2),
    );
    expect(() => readCheckpoint(first)).toThrowError(/part 2 of 2/);
    expect(() =>
      readCheckpoint(
        put(
          part(0, 2, () => true),
          "whole.gguf",
        ),
      ),
    ).toThrowError(/-of-00002/);
  });
});

describe("identity of a GGUF file", () => {
  it("carries the file's hash and quantisation, whatever the file is called", async () => {
    const copy = path.join(folder, "renamed.gguf");
    fs.copyFileSync(toy, copy);
    const [a, b] = [readCheckpoint(toy), readCheckpoint(copy)];
    const short = (await sha256File(toy)).slice(0, 12);
    expect((await modelIdentity(copy, b)).name).toBe(`renamed.gguf (Q4_K_M, sha256 ${short})`);
    expect((await modelIdentity(toy, a)).hash).toBe(await checkpointHash(b));
  });

  it("is found by path, and a folder that holds one says so", async () => {
    expect(await resolveModel(toy)).toBe(toy);
    const lone = path.join(folder, "lone");
    fs.mkdirSync(lone);
    fs.copyFileSync(toy, path.join(lone, "toy.gguf"));
    expect(() => readCheckpoint(lone)).toThrowError(/open that by its own path: .*lone\/toy\.gguf/);
  });
});

describe("text of a GGUF file", () => {
  const tokenizer = loadTokenizer(toy);

  it.each(golden.texts)("encodes $text as transformers reads the same file", ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it("has the folder's added tokens and chats", () => {
    const original = path.join(fixtures, "tokenizer");
    const reference = loadTokenizer(original);
    expect([...tokenizer.controlTokens]).toEqual([...reference.controlTokens].sort((a, b) => a[1] - b[1]));
    const turns = [{ role: "user" as const, content: "Hello <|im_end|>" }];
    const [a, b] = [toy, original].map((place) =>
      renderChat(loadChatTemplate(place), turns, { answerPrefix: "The answer is" }),
    );
    expect(a).toEqual(b);
    expect([...tokenizer.encodeChat(a).ids]).toEqual([...reference.encodeChat(b).ids]);
    expect(loadChatTemplate(toy)).toMatchObject({ eosToken: "<|im_end|>", bosToken: "<|endoftext|>" });
  });

  it.each<[string, RegExp, Record<string, Value | undefined>]>([
    ["sentencepiece", /tokenizer\.ggml\.model/, { "tokenizer.ggml.model": "llama" }],
    ["another pre-tokenisation", /tokenizer\.ggml\.pre/, { "tokenizer.ggml.pre": "llama-bpe" }],
    ["no merges", /tokenizer\.ggml\.merges/, { "tokenizer.ggml.merges": undefined }],
    ["types of another length", /token_type/, { "tokenizer.ggml.token_type": [1] }],
    ["no tokens", /no|none/, { "tokenizer.ggml.tokens": undefined }],
  ])("refuses %s", (_, sentence, change) => {
    expect(() => loadTokenizer(put(tinyQwen2(change)))).toThrowError(sentence);
  });

  it("names templates that are there when the wanted one is not", () => {
    expect(() => loadChatTemplate(put(tinyQwen2()))).toThrowError(/tokenizer\.chat_template/);
    const named = put(tinyQwen2({ "tokenizer.chat_template.rag": "{{ messages[0].content }}<|im_end|>" }));
    expect(() => loadChatTemplate(named)).toThrowError(/called "default" .* received rag.*chatTemplate: "rag"/);
    expect(loadChatTemplate(named, "rag").source).toContain("messages");
  });
});
