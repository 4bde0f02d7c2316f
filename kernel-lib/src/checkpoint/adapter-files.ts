/**
 * PEFT LoRA adapters on disk: adapter_config.json + adapter_model.safetensors (+ our manifest), read strictly and written.
 *
 * What is read computes what PEFT computes with the same folder. The effect of a part is scaling (B A x + bias); parts are 32-bit
 * floats whatever the file holds. Written is plain LoRA only: one r and alpha, every target in every layer.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected, InputError } from "../base";
import { confinePath, readText, sha256, type TensorToWrite, writeJsonAtomic, writeSafetensors } from "../files";
import { type AdapterConfig, type LoraConfig, loraConfigJson, parseAdapterConfig } from "./adapter-config";
import { type AdapterManifest, MANIFEST_NAME, parseManifest } from "./adapter-manifest";
import { allFinite, PEFT_PREFIX, readAdapterTable, readParts } from "./adapter-tensors";
import { loraTensorName, projectionShape } from "./projections";
import { type AdapterPart, type ModelConfig, PROJECTIONS, type TensorLocation } from "./types";

/** An adapter as read from its folder. */
export interface AdapterFiles {
  /** folder name */
  name: string;
  /** absolute path */
  folder: string;
  lora: LoraConfig;
  /** by layer, then in the order of `PROJECTIONS`; modules that the configuration leaves out have none */
  parts: AdapterPart[];
  /** null for an adapter not made here */
  manifest: AdapterManifest | null;
  /** sentences for the user: another base model's name, an adapter that changes nothing; [] if there is nothing to say */
  notes: string[];
  /** `adapterHash` */
  hash: string;
}

/** Who the base model is, to compare with what the adapter says of itself. */
export interface AdapterBase {
  config: ModelConfig;
  /** its tensors on disk, to tell whether an adapter that stores base weights stores these; without them it is refused */
  tensors?: readonly TensorLocation[];
  /** hub name or folder of the model that is open; null if unknown */
  name: string | null;
  /** `checkpointHash`, if it was computed */
  hash?: string | null;
}

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";

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
 *   a hash (folders are copied and renamed), so where only the names differ the adapter is taken, with a note
 * @throws DataError "adapter-missing", "adapter-format", "adapter-unsupported", "adapter-field", "adapter-pattern",
 *   "adapter-tensor" (names, shapes, types, values, base weights that differ), "adapter-base" (made on other weights),
 *   "manifest-field", and the codes of the header reader
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
  const { config, tensors = [] } = base;
  const file = path.join(root, CONFIG);
  const adapter = parseAdapterConfig(configText(root), config.num_hidden_layers, file);
  const { lora, modules, bias, notes } = adapter;
  const manifestFile = path.join(root, MANIFEST_NAME);
  const manifest = fs.existsSync(manifestFile) ? parseManifest(requiredText(root, MANIFEST_NAME), manifestFile) : null;
  const otherBase = options.otherBase === "accept" ? null : checkBase(lora, manifest, base, root);
  const table = readAdapterTable(weightsFile(root));
  const parts = await readParts(table, modules, bias, { config, tensors });
  checkSavedModules(adapter, [...table.tensors.keys()], file);
  const idle = parts.every(({ b, bias: own }) => [b, own].every((values) => values?.every((x) => x === 0) ?? true));
  return {
    name: path.basename(root),
    folder: root,
    lora,
    parts,
    manifest,
    notes: [
      ...(otherBase === null ? [] : [otherBase]),
      ...notes,
      ...(idle
        ? [`every lora_B of ${root} is zero, so the adapter changes nothing; was it saved before training?`]
        : []),
    ],
    hash: adapterHash(parts, lora),
  };
}

/** PEFT stops without the tensors that modules_to_save names. */
function checkSavedModules({ savedModules }: AdapterConfig, names: readonly string[], file: string): void {
  const absent = savedModules.find((module) => !names.some((name) => name.includes(`${module}.`)));
  if (absent !== undefined)
    throw new DataError(
      "adapter-tensor",
      `Expected the weights of ${absent} in the adapter, as modules_to_save of ${file} says, but there are none.`,
    );
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
      const name = PEFT_PREFIX + loraTensorName(part.layer, part.module, which);
      if (data.length !== shape[0] * shape[1] || !isPlain(part, lora) || tensors[name] !== undefined) {
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

/** Whether a part is what the configuration says of all modules. */
function isPlain({ r, scaling, bias }: AdapterPart, lora: LoraConfig): boolean {
  return r === lora.r && scaling === lora.alpha / lora.r && bias === undefined;
}

/** SHA-256 over r, alpha and the parts' places, own r, scaling and bias, and 32-bit values (little-endian), in canonical order. */
export function adapterHash(parts: readonly AdapterPart[], lora: LoraConfig): string {
  const place = (part: AdapterPart): number => part.layer * PROJECTIONS.length + PROJECTIONS.indexOf(part.module);
  const own = (part: AdapterPart): string =>
    isPlain(part, lora) ? "" : ` r ${part.r} scaling ${part.scaling} ${part.bias ? bytesHash(part.bias) : "no bias"}`;
  const lines = [...parts]
    .sort((one, other) => place(one) - place(other))
    .map((part) => `${part.layer} ${part.module} ${bytesHash(part.a)} ${bytesHash(part.b)}${own(part)}`);
  return sha256([`r ${lora.r} alpha ${lora.alpha}`, ...lines].join("\n"));
}

function bytesHash(values: Float32Array): string {
  return sha256(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

const isFile = (root: string, name: string): boolean => fs.existsSync(path.join(root, name));

function fileIn(root: string, name: string, remedy = ""): string {
  if (!isFile(root, name)) {
    const sentence = `Expected ${name} in adapter folder ${root} but there is none. ${remedy}`;
    throw new DataError("adapter-missing", sentence.trim());
  }
  return confinePath(root, name, name, { linksMayLeaveTo: [path.parse(root).root] }); // links: as in a checkpoint
}

/** The configuration's text; a folder of step folders says which there are. */
function configText(root: string): string {
  const inside = isFile(root, CONFIG) || !fs.existsSync(root) ? [] : fs.readdirSync(root);
  const steps = inside.filter((name) => isFile(path.join(root, name), CONFIG)).sort();
  const remedy =
    steps.length === 0 ? "" : `There are adapters in ${steps.slice(0, 8).join(", ")}: name one of these folders.`;
  return readText(fileIn(root, CONFIG, remedy));
}

function weightsFile(root: string): string {
  const others: [string, string][] = [
    [
      "adapter_model.bin",
      "adapter_model.bin is a pickle, which can run code: load it with PEFT and save it with safetensors.",
    ],
    ["adapters.safetensors", "adapters.safetensors is MLX's: convert the adapter to PEFT's format first."],
    ["adapter_model.safetensors.index.json", "It is split into shards: load it with PEFT and save it as one file."],
  ];
  return fileIn(root, WEIGHTS, others.find(([name]) => isFile(root, name))?.[1]);
}

function requiredText(root: string, name: string): string {
  return readText(fileIn(root, name));
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
  return `${root} names base model ${lora.baseModel} and is bound to ${base.name}; only their shapes were compared.`;
}
