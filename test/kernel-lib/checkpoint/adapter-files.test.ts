// Adapters: PEFT's own files read right, ours read back the same, and everything that is not plain LoRA on this base refused.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  adapterHash,
  type AdapterManifest,
  flatFromParts,
  loraConfigJson,
  loraTensorName,
  type ModelConfig,
  parseLoraConfig,
  parseManifest,
  partsFromFlat,
  projectionShape,
  readAdapter,
  sameBaseName,
  writeAdapter,
} from "../../../kernel-lib/src/checkpoint";
import type { TrainerTensor } from "../../../kernel-lib/src/engine";
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
    ["use_rslora", true],
    ["use_dora", true],
    ["bias", "all"],
    ["lora_bias", true],
    ["modules_to_save", ["lm_head"]],
    ["rank_pattern", { q_proj: 4 }],
    ["alpha_pattern", { q_proj: 4 }],
    ["layers_to_transform", [0]],
    ["fan_in_fan_out", true],
    ["init_lora_weights", "pissa"],
    ["layer_replication", [[0, 2]]],
    ["trainable_token_indices", [1]],
    ["exclude_modules", "k_proj"],
    ["use_qalora", true],
    ["some_future_trick", 3],
  ])("refuses %s: %j by name", async (field, value) => {
    writeConfig({ [field]: value });
    await refusal("adapter-unsupported", new RegExp(`received ${field}`));
  });

  it.each<[string, unknown]>([
    ["r", 513],
    ["r", 0],
    ["r", 2.5],
    ["lora_alpha", null],
    ["lora_dropout", 1],
    ["target_modules", []],
    ["target_modules", ["q_proj", "lm_head"]],
  ])("refuses an impossible %s: %j", async (field, value) => {
    writeConfig({ [field]: value });
    await refusal("adapter-field", new RegExp(`for ${field}`));
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
    for (const [value, message] of [
      [full.slice(1), /same modules in all 2 layers/],
      [[...plain, "lm_head"], /target_modules/],
      [[...plain, ""], /target_modules/],
      ["", /target_modules/],
      ["all-linear", /is missing/],
    ] as const)
      await expect(targets(value)).rejects.toThrowError(message);
  });

  it("takes another base name with a note, refuses other weights unless told to accept them", async () => {
    writeConfig({});
    const other = { config, name: "example-org/other" };
    expect((await readAdapter(copy, other)).note).toMatch(
      /names base model example-org\/tiny-qwen2.*example-org\/other/,
    );
    expect((await readAdapter(copy, base)).note).toBeNull();
    expect((await readAdapter(copy, other, { otherBase: "accept" })).note).toBeNull();
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
    expect(parseLoraConfig(JSON.stringify(loraConfigJson(lora)))).toEqual(lora);
  });
});

describe("flat parameters", () => {
  it("go to parts and back", async () => {
    const { parts, lora } = await readAdapter(peft, base);
    const layout: TrainerTensor[] = [];
    let offset = 3; // a layout may leave room in front
    for (const { layer, module } of parts) {
      const [out, input] = projectionShape(config, module);
      for (const [which, shape] of [
        ["A", [3, input]],
        ["B", [out, 3]],
      ] as const) {
        layout.push({
          name: loraTensorName(layer, module, which),
          layer,
          module,
          which,
          shape: [shape[0], shape[1]],
          offset,
        });
        offset += shape[0] * shape[1];
      }
    }
    const flat = flatFromParts(layout, parts);
    expect(flat.length).toBe(offset);
    expect(partsFromFlat(layout, Float64Array.from(flat), lora)).toEqual(parts);
    expect(() => flatFromParts(layout, parts.slice(1))).toThrowError(/layers\.0\.self_attn\.q_proj/);
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
