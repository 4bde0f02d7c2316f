// Adapters: PEFT's own files read right, ours read back the same, and everything that is not plain LoRA on this base refused.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  adapterHash,
  type AdapterManifest,
  loraConfigJson,
  loraTensorName,
  type ModelConfig,
  parseAdapterConfig,
  parseManifest,
  projectionShape,
  readAdapter,
  sameBaseName,
  writeAdapter,
} from "../../../kernel-lib/src/checkpoint";
import { readSafetensorsHeader, readTensor, type TensorToWrite, writeSafetensors } from "../../../kernel-lib/src/files";

const peft = path.join(__dirname, "..", "..", "fixtures", "adapter", "peft");
const config: ModelConfig = {
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 6,
  intermediate_size: 12,
  vocab_size: 16,
  max_position_embeddings: 32,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};
const base = { config, name: "example-org/tiny-qwen2" };
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-adapter-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let copy = "";
let count = 0;
beforeEach(() => {
  count += 1;
  copy = path.join(folder, `adapter-${count}`);
  fs.cpSync(peft, copy, { recursive: true });
});
const configText = (): Record<string, unknown> =>
  JSON.parse(fs.readFileSync(path.join(peft, "adapter_config.json"), "utf8"));
const writeConfig = (change: Record<string, unknown>): void =>
  fs.writeFileSync(path.join(copy, "adapter_config.json"), JSON.stringify({ ...configText(), ...change }));
const refusal = async (code: string, text: string | RegExp): Promise<void> => {
  await expect(readAdapter(copy, base)).rejects.toThrowError(
    expect.objectContaining({ code, message: expect.stringMatching(text) }),
  );
};

/** Rewrites the copied weights after `change`. */
async function rewrite(change: (tensors: Record<string, TensorToWrite>) => void): Promise<void> {
  const table = readSafetensorsHeader(path.join(peft, "adapter_model.safetensors"));
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, entry] of table.tensors)
    tensors[name] = { dtype: "F32", shape: entry.shape, data: await readTensor(table, name) };
  change(tensors);
  writeSafetensors(path.join(copy, "adapter_model.safetensors"), tensors);
}
const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

describe("readAdapter", () => {
  it("reads what PEFT wrote", async () => {
    const adapter = await readAdapter(peft, base);
    expect(adapter.lora).toEqual({
      r: 3,
      alpha: 6,
      dropout: 0.05,
      targets: ["q_proj", "v_proj", "down_proj"],
      baseModel: "example-org/tiny-qwen2",
    });
    expect(adapter.manifest).toBeNull();
    expect(adapter.parts.map((part) => `${part.layer}.${part.module}`)).toEqual([
      "0.q_proj",
      "0.v_proj",
      "0.down_proj",
      "1.q_proj",
      "1.v_proj",
      "1.down_proj",
    ]);
    const table = readSafetensorsHeader(path.join(peft, "adapter_model.safetensors"));
    for (const part of adapter.parts) {
      expect(part.scaling).toBe(2);
      const [out, input] = projectionShape(config, part.module);
      expect([part.a.length, part.b.length]).toEqual([3 * input, out * 3]);
      expect(part.a).toEqual(
        await readTensor(table, `base_model.model.${loraTensorName(part.layer, part.module, "A")}`),
      );
    }
  });

  it("reads what writeAdapter wrote, with PEFT's own weight bytes, hash and manifest", async () => {
    const adapter = await readAdapter(peft, base);
    const manifest: AdapterManifest = {
      format: 1,
      questions: ["Was it changed?"],
      labels: [" yes", " no"],
      answerPrefix: "The answer is",
      protocolHash: "ab",
      baseModelHash: "cd",
      step: 400,
      metrics: { accuracy: 0.9, mass: null },
      seed: 1,
    };
    const target = path.join(folder, "written");
    writeAdapter(target, { lora: adapter.lora, parts: [...adapter.parts].reverse(), config, manifest });
    const again = await readAdapter(target, base);
    expect(again.parts).toEqual(adapter.parts);
    expect(again.manifest).toEqual(manifest);
    expect(again.hash).toBe(adapter.hash);
    const bytes = (root: string): Buffer => fs.readFileSync(path.join(root, "adapter_model.safetensors"));
    expect(bytes(target).equals(bytes(peft))).toBe(true);
  });

  it("hashes every value, rank and alpha", async () => {
    const { parts, lora } = await readAdapter(peft, base);
    const hash = adapterHash(parts, lora);
    expect(adapterHash(parts, { ...lora, alpha: 7 })).not.toBe(hash);
    parts[5].b[4] += 1;
    expect(adapterHash(parts, lora)).not.toBe(hash);
  });

  it.each<[string, unknown]>([
    ["peft_type", "IA3"],
    ["use_dora", true],
    ["modules_to_save", ["down_proj"]],
    ["init_lora_weights", "pissa"],
    ["init_lora_weights", "PiSSA_niter_16"],
    ["init_lora_weights", "olora"],
    ["init_lora_weights", "corda"],
    ["init_lora_weights", "loftq"],
    ["init_lora_weights", "some_future_start"],
    ["kasa_config", { beta: 1 }],
    ["alora_invocation_tokens", [1]],
    ["layer_replication", [[0, 2]]],
    ["trainable_token_indices", [1]],
    ["use_qalora", true],
    ["some_future_trick", 3],
  ])("refuses %s: %j by name", async (field, value) => {
    writeConfig({ [field]: value });
    await refusal("adapter-unsupported", new RegExp(`received ${field}`));
  });

  it.each<[string, unknown]>([
    ["r", 4097],
    ["r", 0],
    ["r", 2.5],
    ["lora_alpha", null],
    ["lora_dropout", 1.1],
    ["use_rslora", "yes"],
    ["lora_bias", 1],
    ["target_modules", []],
    ["target_modules", ["c_attn"]],
    ["exclude_modules", 3],
    ["layers_pattern", "layers"],
    ["layers_to_transform", 0.5],
    ["rank_pattern", { q_proj: 0 }],
    ["alpha_pattern", { q_proj: "4" }],
  ])("refuses an impossible %s: %j", async (field, value) => {
    writeConfig({ [field]: value });
    await refusal("adapter-field", new RegExp(`for ${field}`));
  });

  it.each<[string, unknown]>([
    ["bias", "all"],
    ["corda_config", { corda_method: "ipm" }],
    ["ensure_weight_tying", true],
    ["eva_config", { rho: 2 }],
    ["exclude_modules", ["lm_head"]],
    ["exclude_modules", String.raw`.*\.(o|gate)_proj`],
    ["fan_in_fan_out", true],
    ["init_lora_weights", "Gaussian"],
    ["init_lora_weights", "eva"],
    ["init_lora_weights", "mica"],
    ["layers_to_transform", []],
    ["loftq_config", { loftq_bits: 4 }],
    ["lora_dropout", 1],
    ["qalora_group_size", 16],
    ["rank_pattern", { o_proj: 9 }],
    ["task_type", null],
  ])("takes %s: %j, which changes no number", async (field, value) => {
    const plain = await readAdapter(peft, base);
    writeConfig({ [field]: value });
    const adapter = await readAdapter(copy, base);
    expect(adapter.parts).toEqual(plain.parts);
    expect([adapter.hash, adapter.notes]).toEqual([plain.hash, []]);
  });

  it("scales each module by its own r and alpha", async () => {
    const scalings = async (change: Record<string, unknown>): Promise<number[]> => {
      writeConfig(change);
      return (await readAdapter(copy, base)).parts.map(({ scaling }) => scaling);
    };
    const [q, v, down] = [0, 1, 2];
    expect(await scalings({ use_rslora: true })).toEqual(Array(6).fill(6 / Math.sqrt(3)));
    expect(await scalings({ alpha_pattern: { "layers.1.*": 9, "(q|down)_proj": 3 } })).toEqual([1, 2, 1, 3, 3, 3]);
    // As PEFT: the first pattern wins, a name is matched from its start or after a dot, and to its end.
    expect(await scalings({ alpha_pattern: { "(q|down)_proj": 3, "layers.1.*": 9 } })).toEqual([1, 2, 1, 1, 3, 1]);
    expect(await scalings({ alpha_pattern: { _proj: 9, "layers.0": 9, "^q_proj": 9 } })).toEqual([2, 2, 2, 2, 2, 2]);
    const plain = await readAdapter(peft, base);
    await rewrite((tensors) => {
      for (const [name, tensor] of Object.entries(tensors).filter(([key]) => key.includes("v_proj"))) {
        const shape = name.includes("lora_A") ? [1, tensor.shape[1]] : [tensor.shape[0], 1];
        const data = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => i);
        tensors[name] = { dtype: "F32", shape, data };
      }
    });
    expect(await scalings({ rank_pattern: { v_proj: 1 } })).toEqual([2, 6, 2, 2, 6, 2]);
    const { parts, hash } = await readAdapter(copy, base);
    expect(parts.map((part) => part.r)).toEqual([3, 1, 3, 3, 1, 3]);
    expect([q, down].map((i) => parts[i])).toEqual([q, down].map((i) => plain.parts[i]));
    writeConfig({ rank_pattern: { v_proj: 1 }, alpha_pattern: { v_proj: 7 } });
    expect((await readAdapter(copy, base)).hash).not.toBe(hash);
    expect(parts[v].a.length).toBe(8);
  });

  it("reads layer bands, and a bias of B", async () => {
    const layerOne = (name: string): boolean => name.includes("layers.1.");
    await rewrite((tensors) => {
      for (const name of Object.keys(tensors).filter((key) => !layerOne(key))) delete tensors[name];
    });
    for (const change of [
      { layers_to_transform: [1] },
      { layers_to_transform: 1 },
      { layers_to_transform: [1, 7], layers_pattern: ["h", "layers"] },
      { exclude_modules: String.raw`model\.layers\.0\..*` },
      { target_modules: String.raw`.*\.1\.(?:self_attn|mlp)\.(q|v|down)_proj` },
    ]) {
      writeConfig(change);
      const { parts } = await readAdapter(copy, base);
      expect(parts.map(({ layer, module }) => `${layer}.${module}`)).toEqual(["1.q_proj", "1.v_proj", "1.down_proj"]);
    }
    writeConfig({ layers_to_transform: [1], layers_pattern: "h" });
    await refusal("adapter-field", /target_modules/);
    writeConfig({ layers_to_transform: [1], target_modules: ".*q_proj" });
    await refusal("adapter-field", /layers_to_transform/);
    writeConfig({ layers_to_transform: [1], lora_bias: true });
    await refusal("adapter-tensor", /q_proj\.lora_B\.bias.* is missing/);
    await rewrite((tensors) => {
      for (const [name, { shape }] of Object.entries(tensors)) {
        if (name.includes("lora_B"))
          tensors[name.replace(".weight", ".bias")] = {
            dtype: "F32",
            shape: [shape[0]],
            data: new Float32Array(shape[0]).fill(2),
          };
      }
    });
    writeConfig({ lora_bias: true });
    const { parts, hash, lora } = await readAdapter(copy, base);
    expect(parts[1].bias).toEqual(new Float32Array(6).fill(2));
    const other = parts.map((part) => ({ ...part, bias: part.bias?.map((x) => x + 1) }));
    expect(adapterHash(other, lora)).not.toBe(hash);
    expect(() => writeAdapter(copy, { lora, parts, config, manifest: null })).toThrowError(
      /adapter-parts|one \(3, 8\)/,
    );
  });

  it("reads lora_A.default.weight as PEFT does", async () => {
    const plain = await readAdapter(peft, base);
    const renamed = (name: string, adapter: string): string => name.replace(".weight", `.${adapter}.weight`);
    const rename = (to: (name: string) => string): Promise<void> =>
      rewrite((tensors) => {
        for (const [name, tensor] of Object.entries(tensors)) {
          delete tensors[name];
          tensors[to(name)] = tensor;
        }
      });
    await rename((name) => renamed(name, "default"));
    expect((await readAdapter(copy, base)).parts).toEqual(plain.parts);
    await rename((name) => renamed(name, "detector"));
    await refusal("adapter-tensor", /every name carries the adapter name "detector"/);
    for (const prefix of ["", "base_model.model.base_model.model.model.", "model.", "module.base_model.model.model."]) {
      await rename((name) => name.replace("base_model.model.model.", prefix));
      await refusal("adapter-tensor", new RegExp(`every name begins with "${prefix}layers\\."`));
    }
    await rewrite((tensors) => {
      tensors[renamed(first, "default")] = tensors[first];
    });
    await refusal("adapter-tensor", /q_proj\.lora_A\.weight once/);
  });

  it("names the cause of an empty file, of another tool's format, and the folders of steps", async () => {
    const weights = path.join(copy, "adapter_model.safetensors");
    fs.writeFileSync(weights, "");
    await refusal("adapter-tensor", /0 bytes.*ZeRO-3/);
    writeSafetensors(weights, {});
    await refusal("adapter-tensor", /holds none.*ZeRO-3/);
    writeSafetensors(weights, { [first]: { dtype: "F32", shape: [0], data: new Float32Array(0) } });
    await refusal("adapter-tensor", /all 1 are empty.*ZeRO-3/);
    fs.rmSync(weights);
    fs.writeFileSync(path.join(copy, "adapter_model.bin"), "x");
    await refusal("adapter-missing", /pickle/);
    const mlx = { fine_tune_type: "lora", num_layers: 8, lora_parameters: { rank: 8, scale: 20 } };
    fs.writeFileSync(path.join(copy, "adapter_config.json"), JSON.stringify(mlx));
    await refusal("adapter-format", /MLX \(mlx-lm\)/);
    fs.rmSync(path.join(copy, "adapter_config.json"));
    fs.cpSync(peft, path.join(copy, "step_0900"), { recursive: true });
    await refusal("adapter-missing", /There are adapters in step_0900/);
    await expect(readAdapter(path.join(copy, "step_0900"), base)).resolves.toBeTruthy();
  });

  it("takes a copy of the base's embeddings, in any float type, and refuses a changed one by name", async () => {
    const shape = [16, 8];
    const values = Float32Array.from({ length: 128 }, (_, i) => i - 64);
    const baseFile = path.join(folder, `base-${count}.safetensors`);
    writeSafetensors(baseFile, { "model.embed_tokens.weight": { dtype: "BF16", shape, data: values } });
    const [entry] = readSafetensorsHeader(baseFile).tensors.values();
    const { byteOffset, byteLength } = entry;
    const location = { name: entry.name, file: baseFile, dtype: "bf16" as const, shape, byteOffset, byteLength };
    const known = { ...base, tensors: [location] };
    const name = "base_model.model.model.embed_tokens.weight";
    const store = (tensor: TensorToWrite): Promise<void> =>
      rewrite((tensors) => {
        tensors[name] = tensor;
      });
    writeConfig({ modules_to_save: ["embed_tokens"] });
    await expect(readAdapter(copy, known)).rejects.toThrowError(/weights of embed_tokens.*modules_to_save/);
    for (const dtype of ["BF16", "F16", "F32"] as const) {
      await store({ dtype, shape, data: values });
      expect((await readAdapter(copy, known)).hash).toBe((await readAdapter(peft, base)).hash);
    }
    await refusal("adapter-tensor", /received base_model\.model\.model\.embed_tokens/); // nothing to compare it with
    await store({ dtype: "F32", shape, data: values.map((x, i) => (i === 127 ? x + 1e-3 : x)) });
    await expect(readAdapter(copy, known)).rejects.toThrowError(
      /model\.embed_tokens\.weight equal to the base model's/,
    );
    await store({ dtype: "F32", shape: [17, 8], data: new Float32Array(136) });
    await expect(readAdapter(copy, known)).rejects.toThrowError(/vocabulary was resized/);
  });

  it("says that an adapter changes nothing", async () => {
    await rewrite((tensors) => {
      for (const [name, { data }] of Object.entries(tensors))
        if (name.includes("lora_B")) (data as Float32Array).fill(0);
    });
    expect((await readAdapter(copy, base)).notes).toEqual([expect.stringMatching(/every lora_B of .* is zero/)]);
  });

  it("names absent, extra, misshapen, integer and non-finite tensors", async () => {
    await rewrite((tensors) => delete tensors[first]);
    await refusal("adapter-tensor", /layers\.0\.self_attn\.q_proj\.lora_A\.weight is missing/);
    await rewrite((tensors) => {
      tensors["base_model.model.lm_head.lora_A.weight"] = tensors[first];
    });
    await refusal("adapter-tensor", /received base_model\.model\.lm_head/);
    await rewrite((tensors) => {
      tensors[first] = { dtype: "F32", shape: [8, 3], data: tensors[first].data };
    });
    await refusal("adapter-tensor", /shape \[3, 8\].*received \[8, 3\]/);
    await rewrite((tensors) => {
      tensors[first] = { dtype: "I32", shape: [3, 8], data: new Float32Array(24) };
    });
    await refusal("adapter-tensor", /float type.*I32/);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      await rewrite((tensors) => {
        (tensors[first].data as Float32Array)[23] = value;
      });
      await refusal("adapter-tensor", /finite values/);
    }
    fs.rmSync(path.join(copy, "adapter_model.safetensors"));
    await refusal("adapter-missing", /adapter_model\.safetensors/);
  });

  it("refuses another rank, layer count or base shape", async () => {
    writeConfig({ r: 4 });
    await refusal("adapter-tensor", /shape \[4, 8\]/);
    writeConfig({});
    await expect(readAdapter(copy, { ...base, config: { ...config, num_hidden_layers: 3 } })).rejects.toThrowError(
      /layers\.2\./,
    );
    await expect(readAdapter(copy, { ...base, config: { ...config, num_hidden_layers: 1 } })).rejects.toThrowError(
      /layers\.1\./,
    );
    await expect(readAdapter(copy, { ...base, config: { ...config, hidden_size: 9 } })).rejects.toThrowError(
      /\[3, 9\]/,
    );
  });

  it("reads target_modules in every form that PEFT takes", async () => {
    const targets = async (value: unknown): Promise<string[]> => {
      writeConfig({ target_modules: value });
      return (await readAdapter(copy, base)).lora.targets;
    };
    writeConfig({});
    const plain = (await readAdapter(copy, base)).lora.targets;
    const paths = plain.map((target) =>
      target.endsWith("_proj") && /gate|up|down/.test(target) ? "mlp" : "self_attn",
    );
    expect(await targets(plain.map((target, i) => `${paths[i]}.${target}`))).toEqual(plain);
    const full = [0, 1].flatMap((layer) => plain.map((target, i) => `model.layers.${layer}.${paths[i]}.${target}`));
    expect(await targets(full)).toEqual(plain);
    expect(await targets([...plain, plain[0]])).toEqual(plain);
    expect(await targets(`.*\\.(${plain.join("|")})`)).toEqual(plain);
    expect(await targets([...plain, "c_attn", "query_key_value"])).toEqual(plain);
    for (const [value, message] of [
      [full.slice(1), /Expected only the LoRA tensors that the configuration names/],
      [[...plain, "lm_head"], /target_modules also reaches lm_head/],
      [[...plain, "embed_tokens"], /target_modules also reaches model\.embed_tokens/],
      [".*", /target_modules also reaches lm_head/],
      [[...plain, ""], /target_modules/],
      ["", /target_modules/],
      [null, /down_proj/],
      ["(?i).*q_proj", /inline flags/i],
      ["all-linear", /is missing/],
    ] as const)
      await expect(targets(value)).rejects.toThrowError(message);
  });

  it("takes another base name with a note, refuses other weights unless told to accept them", async () => {
    writeConfig({});
    const other = { config, name: "example-org/other" };
    expect((await readAdapter(copy, other)).notes).toEqual([
      expect.stringMatching(/names base model example-org\/tiny-qwen2.*example-org\/other/),
    ]);
    expect((await readAdapter(copy, base)).notes).toEqual([]);
    expect((await readAdapter(copy, other, { otherBase: "accept" })).notes).toEqual([]);
    await expect(readAdapter(copy, { config, name: null })).resolves.toBeTruthy();
    writeConfig({ base_model_name_or_path: null });
    await expect(readAdapter(copy, other)).resolves.toBeTruthy();
    const manifest = {
      format: 1,
      questions: [],
      labels: ["a", "b"],
      answerPrefix: null,
      protocolHash: null,
      baseModelHash: "aa",
      step: null,
      metrics: {},
      seed: null,
    };
    fs.writeFileSync(path.join(copy, "steerlab.json"), JSON.stringify(manifest));
    await expect(readAdapter(copy, { ...base, hash: "bb" })).rejects.toThrowError(/hash aa/);
    await expect(readAdapter(copy, { ...base, hash: "bb" }, { otherBase: "accept" })).resolves.toBeTruthy();
    await expect(readAdapter(copy, { ...other, hash: "aa" })).resolves.toBeTruthy();
  });
});

describe("sameBaseName", () => {
  it("sees through folders, revisions and the hub cache", () => {
    const cache = "/c/hub/models--Qwen--Qwen2.5-0.5B/snapshots/abc123";
    expect(sameBaseName("Qwen/Qwen2.5-0.5B", cache)).toBe(true);
    expect(sameBaseName("Qwen/Qwen2.5-0.5B@main", "/models/qwen2.5-0.5b/")).toBe(true);
    expect(sameBaseName("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-7B")).toBe(false);
    expect(sameBaseName("/a/model", "/b/other")).toBe(false);
  });
});

describe("writeAdapter", () => {
  it("refuses missing, double, misshapen and non-finite parts, and keeps an old adapter whole", async () => {
    const { parts, lora } = await readAdapter(peft, base);
    const write = (list: typeof parts): void => writeAdapter(copy, { lora, parts: list, config, manifest: null });
    expect(() => write(parts.slice(1))).toThrowError(/12 tensors for parts but received 10/);
    expect(() => write([...parts, parts[0]])).toThrowError(/one \(3, 8\) tensor/);
    expect(() => write([{ ...parts[0], a: new Float32Array(5) }, ...parts.slice(1)])).toThrowError(/5 values/);
    const broken = parts[0].b.slice();
    broken[0] = Number.NaN;
    expect(() => write([{ ...parts[0], b: broken }, ...parts.slice(1)])).toThrowError(/finite values/);
    expect((await readAdapter(copy, base)).parts).toEqual(parts);
  });

  it("writes a configuration that reads back the same", () => {
    const lora = { r: 16, alpha: 32, dropout: 0.05, targets: ["q_proj" as const, "o_proj" as const], baseModel: "a/b" };
    const read = parseAdapterConfig(JSON.stringify(loraConfigJson(lora)), 2);
    expect(read.lora).toEqual(lora);
    expect(read.modules).toEqual(
      [0, 1].flatMap((layer) => lora.targets.map((module) => ({ layer, module, r: 16, scaling: 2 }))),
    );
    expect(read).toMatchObject({ bias: false, savedModules: [], notes: [] });
  });
});

describe("parseManifest", () => {
  it("names the field that is wrong", () => {
    const good = {
      format: 1,
      questions: ["q"],
      labels: [" yes", " no"],
      answerPrefix: null,
      protocolHash: null,
      baseModelHash: null,
      step: 3,
      metrics: { a: 1 },
      seed: 0,
    };
    expect(parseManifest(JSON.stringify(good))).toEqual(good);
    const wrong: [string, unknown][] = [
      ["format", 2],
      ["questions", "q"],
      ["labels", [" yes", " yes"]],
      ["step", -1],
      ["metrics", { a: "1" }],
      ["seed", 1.5],
      ["answerPrefix", 4],
    ];
    for (const [field, value] of wrong) {
      expect(() => parseManifest(JSON.stringify({ ...good, [field]: value }))).toThrowError(
        new RegExp(`for ${field} in`),
      );
    }
    expect(() => parseManifest("null")).toThrowError(/format/);
  });
});
