/**
 * PEFT LoRA adapters on disk: adapter_config.json + adapter_model.safetensors (+ our manifest), read strictly and written.
 *
 * A tensor is named base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight (r, in) or lora_B.weight (out, r). Every
 * pair that the configuration promises must be there, with its shape against the base model and finite values, and nothing
 * else. The effect of a part is (alpha / r) B A; parts are 32-bit floats whatever the file holds.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected, InputError } from "../base";
import type { TrainerTensor } from "../engine";
import {
  confinePath,
  readSafetensorsHeader,
  readTensor,
  type SafetensorsTable,
  sha256,
  type TensorToWrite,
  writeJsonAtomic,
  writeSafetensors,
} from "../files";
import { type LoraConfig, loraConfigJson, moduleName, parseLoraConfig, PROJECTIONS } from "./adapter-config";
import { type AdapterManifest, MANIFEST_NAME, parseManifest } from "./adapter-manifest";
import type { AdapterPart, ModelConfig, Projection } from "./types";

/** An adapter as read from its folder. */
export interface AdapterFiles {
  /** folder name */
  name: string;
  /** absolute path */
  folder: string;
  lora: LoraConfig;
  /** by layer, then in the order of `PROJECTIONS` */
  parts: AdapterPart[];
  /** null for an adapter not made here */
  manifest: AdapterManifest | null;
  /** one sentence if it names another base model than the open one, else null */
  note: string | null;
  /** sha256 over r, alpha and every tensor's name, shape and 32-bit values */
  hash: string;
}

/** Who the base model is, to compare with what the adapter says of itself. */
export interface AdapterBase {
  config: ModelConfig;
  /** hub name or folder of the model that is open; null if unknown */
  name: string | null;
  /** `checkpointHash`, if it was computed */
  hash?: string | null;
}

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
const PREFIX = "base_model.model.";
const FLOATS = new Set(["F32", "BF16", "F16", "F64"]);

/** (out, in) of one linear map of a block. */
export function projectionShape(config: ModelConfig, projection: Projection): [out: number, input: number] {
  const { hidden_size: C, intermediate_size: F, head_dim: D } = config;
  switch (projection) {
    case "q_proj":
      return [config.num_attention_heads * D, C];
    case "k_proj":
    case "v_proj":
      return [config.num_key_value_heads * D, C];
    case "o_proj":
      return [C, config.num_attention_heads * D];
    case "gate_proj":
    case "up_proj":
      return [F, C];
    case "down_proj":
      return [C, F];
  }
}

/** PEFT's tensor name without "base_model.model.", as in `TrainerTensor.name`. */
export function loraTensorName(layer: number, projection: Projection, which: "A" | "B"): string {
  return `${moduleName(layer, projection)}.lora_${which}.weight`;
}

/**
 * True if two base-model names can mean the same model: equal, or equal in their last part without regard to case (a
 * checkpoint moves between machines, `org/name` becomes a folder `name`, or the cache's `models--org--name`).
 */
export function sameBaseName(one: string, other: string): boolean {
  const last = (name: string): string => {
    const cached = /models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+[/\\]*$/.exec(name);
    const plain = cached === null ? name : cached[1].replaceAll("--", "/");
    return (
      plain
        .replace(/@[^@/]*$/, "")
        .split(/[/\\]/)
        .filter((part) => part !== "")
        .pop()
        ?.toLowerCase() ?? ""
    );
  };
  return one === other || last(one) === last(other);
}

/**
 * Reads and checks an adapter folder against the base model it will be bound to.
 *
 * @param folder holds adapter_config.json and adapter_model.safetensors; steerlab.json is read if present
 * @param base the open model; an adapter that names no base is taken on its shapes alone
 * @param options.otherBase "accept" lets an adapter made on other weights through; default "refuse". A name proves less than
 *   a hash (folders are copied and renamed), so where only the names differ the adapter is taken, with a `note`
 * @throws DataError "adapter-missing", "adapter-unsupported", "adapter-field", "adapter-tensor" (pairs, shapes, types, values),
 *   "adapter-base" (made on other weights), "manifest-field", and the codes of the header reader
 *
 * @example
 * const adapter = await readAdapter("runs/x/adapter", { config, name: "Qwen/Qwen2.5-0.5B-Instruct" });
 */
export async function readAdapter(
  folder: string,
  base: AdapterBase,
  options: { otherBase?: "refuse" | "accept" } = {},
): Promise<AdapterFiles> {
  const root = path.resolve(folder);
  const lora = parseLoraConfig(requiredText(root, CONFIG), path.join(root, CONFIG), {
    layers: base.config.num_hidden_layers,
    present: () => projectionsIn(readSafetensorsHeader(fileIn(root, WEIGHTS))),
  });
  const manifestFile = path.join(root, MANIFEST_NAME);
  const manifest = fs.existsSync(manifestFile) ? parseManifest(requiredText(root, MANIFEST_NAME), manifestFile) : null;
  const note = options.otherBase === "accept" ? null : checkBase(lora, manifest, base, root);
  const table = readSafetensorsHeader(fileIn(root, WEIGHTS));
  checkTensors(table, lora, base.config);
  const parts: AdapterPart[] = [];
  for (let layer = 0; layer < base.config.num_hidden_layers; layer++) {
    for (const module of lora.targets) {
      const a = await finiteTensor(table, PREFIX + loraTensorName(layer, module, "A"));
      const b = await finiteTensor(table, PREFIX + loraTensorName(layer, module, "B"));
      parts.push({ layer, module, r: lora.r, scaling: lora.alpha / lora.r, a, b });
    }
  }
  return { name: path.basename(root), folder: root, lora, parts, manifest, note, hash: adapterHash(parts, lora) };
}

/**
 * Writes an adapter folder that PEFT and `readAdapter` take. Each file is replaced as a whole, adapter_config.json last: a
 * folder without it is unfinished.
 *
 * @param parts every layer's part for every target, any order
 * @throws InputError "adapter-parts" if a part is missing, double or misshapen; "not-finite" if a value is NaN or infinite
 */
export function writeAdapter(
  folder: string,
  content: { lora: LoraConfig; parts: readonly AdapterPart[]; config: ModelConfig; manifest: AdapterManifest | null },
): void {
  const { lora, parts, config, manifest } = content;
  const tensors: Record<string, TensorToWrite> = {};
  for (const part of parts) {
    const [out, input] = projectionShape(config, part.module);
    const pieces = [
      ["A", part.a, [lora.r, input]],
      ["B", part.b, [out, lora.r]],
    ] as const;
    for (const [which, data, shape] of pieces) {
      const name = PREFIX + loraTensorName(part.layer, part.module, which);
      if (data.length !== shape[0] * shape[1] || part.r !== lora.r || tensors[name] !== undefined) {
        throw new InputError(
          "adapter-parts",
          expected(`one (${shape.join(", ")}) tensor`, name, `${data.length} values`),
        );
      }
      if (!allFinite(data))
        throw new InputError("not-finite", expected("finite values", name, "NaN or infinity", "Training diverged."));
      tensors[name] = { dtype: "F32", shape, data };
    }
  }
  const promised = 2 * config.num_hidden_layers * lora.targets.length;
  if (Object.keys(tensors).length !== promised) {
    throw new InputError("adapter-parts", expected(`${promised} tensors`, "parts", Object.keys(tensors).length));
  }
  fs.rmSync(path.join(folder, CONFIG), { force: true });
  writeSafetensors(path.join(folder, WEIGHTS), tensors, { format: "pt" });
  if (manifest !== null) writeJsonAtomic(path.join(folder, MANIFEST_NAME), manifest);
  else fs.rmSync(path.join(folder, MANIFEST_NAME), { force: true });
  writeJsonAtomic(path.join(folder, CONFIG), loraConfigJson(lora));
}

/**
 * The trainer's flat parameters as parts.
 *
 * @param layout the trainer's tensors
 * @param params flat values; copied
 */
export function partsFromFlat(
  layout: readonly TrainerTensor[],
  params: ArrayLike<number>,
  lora: LoraConfig,
): AdapterPart[] {
  const parts = new Map<string, AdapterPart>();
  for (const tensor of layout) {
    const key = `${tensor.layer}.${tensor.module}`;
    const empty = new Float32Array(0);
    const part = parts.get(key) ?? {
      layer: tensor.layer,
      module: tensor.module,
      r: lora.r,
      scaling: lora.alpha / lora.r,
      a: empty,
      b: empty,
    };
    const values = Float32Array.from(
      { length: tensor.shape[0] * tensor.shape[1] },
      (_, i) => params[tensor.offset + i],
    );
    if (tensor.which === "A") part.a = values;
    else part.b = values;
    parts.set(key, part);
  }
  return [...parts.values()];
}

/**
 * Parts as the trainer's flat parameters: the inverse of `partsFromFlat`.
 *
 * @throws InputError "adapter-parts" if the layout asks for a part or shape that is not there
 */
export function flatFromParts(layout: readonly TrainerTensor[], parts: readonly AdapterPart[]): Float32Array {
  const byKey = new Map(parts.map((part) => [`${part.layer}.${part.module}`, part]));
  const end = layout.reduce((most, tensor) => Math.max(most, tensor.offset + tensor.shape[0] * tensor.shape[1]), 0);
  const out = new Float32Array(end);
  for (const tensor of layout) {
    const part = byKey.get(`${tensor.layer}.${tensor.module}`);
    const values = tensor.which === "A" ? part?.a : part?.b;
    if (values === undefined || values.length !== tensor.shape[0] * tensor.shape[1]) {
      throw new InputError(
        "adapter-parts",
        expected(`shape [${tensor.shape.join(", ")}]`, tensor.name, `${values?.length ?? 0} values`),
      );
    }
    out.set(values, tensor.offset);
  }
  return out;
}

/** SHA-256 over r, alpha and the parts' places and 32-bit values (little-endian), in canonical order. */
export function adapterHash(parts: readonly AdapterPart[], lora: LoraConfig): string {
  const place = (part: AdapterPart): number => part.layer * PROJECTIONS.length + PROJECTIONS.indexOf(part.module);
  const lines = [...parts]
    .sort((one, other) => place(one) - place(other))
    .map((part) => `${part.layer} ${part.module} ${bytesHash(part.a)} ${bytesHash(part.b)}`);
  return sha256([`r ${lora.r} alpha ${lora.alpha}`, ...lines].join("\n"));
}

function bytesHash(values: Float32Array): string {
  return sha256(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

function fileIn(root: string, name: string): string {
  if (!fs.existsSync(path.join(root, name))) {
    throw new DataError("adapter-missing", `Expected ${name} in adapter folder ${root} but there is none.`);
  }
  return confinePath(root, name, name, { linksMayLeaveTo: [path.parse(root).root] }); // links: as in a checkpoint
}

function requiredText(root: string, name: string): string {
  return fs.readFileSync(fileIn(root, name), "utf8");
}

/** Refuses other weights where both hashes are known; otherwise a sentence if the names differ. */
function checkBase(lora: LoraConfig, manifest: AdapterManifest | null, base: AdapterBase, root: string): string | null {
  const recordedHash = manifest?.baseModelHash ?? null;
  const openHash = base.hash ?? null;
  if (recordedHash !== null && openHash !== null) {
    if (recordedHash === openHash) return null;
    throw new DataError(
      "adapter-base",
      `Expected the base model that ${root} was trained on (hash ${recordedHash.slice(0, 12)}) but the open model has ${openHash.slice(0, 12)}. Pass otherBase: "accept" (--other-base accept) to bind it all the same.`,
    );
  }
  if (lora.baseModel === null || base.name === null || sameBaseName(lora.baseModel, base.name)) return null;
  return `note: ${root} names base model ${lora.baseModel} and is bound to ${base.name}; only their shapes were compared.`;
}

function checkTensors(table: SafetensorsTable, lora: LoraConfig, config: ModelConfig): void {
  const wanted = new Map<string, string>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const projection of lora.targets) {
      const [out, input] = projectionShape(config, projection);
      wanted.set(PREFIX + loraTensorName(layer, projection, "A"), `${lora.r}, ${input}`);
      wanted.set(PREFIX + loraTensorName(layer, projection, "B"), `${out}, ${lora.r}`);
    }
  }
  const fail = (sentence: string): never => {
    throw new DataError("adapter-tensor", `${sentence} (${table.file})`);
  };
  const some = (names: string[]): string =>
    names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
  const extra = [...table.tensors.keys()].filter((name) => !wanted.has(name));
  if (extra.length > 0)
    fail(
      `Expected only LoRA pairs of ${config.num_hidden_layers} layers x ${lora.targets.join(", ")} but received ${some(extra)}.`,
    );
  const absent = [...wanted.keys()].filter((name) => !table.tensors.has(name));
  if (absent.length > 0) fail(`Expected every LoRA pair but ${some(absent)} is missing.`);
  for (const [name, shape] of wanted) {
    const entry = table.tensors.get(name);
    const got = entry?.shape.join(", ");
    if (got !== shape)
      fail(`Expected shape [${shape}] (r and the base model's config) for ${name} but received [${got}].`);
    if (!FLOATS.has(entry?.dtype ?? "")) fail(`Expected a float type for ${name} but received ${entry?.dtype}.`);
  }
}

function projectionsIn(table: SafetensorsTable): Projection[] {
  const names = [...table.tensors.keys()];
  return PROJECTIONS.filter((projection) => names.some((name) => name.includes(`.${projection}.lora_`)));
}

async function finiteTensor(table: SafetensorsTable, name: string): Promise<Float32Array> {
  const values = await readTensor(table, name);
  if (!allFinite(values))
    throw new DataError(
      "adapter-tensor",
      expected("finite values", name, "NaN or infinity", `The adapter is damaged (${table.file}).`),
    );
  return values;
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}
