/**
 * adapter_config.json of a PEFT LoRA adapter: read as PEFT reads it, with what cannot be computed here refused by name, and written.
 *
 * The question asked of every field is whether it changes what the finished adapter computes, y = W x + scaling (B A x + bias).
 * Fields that do not are free, fields that choose modules, ranks and scalings are followed, and the rest (DoRA, tokens, replicated layers), or a
 * field unknown here that asks for anything at all, is an error. Source: the field list of peft.LoraConfig (0.21).
 */
import { DataError, expected } from "../base";
import { parseJsonStrict } from "../files";
import { type ConfigFields, targetedModules } from "./adapter-targets";
import { type Projection, PROJECTIONS } from "./types";

/** What a LoRA adapter's configuration says of all its modules; single ones may have another r and alpha. */
export interface LoraConfig {
  r: number;
  alpha: number;
  /** probability during training, 0 <= dropout <= 1 */
  dropout: number;
  /** in the fixed order of `PROJECTIONS`; each is adapted in one layer at least */
  targets: Projection[];
  /** base_model_name_or_path, or null if the file does not say */
  baseModel: string | null;
}

/** A module that the configuration adapts. */
export interface AdaptedModule {
  layer: number;
  module: Projection;
  r: number;
  /** alpha / r, or alpha / sqrt(r) in rsLoRA */
  scaling: number;
}

/** An adapter_config.json, held against a base model. */
export interface AdapterConfig {
  lora: LoraConfig;
  /** by layer, then in the order of `PROJECTIONS` */
  modules: AdaptedModule[];
  /** lora_bias: B has a bias, y = W x + scaling (B A x + bias) */
  bias: boolean;
  /** modules_to_save: the file holds these whole, and they must be the base's own */
  savedModules: string[];
  /** sentences for the user; [] if all is plain */
  notes: string[];
}

/** Largest rank that is read or written. */
export const MAX_RANK = 4096;

/** Fields that do not change what a finished adapter computes, whatever they say. `bias` speaks of tensors, which are looked at. */
const FREE = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "bias",
  "corda_config",
  "ensure_weight_tying", // reaches embeddings and head only
  "eva_config",
  "fan_in_fan_out", // PEFT sets it to false for torch.nn.Linear
  "inference_mode",
  "loftq_config",
  "lora_ga_config",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
  "task_type",
]);

/** Fields that are read below or in `targetedModules`. */
const READ = new Set([
  "alpha_pattern",
  "exclude_modules",
  "init_lora_weights",
  "layers_pattern",
  "layers_to_transform",
  "lora_alpha",
  "lora_bias",
  "lora_dropout",
  "modules_to_save",
  "peft_type",
  "r",
  "rank_pattern",
  "target_modules",
  "use_rslora",
]);

/** Starts of a training that a finished adapter does not remember; text in any case, as in PEFT. */
const PLAIN_INITS = new Set<unknown>([true, false, "gaussian", "eva", "orthogonal", "mica", "lora_ga"]);
/** Starts that take A B out of the base's own weights; PEFT repeats that when it loads the adapter. */
const BASE_CHANGING_INIT = /^(pissa(_niter_\d+)?|olora|corda|loftq)$/;
/** Modules that an adapter may store whole. */
const SAVED_MODULES = ["embed_tokens", "lm_head"];

function isEmpty(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

/** Other tools' files of the same name, by a field that only they have. */
const OTHER_FORMATS: readonly [field: string, format: string, remedy: string][] = [
  [
    "fine_tune_type",
    "MLX (mlx-lm)",
    "Its matrices are transposed and named otherwise: convert it to PEFT's format first.",
  ],
  [
    "lora_parameters",
    "MLX (mlx-lm)",
    "Its matrices are transposed and named otherwise: convert it to PEFT's format first.",
  ],
  ["adapter_type", "LLaMA-Adapter or a tool other than PEFT", "Convert it to PEFT's format first."],
];

function refuseOtherFormats(fields: ConfigFields, name: string): void {
  if (fields.peft_type !== undefined) return;
  const other = OTHER_FORMATS.find(([field]) => fields[field] !== undefined);
  const [, format, remedy] = other ?? ["", "no format known here", "PEFT's files say peft_type: LORA."];
  throw new DataError(
    "adapter-format",
    `Expected PEFT's configuration in ${name} but it is that of ${format}. ${remedy}`,
  );
}

function refuse(fields: ConfigFields, field: string, name: string, remedy = "This variant is not supported."): never {
  const value = (JSON.stringify(fields[field]) ?? "nothing").slice(0, 80);
  throw new DataError("adapter-unsupported", `Expected LoRA in ${name} but received ${field}: ${value}. ${remedy}`);
}

function refuseVariants(fields: ConfigFields, name: string): void {
  if (fields.peft_type !== "LORA") refuse(fields, "peft_type", name);
  const init = fields.init_lora_weights ?? true;
  const word = typeof init === "string" ? init.toLowerCase() : init;
  if (typeof word === "string" && BASE_CHANGING_INIT.test(word))
    refuse(
      fields,
      "init_lora_weights",
      name,
      "It takes a part out of the base's weights; save it with path_initial_model_for_weight_conversion, which makes it plain LoRA.",
    );
  if (!PLAIN_INITS.has(word)) refuse(fields, "init_lora_weights", name);
  for (const field of Object.keys(fields)) {
    if (!FREE.has(field) && !READ.has(field) && !isEmpty(fields[field])) refuse(fields, field, name);
  }
}

function savedModules(fields: ConfigFields, name: string): string[] {
  const value = fields.modules_to_save ?? [];
  const known = (entry: unknown): boolean => SAVED_MODULES.includes(String(entry).split(".").pop() as string);
  if (!Array.isArray(value) || !value.every(known)) return refuse(fields, "modules_to_save", name);
  return (value as string[]).map((entry) => entry.split(".").pop() as string);
}

/** Sentences about fields that are taken as PEFT takes them, which may not be what was meant. */
function notesOn(fields: ConfigFields, name: string): string[] {
  if (fields.init_lora_weights !== "lora_ga") return [];
  return [
    `${name} says init_lora_weights lora_ga: training changed the base's weights, and PEFT, like this reader, binds the adapter to unchanged ones.`,
  ];
}

/**
 * Reads the text of an adapter_config.json.
 *
 * @param name path, for error sentences
 * @param layers of the base model
 * @throws DataError "adapter-format" naming another tool's; "adapter-unsupported" naming the field; "adapter-field" for a missing
 *   or impossible value; "adapter-pattern"; "json-syntax", "json-duplicate-key"
 */
export function parseAdapterConfig(text: string, layers: number, name = "adapter_config.json"): AdapterConfig {
  const fields = parseJsonStrict(text, name) as ConfigFields;
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new DataError("adapter-field", expected("a JSON object", name, text.slice(0, 40)));
  }
  refuseOtherFormats(fields, name);
  refuseVariants(fields, name);
  const { r, lora_alpha: alpha, use_rslora: rsLora, base_model_name_or_path: baseModel } = fields;
  const dropout = fields.lora_dropout ?? 0;
  const fail = (what: string, field: string, value: unknown): never => {
    throw new DataError("adapter-field", expected(what, `${field} in ${name}`, JSON.stringify(value) ?? "nothing"));
  };
  const isRank = (value: unknown): value is number =>
    Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_RANK;
  if (!isRank(r)) return fail(`an integer 1..${MAX_RANK}`, "r", r);
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) return fail("a number", "lora_alpha", alpha);
  if (typeof dropout !== "number" || !(dropout >= 0 && dropout <= 1))
    return fail("0 <= lora_dropout <= 1", "lora_dropout", dropout);
  for (const field of ["use_rslora", "lora_bias"])
    if (typeof (fields[field] ?? false) !== "boolean") fail("true or false", field, fields[field]);
  const targeted = targetedModules(fields, layers, { r, alpha, isRank }, name);
  const modules = targeted.map(({ layer, module, r: own, alpha: ownAlpha }) => ({
    layer,
    module,
    r: own,
    scaling: ownAlpha / (rsLora === true ? Math.sqrt(own) : own),
  }));
  const present = new Set(modules.map(({ module }) => module));
  return {
    lora: {
      r,
      alpha,
      dropout,
      targets: PROJECTIONS.filter((module) => present.has(module)),
      baseModel: typeof baseModel === "string" && baseModel !== "" ? baseModel : null,
    },
    modules,
    bias: fields.lora_bias === true,
    savedModules: savedModules(fields, name),
    notes: notesOn(fields, name),
  };
}

/** The JSON value that PEFT reads back as this configuration, with every target in every layer. */
export function loraConfigJson(config: LoraConfig): Record<string, unknown> {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: config.baseModel,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: config.r,
    rank_pattern: {},
    revision: null,
    target_modules: config.targets,
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: false,
  };
}
