/**
 * adapter_model.safetensors of a PEFT LoRA adapter: every tensor that the configuration promises, found, checked and read.
 *
 * A tensor is named base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight (r, in), lora_B.weight (out, r) and with
 * lora_bias lora_B.bias (out); PEFT also reads lora_A.default.weight. Each must be there once, with its shape against the base
 * model and finite values. Beside them only copies of the base's own tensors may stand, and a copy that differs is refused:
 * PEFT would put it in the base's place. Where nothing fits, the sentence says why rather than what.
 */
import * as fs from "node:fs";
import { DataError, expected } from "../base";
import { readSafetensorsHeader, readTensor, type SafetensorsEntry, type SafetensorsTable } from "../files";
import type { AdaptedModule } from "./adapter-config";
import { moduleName, projectionShape } from "./projections";
import { sameValues } from "./same-values";
import type { AdapterPart, ModelConfig, TensorLocation } from "./types";

/** Before every tensor name of PEFT's files. */
export const PEFT_PREFIX = "base_model.model.";
const FLOATS = new Set(["F32", "BF16", "F16", "F64"]);
const LORA_NAME = /^(?<head>.*?)layers\.\d+\.\w+\.\w+\.lora_(?:[AB])\.(?:(?<adapter>\w+)\.)?(?:weight|bias)$/;

/** The base model that an adapter's tensors are held against. */
export interface TensorBase {
  config: ModelConfig;
  /** its tensors, to tell a stored copy from a changed one; without them no copy is taken */
  tensors: readonly TensorLocation[];
}

function fail(table: SafetensorsTable, sentence: string): never {
  throw new DataError("adapter-tensor", `${sentence} (${table.file})`);
}

const some = (names: readonly string[]): string =>
  names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");

/** The header of an adapter's weights. @throws DataError "adapter-tensor" if there is nothing in it; codes of the header reader */
export function readAdapterTable(file: string): SafetensorsTable {
  const lost = "It was saved before its weights were gathered (ZeRO-3, FSDP), or the save was cut off: save it again.";
  if (fs.statSync(file).size === 0)
    throw new DataError("adapter-tensor", `Expected LoRA tensors in ${file} but it has 0 bytes. ${lost}`);
  const table = readSafetensorsHeader(file);
  const entries = [...table.tensors.values()];
  if (entries.length === 0) return fail(table, `Expected LoRA tensors but the file holds none. ${lost}`);
  if (entries.every((entry) => entry.shape.includes(0)))
    return fail(table, `Expected LoRA tensors with values but all ${entries.length} are empty. ${lost}`);
  return table;
}

/** Tensors by PEFT's plain name; "lora_A.default.weight" is read as "lora_A.weight", as PEFT does for the adapter it loads. */
function byPlainName(table: SafetensorsTable): Map<string, SafetensorsEntry> {
  const out = new Map<string, SafetensorsEntry>();
  for (const [name, entry] of table.tensors) {
    const plain = name.replace(/(\.lora_[AB])\.default\.(weight|bias)$/, "$1.$2");
    if (out.has(plain)) fail(table, `Expected ${plain} once but the file also holds ${name}.`);
    out.set(plain, entry);
  }
  return out;
}

/** Name and shape of every tensor that the modules promise. */
function promised(modules: readonly AdaptedModule[], bias: boolean, config: ModelConfig): Map<string, number[]> {
  const out = new Map<string, number[]>();
  for (const { layer, module, r } of modules) {
    const [width, input] = projectionShape(config, module);
    const start = `${PEFT_PREFIX}${moduleName(layer, module)}`;
    out.set(`${start}.lora_A.weight`, [r, input]);
    out.set(`${start}.lora_B.weight`, [width, r]);
    if (bias) out.set(`${start}.lora_B.bias`, [width]);
  }
  return out;
}

/** The cause, where every name of the file is wrong in one and the same way. */
function uniformFault(table: SafetensorsTable): string | null {
  const names = [...table.tensors.keys()].filter((name) => name.includes(".lora_"));
  if (names.length > 0 && names.every((name) => /\.lora_[ab]$/.test(name)))
    return "the file holds MLX's lora_a and lora_b (transposed). Convert the adapter to PEFT's format first";
  const parts = names.map((name) => LORA_NAME.exec(name)?.groups);
  const heads = new Set(parts.map((part) => part?.head));
  const adapters = new Set(parts.map((part) => part?.adapter));
  const [head] = heads;
  const [adapter] = adapters;
  const silent = "PEFT would load none of it and change nothing. Rename the tensors";
  const right = `${PEFT_PREFIX}model.`;
  if (heads.size === 1 && head !== undefined && head !== right)
    return `every name begins with "${head}layers." instead of "${right}layers.". ${silent}`;
  if (adapters.size === 1 && adapter !== undefined && adapter !== "default")
    return `every name carries the adapter name "${adapter}", which PEFT leaves out of its files. ${silent}`;
  return null;
}

/** Refuses what stands beside the promised tensors unless it is the base's own. */
async function checkExtras(
  table: SafetensorsTable,
  extras: readonly (readonly [string, SafetensorsEntry])[],
  base: TensorBase,
): Promise<void> {
  const embedding = base.tensors.find(({ name }) => name === "model.embed_tokens.weight");
  for (const [name, entry] of extras) {
    const own = name.startsWith(PEFT_PREFIX) ? name.slice(PEFT_PREFIX.length).replace(".base_layer.", ".") : name;
    const tied = own === "lm_head.weight" && base.config.tie_word_embeddings;
    const location = base.tensors.find((tensor) => tensor.name === own) ?? (tied ? embedding : undefined);
    if (location === undefined) {
      const foreign = extras.filter(([other]) => !base.tensors.some((tensor) => other.endsWith(tensor.name)));
      fail(
        table,
        `Expected only the LoRA tensors that the configuration names but received ${some(foreign.map(([other]) => other))}.`,
      );
    }
    if (entry.shape.join() !== location.shape.join())
      fail(
        table,
        `Expected the base model's ${own} [${location.shape.join(", ")}] but the adapter stores it as [${entry.shape.join(", ")}]: its vocabulary was resized. A changed base is not supported.`,
      );
    if (!(await sameValues({ file: table.file, entry }, location)))
      fail(
        table,
        `Expected ${own} equal to the base model's but the adapter stores other values: it was trained or comes from another base. A changed base is not supported.`,
      );
  }
}

/** Names, shapes and types of everything in the file. */
async function checkTensors(
  table: SafetensorsTable,
  entries: Map<string, SafetensorsEntry>,
  wanted: Map<string, number[]>,
  base: TensorBase,
): Promise<void> {
  const fault = [...wanted.keys()].some((name) => entries.has(name)) ? null : uniformFault(table);
  if (fault !== null) fail(table, `Expected PEFT's tensor names but ${fault}.`);
  const absent = [...wanted.keys()].filter((name) => !entries.has(name));
  const extras = [...entries].filter(([name]) => !wanted.has(name));
  const foreign = extras.filter(([name]) => name.includes(".lora_")).map(([name]) => name);
  if (foreign.length > 0)
    fail(table, `Expected only the LoRA tensors that the configuration names but received ${some(foreign)}.`);
  if (absent.length > 0)
    fail(table, `Expected every LoRA tensor that the configuration names but ${some(absent)} is missing.`);
  for (const [name, shape] of wanted) {
    const { shape: found, dtype } = entries.get(name) as SafetensorsEntry;
    if (found.join() !== shape.join())
      fail(
        table,
        `Expected shape [${shape.join(", ")}] (r and the base model's config) for ${name} but received [${found.join(", ")}].`,
      );
    if (!FLOATS.has(dtype)) fail(table, `Expected a float type for ${name} but received ${dtype}.`);
  }
  await checkExtras(table, extras, base);
}

/**
 * The parts of an adapter, in the order of `modules`.
 *
 * @param bias true if B has a bias (lora_bias)
 * @throws DataError "adapter-tensor"
 */
export async function readParts(
  table: SafetensorsTable,
  modules: readonly AdaptedModule[],
  bias: boolean,
  base: TensorBase,
): Promise<AdapterPart[]> {
  const entries = byPlainName(table);
  await checkTensors(table, entries, promised(modules, bias, base.config), base);
  const read = async (name: string): Promise<Float32Array> => {
    const values = await readTensor(table, (entries.get(name) as SafetensorsEntry).name);
    if (!allFinite(values)) {
      const damaged = `The adapter is damaged (${table.file}).`;
      throw new DataError("adapter-tensor", expected("finite values", name, "NaN or infinity", damaged));
    }
    return values;
  };
  const parts: AdapterPart[] = [];
  for (const { layer, module, r, scaling } of modules) {
    const start = `${PEFT_PREFIX}${moduleName(layer, module)}`;
    const a = await read(`${start}.lora_A.weight`);
    const b = await read(`${start}.lora_B.weight`);
    const part: AdapterPart = { layer, module, r, scaling, a, b };
    parts.push(bias ? { ...part, bias: await read(`${start}.lora_B.bias`) } : part);
  }
  return parts;
}

export function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}
