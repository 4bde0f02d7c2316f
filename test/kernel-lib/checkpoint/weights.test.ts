// Model folders: what is read as it should be, what is refused by name, and every way an index and its shards disagree.
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { checkpointHash, modelTensors, parseModelConfig, readCheckpoint } from "../../../kernel-lib/src/checkpoint";
import { type TensorToWrite, writeSafetensors } from "../../../kernel-lib/src/files";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-checkpoint-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

// The layout that transformers 5 writes; GQA 4:2 with a head_dim that is not hidden / heads.
const tiny = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  eos_token_id: 7,
  head_dim: 6,
  hidden_act: "silu",
  hidden_size: 16,
  intermediate_size: 20,
  layer_types: ["full_attention", "full_attention"],
  max_position_embeddings: 64,
  max_window_layers: 28,
  model_type: "qwen2",
  num_attention_heads: 4,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_parameters: { rope_theta: 1000000.0, rope_type: "default" },
  sliding_window: null,
  tie_word_embeddings: false,
  use_sliding_window: false,
  vocab_size: 32,
};
type Fields = Record<string, unknown>;
const parse = (change: Fields): ReturnType<typeof parseModelConfig> =>
  parseModelConfig(JSON.stringify({ ...tiny, ...change }));

describe("parseModelConfig", () => {
  it("reads transformers 5 and 4 layouts alike", () => {
    const config = parse({});
    expect(config).toEqual({
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 6,
      intermediate_size: 20,
      vocab_size: 32,
      max_position_embeddings: 64,
      rope_theta: 1e6,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
    });
    expect(parse({ rope_parameters: undefined, layer_types: undefined, rope_theta: 1e6, rope_scaling: null })).toEqual(
      config,
    );
    expect(parse({ rope_theta: 1e6 })).toEqual(config);
    expect(parse({ head_dim: null }).head_dim).toBe(4);
    expect(parse({ rope_parameters: undefined }).rope_theta).toBe(10_000);
  });

  it.each<[string, Fields]>([
    ["model_type", { model_type: "qwen3" }],
    ["model_type", { model_type: undefined }],
    ["architectures", { architectures: ["Qwen2ForSequenceClassification"] }],
    ["quantization_config", { quantization_config: { quant_method: "gptq" } }],
    ["use_sliding_window", { use_sliding_window: true }],
    ["layer_types", { layer_types: ["full_attention", "sliding_attention"] }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["attention_bias", { attention_bias: false }],
    ["mlp_bias", { mlp_bias: true }],
    ["attention_dropout", { attention_dropout: 0.1 }],
    ["use_mrope", { use_mrope: true }],
    ["rope_scaling", { rope_parameters: undefined, rope_scaling: { type: "dynamic", factor: 4 } }],
    ["rope_scaling", { rope_scaling: "linear" }],
    ["rope_parameters", { rope_parameters: { rope_type: "linear", factor: 2, rope_theta: 1e6 } }],
    ["rope_parameters", { rope_parameters: { rope_type: "default", mrope_section: [1, 1, 1], rope_theta: 1e6 } }],
    ["rope_parameters", { rope_parameters: { full_attention: { rope_theta: 1e6 } } }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
  ])("refuses %s by name: %j", (field, change) => {
    expect(() => parse(change)).toThrowError(
      expect.objectContaining({ code: "config-unsupported", message: expect.stringContaining(field) }),
    );
  });

  it.each<[string, Fields]>([
    ["hidden_size", { hidden_size: 15, head_dim: null }],
    ["hidden_size", { hidden_size: undefined }],
    ["hidden_size", { hidden_size: -16 }],
    ["hidden_size", { hidden_size: "16" }],
    ["vocab_size", { vocab_size: 1e12 }],
    ["num_hidden_layers", { num_hidden_layers: 1.5 }],
    ["num_key_value_heads", { num_key_value_heads: 3 }],
    ["head_dim", { head_dim: 5 }],
    ["rms_norm_eps", { rms_norm_eps: 0 }],
    ["rope_theta", { rope_theta: 5 }],
    ["rope_theta", { rope_parameters: undefined, rope_theta: -1 }],
    ["tie_word_embeddings", { tie_word_embeddings: "no" }],
  ])("refuses an impossible %s: %j", (field, change) => {
    expect(() => parse(change)).toThrowError(
      expect.objectContaining({ code: "config-field", message: expect.stringContaining(field) }),
    );
  });

  it("refuses text that is not one JSON object", () => {
    expect(() => parseModelConfig("[]", "config.json")).toThrowError(/JSON object/);
    expect(() => parseModelConfig('{"model_type":"qwen2","model_type":"llama"}')).toThrowError(/twice/);
  });
});

/** Tensors of the tiny model, with the first value of each set to its index so that the files differ. */
function tensorsOf(change: Fields = {}, dtype: "F32" | "BF16" | "F16" = "BF16"): Record<string, TensorToWrite> {
  const out: Record<string, TensorToWrite> = {};
  for (const [i, { name, shape }] of modelTensors(parse(change)).entries()) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    data[0] = i;
    out[name] = { dtype, shape, data };
  }
  return out;
}

let model = "";
let count = 0;
beforeEach(() => {
  count += 1;
  model = path.join(folder, `model-${count}`);
  fs.mkdirSync(model);
  fs.writeFileSync(path.join(model, "config.json"), JSON.stringify(tiny));
});
const write = (name: string, tensors: Record<string, TensorToWrite>): void =>
  writeSafetensors(path.join(model, name), tensors);
const refusal = (code: string, text: string | RegExp): void => {
  expect(() => readCheckpoint(model)).toThrowError(
    expect.objectContaining({ code, message: expect.stringMatching(text) }),
  );
};

function writeSharded(
  change: (map: Record<string, string>, shards: Record<string, TensorToWrite>[]) => void = () => {},
): void {
  const names = Object.keys(tensorsOf());
  const all = tensorsOf();
  const shards: Record<string, TensorToWrite>[] = [{}, {}];
  const map: Record<string, string> = {};
  for (const [i, name] of names.entries()) {
    shards[i % 2][name] = all[name];
    map[name] = `model-0000${(i % 2) + 1}-of-00002.safetensors`;
  }
  change(map, shards);
  for (const [i, shard] of shards.entries()) write(`model-0000${i + 1}-of-00002.safetensors`, shard);
  fs.writeFileSync(path.join(model, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: map }));
}

describe("readCheckpoint", () => {
  it("locates every tensor of a single file, and its bytes are there", () => {
    write("model.safetensors", tensorsOf());
    const checkpoint = readCheckpoint(model);
    expect(checkpoint.tensors.map((tensor) => tensor.name)).toEqual(
      modelTensors(checkpoint.config).map((tensor) => tensor.name),
    );
    expect(checkpoint.eosTokenIds).toEqual([7]);
    const bytes = fs.readFileSync(path.join(model, "model.safetensors"));
    for (const [i, tensor] of checkpoint.tensors.entries()) {
      const value = new Float32Array(new Uint32Array([bytes.readUInt16LE(tensor.byteOffset) << 16]).buffer)[0];
      expect(value).toBe(i);
      expect(tensor.byteLength).toBe(2 * tensor.shape.reduce((a, b) => a * b, 1));
    }
    const names = checkpoint.tensors.map((tensor) => [tensor.name, tensor.shape.join("x")]);
    expect(names).toContainEqual(["model.layers.1.self_attn.k_proj.weight", "12x16"]);
    expect(names).toContainEqual(["model.layers.1.self_attn.o_proj.weight", "16x24"]);
  });

  it("reads shards, mixed float types, tied heads and harmless extras", () => {
    writeSharded();
    expect(readCheckpoint(model).files.map((file) => path.basename(file))).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
    ]);
    fs.writeFileSync(path.join(model, "config.json"), JSON.stringify({ ...tiny, tie_word_embeddings: true }));
    const tied = tensorsOf({}, "F32"); // has lm_head although the config ties it
    tied["lm_head.weight"] = tied["model.embed_tokens.weight"];
    tied["model.norm.weight"] = { ...tied["model.norm.weight"], dtype: "F16" };
    tied["model.layers.0.self_attn.rotary_emb.inv_freq"] = { dtype: "F32", shape: [3], data: [1, 2, 3] };
    write("model.safetensors", tied); // a single file wins over an index
    const checkpoint = readCheckpoint(model);
    expect(checkpoint.tensors.some((tensor) => tensor.name === "lm_head.weight")).toBe(false);
    expect(new Set(checkpoint.tensors.map((tensor) => tensor.dtype))).toEqual(new Set(["f32", "f16"]));
  });

  it("refuses a tied head that is not the embedding: readers differ on which one counts", () => {
    fs.writeFileSync(path.join(model, "config.json"), JSON.stringify({ ...tiny, tie_word_embeddings: true }));
    const tensors = tensorsOf({}, "F32");
    const { shape } = tensors["model.embed_tokens.weight"];
    const head = new Float32Array(shape[0] * shape[1]);
    head[head.length - 1] = 1;
    tensors["model.embed_tokens.weight"] = { dtype: "F32", shape, data: new Float32Array(head.length) };
    tensors["lm_head.weight"] = { dtype: "F32", shape, data: head };
    write("model.safetensors", tensors);
    refusal("checkpoint-tensor", /lm_head\.weight equal to model\.embed_tokens\.weight.*tie_word_embeddings/);
    tensors["lm_head.weight"] = { dtype: "BF16", shape, data: new Float32Array(head.length) };
    write("model.safetensors", tensors);
    refusal("checkpoint-tensor", /lm_head\.weight equal/);
  });

  it("prefers the end tokens of generation_config.json", () => {
    write("model.safetensors", tensorsOf());
    fs.writeFileSync(path.join(model, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 4] }));
    expect(readCheckpoint(model).eosTokenIds).toEqual([3, 4]);
  });

  it("names what is missing from the folder", () => {
    refusal("checkpoint-missing", /model\.safetensors or model\.safetensors\.index\.json/);
    fs.writeFileSync(path.join(model, "pytorch_model.bin"), "x");
    refusal("checkpoint-missing", /pytorch_model\.bin, a format that is not read/);
    fs.rmSync(path.join(model, "config.json"));
    refusal("checkpoint-missing", /config\.json/);
    expect(() => readCheckpoint(path.join(model, "nowhere"))).toThrowError(/model folder/);
  });

  it.each(["model.safetensors", "config.json", "generation_config.json"])(
    "does not wait for a named pipe as %s",
    (name) => {
      writeSafetensors(path.join(model, "model.safetensors"), tensorsOf());
      fs.rmSync(path.join(model, name), { force: true });
      execFileSync("mkfifo", [path.join(model, name)]);
      expect(() => readCheckpoint(model)).toThrowError(
        expect.objectContaining({ code: "no-regular-file", message: expect.stringContaining(name) }),
      );
    },
  );

  it("names absent, extra, misshapen and non-float tensors", () => {
    const absent = tensorsOf();
    delete absent["model.layers.1.self_attn.q_proj.bias"];
    write("model.safetensors", absent);
    refusal("checkpoint-tensor", /model\.layers\.1\.self_attn\.q_proj\.bias/);
    write("model.safetensors", {
      ...tensorsOf(),
      "model.layers.0.self_attn.o_proj.bias": { dtype: "F32", shape: [1], data: [0] },
    });
    refusal("checkpoint-tensor", /received model\.layers\.0\.self_attn\.o_proj\.bias/);
    write("model.safetensors", {
      ...tensorsOf(),
      "model.norm.weight": { dtype: "F32", shape: [1, 16], data: new Float32Array(16) },
    });
    refusal("checkpoint-tensor", /shape \[16\].*model\.norm\.weight.*\[1, 16\]/);
    write("model.safetensors", {
      ...tensorsOf(),
      "model.norm.weight": { dtype: "I32", shape: [16], data: new Float32Array(16) },
    });
    refusal("checkpoint-tensor", /dtype.*model\.norm\.weight in .*model\.safetensors but received "I32"/);
    fs.writeFileSync(
      path.join(model, "config.json"),
      JSON.stringify({ ...tiny, num_hidden_layers: 3, layer_types: undefined }),
    );
    write("model.safetensors", tensorsOf());
    refusal("checkpoint-tensor", /and 9 more/);
  });

  it("names every disagreement between the index and the shards", () => {
    writeSharded((map) => {
      map["model.norm.weight"] = "model-00003-of-00003.safetensors";
    });
    refusal("checkpoint-shard", /model-00003-of-00003\.safetensors.*missing|not listed|listed in/);
    writeSharded((map) => {
      delete map["model.norm.weight"];
    });
    refusal("checkpoint-shard", /model\.norm\.weight is not listed/);
    writeSharded((_map, shards) => {
      delete shards[0]["model.embed_tokens.weight"];
    });
    refusal("checkpoint-shard", /model\.embed_tokens\.weight in model-00001/);
    writeSharded();
    fs.rmSync(path.join(model, "model-00002-of-00002.safetensors"));
    refusal("checkpoint-shard", /model-00002-of-00002\.safetensors.*missing/);
    fs.writeFileSync(path.join(model, "model.safetensors.index.json"), '{"weight_map": {"a": 1}}');
    refusal("checkpoint-shard", /weight_map/);
  });

  it("takes the copy that the index picks where two shards hold a tensor, and says so", () => {
    const name = "model.embed_tokens.weight";
    writeSharded((_map, shards) => {
      shards[1][name] = shards[0][name];
    });
    const { tensors, notes } = readCheckpoint(model);
    const used = tensors.find((tensor) => tensor.name === name)?.file ?? "";
    expect(path.basename(used)).toBe("model-00001-of-00002.safetensors");
    expect(notes).toEqual([expect.stringMatching(/model\.embed_tokens\.weight of model-00002-of-00002.* not used/)]);
  });

  it("says which weight files beside the used ones are not used", () => {
    writeSharded();
    expect(readCheckpoint(model).notes).toEqual([]);
    write("model.safetensors", tensorsOf());
    fs.writeFileSync(path.join(model, "training_args.bin"), "x");
    const { files, notes } = readCheckpoint(model);
    expect(files.map((file) => path.basename(file))).toEqual(["model.safetensors"]);
    expect(notes).toEqual([
      expect.stringMatching(
        /read from model\.safetensors; model-00001-of-00002\.safetensors, model-00002.*index\.json beside it is not used/,
      ),
    ]);
  });

  it("says which fields of config.json are not applied", () => {
    write("model.safetensors", tensorsOf());
    const asks = {
      ...tiny,
      _name_or_path: "x",
      use_cache: true,
      logit_scale: 2,
      dual_chunk_attention_config: { chunk_size: 9 },
    };
    fs.writeFileSync(path.join(model, "config.json"), JSON.stringify(asks));
    expect(readCheckpoint(model).notes).toEqual([
      expect.stringMatching(/dual_chunk_attention_config .* beyond 9 tokens/),
      expect.stringMatching(/not known here and not applied: logit_scale\.$/),
    ]);
  });

  it("lets no index lead out of the folder, and follows links on disk, as in a hub cache", () => {
    writeSharded((map) => {
      map["model.norm.weight"] = "../secret.safetensors";
    });
    refusal("path-escape", /secret/);
    fs.rmSync(path.join(model, "model.safetensors.index.json"));
    write("../outside.safetensors", tensorsOf());
    fs.symlinkSync(path.join(folder, "outside.safetensors"), path.join(model, "model.safetensors"));
    expect(readCheckpoint(model).tensors.length).toBe(27);

    const repo = path.join(folder, "models--org--tiny");
    const snapshot = path.join(repo, "snapshots", "abc");
    const digest = "0".repeat(64);
    fs.mkdirSync(path.join(repo, "blobs"), { recursive: true });
    fs.mkdirSync(snapshot, { recursive: true });
    fs.renameSync(path.join(folder, "outside.safetensors"), path.join(repo, "blobs", digest));
    fs.copyFileSync(path.join(model, "config.json"), path.join(repo, "blobs", "config-blob"));
    fs.symlinkSync("../../blobs/config-blob", path.join(snapshot, "config.json"));
    fs.symlinkSync(`../../blobs/${digest}`, path.join(snapshot, "model.safetensors"));
    expect(readCheckpoint(snapshot).tensors.length).toBe(27);
  });
});

describe("generation_config.json", () => {
  it("is refused by name when it is not JSON", () => {
    write("model.safetensors", tensorsOf());
    fs.writeFileSync(path.join(model, "generation_config.json"), "{");
    refusal("json-syntax", /generation_config\.json/);
    fs.writeFileSync(path.join(model, "generation_config.json"), "null");
    expect(readCheckpoint(model).eosTokenIds).toEqual([7]);
    fs.rmSync(path.join(model, "generation_config.json"));
  });
});

describe("sampling settings of generation_config.json", () => {
  it("are named where sampling here does not apply them", () => {
    write("model.safetensors", tensorsOf());
    const asks = (fields: Fields): string[] => {
      fs.writeFileSync(path.join(model, "generation_config.json"), JSON.stringify(fields));
      return readCheckpoint(model).notes;
    };
    expect(asks({ temperature: 0.7, top_p: 0.8, repetition_penalty: 1, top_k: 0, num_beams: 1 })).toEqual([]);
    expect(asks({ repetition_penalty: 1.5, top_k: 3 })).toEqual([
      expect.stringMatching(/asks for repetition_penalty 1\.5, top_k 3; sampling here has temperature and topP only/),
    ]);
    fs.rmSync(path.join(model, "generation_config.json"));
  });
});

describe("checkpointHash", () => {
  it("depends on weights and numeric config, not on place or irrelevant fields", async () => {
    write("model.safetensors", tensorsOf());
    const first = await checkpointHash(readCheckpoint(model));
    const copy = path.join(folder, "copy");
    fs.cpSync(model, copy, { recursive: true });
    fs.writeFileSync(path.join(copy, "config.json"), JSON.stringify({ ...tiny, transformers_version: "9" }));
    const progress: [number, number][] = [];
    expect(await checkpointHash(readCheckpoint(copy), (done, total) => progress.push([done, total]))).toBe(first);
    expect(progress[progress.length - 1][0]).toBe(progress[progress.length - 1][1]);
    const changed = tensorsOf();
    (changed["model.norm.weight"].data as Float32Array)[3] = 2;
    writeSafetensors(path.join(copy, "model.safetensors"), changed);
    expect(await checkpointHash(readCheckpoint(copy))).not.toBe(first);
  });
});
