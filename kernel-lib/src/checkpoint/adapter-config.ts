/**
 * adapter_config.json of a PEFT LoRA adapter: read with every variant that is not supported refused by name, and written.
 *
 * Plain LoRA only: y = W x + (alpha / r) B A x. rsLoRA, DoRA, biases, saved modules, per-module ranks and the like change
 * the numbers, so a field that asks for them, or a field unknown here that asks for anything at all, is an error.
 * Source: the field list of peft.LoraConfig (0.21).
 */
import { DataError, expected } from "../base";
import { parseJsonStrict } from "../files";
import type { Projection } from "./types";

/** What a plain LoRA adapter's configuration says. */
export interface LoraConfig {
  r: number;
  alpha: number;
  /** probability during training, 0 <= dropout < 1 */
  dropout: number;
  /** in the fixed order of `PROJECTIONS` */
  targets: Projection[];
  /** base_model_name_or_path, or null if the file does not say */
  baseModel: string | null;
}

/** Every linear map of a block that LoRA may adapt, in block order. */
export const PROJECTIONS: readonly Projection[] = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
];

/** Largest rank that is read or written. */
export const MAX_RANK = 512;

/** Fields that do not change what a finished adapter computes; any value is fine. */
const FREE = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "lora_alpha",
  "lora_dropout",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "r",
  "revision",
  "runtime_config",
  "target_modules",
  "task_type",
]);

/** Initialisations that leave the base weights alone; others (pissa, olora, loftq, corda) subtract from them. */
const PLAIN_INITS: readonly unknown[] = [true, false, "gaussian", "eva", "orthogonal"];

type Fields = Record<string, unknown>;

function isEmpty(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

function refuseVariants(fields: Fields, name: string): void {
  const refuse = (field: string): never => {
    throw new DataError(
      "adapter-unsupported",
      `Expected plain LoRA in ${name} but received ${field}: ${(JSON.stringify(fields[field]) ?? "nothing").slice(0, 80)}. This variant is not supported.`,
    );
  };
  if (fields.peft_type !== "LORA") refuse("peft_type");
  if ((fields.bias ?? "none") !== "none") refuse("bias");
  if (!PLAIN_INITS.includes(fields.init_lora_weights ?? true)) refuse("init_lora_weights");
  const checked = new Set(["peft_type", "bias", "init_lora_weights"]);
  for (const field of Object.keys(fields)) {
    if (!FREE.has(field) && !checked.has(field) && !isEmpty(fields[field])) refuse(field);
  }
}

/** What target_modules is held against. */
export interface AdaptedModules {
  layers: number;
  /** projections that have a tensor in the adapter's file */
  present(): Projection[];
}

/** PEFT's name of a linear map within the base model. */
export function moduleName(layer: number, projection: Projection): string {
  const block = ["gate_proj", "up_proj", "down_proj"].includes(projection) ? "mlp" : "self_attn";
  return `model.layers.${layer}.${block}.${projection}`;
}

/**
 * target_modules as projections, or what was expected. Entries of a list are ends of module names, as in PEFT. A pattern is
 * not run (it comes from outside and Python's differ): the tensors say what it matched, in every layer or the file is refused.
 */
function targetsOf(value: unknown, base: AdaptedModules): Projection[] | string {
  const what = `a list of ${PROJECTIONS.join(", ")}`;
  if (value === "all-linear") return [...PROJECTIONS];
  if (typeof value === "string") {
    const present = value === "" ? [] : base.present();
    return present.length > 0 ? present : `${what}, or a pattern with tensors beside it`;
  }
  if (!Array.isArray(value) || value.length === 0) return what;
  const layers = Array.from({ length: base.layers }, (_, layer) => layer);
  const meant = new Map(PROJECTIONS.map((projection) => [projection, new Set<number>()]));
  for (const entry of value as unknown[]) {
    let known = false;
    for (const layer of layers) {
      for (const projection of PROJECTIONS) {
        if (!`.${moduleName(layer, projection)}`.endsWith(`.${String(entry)}`)) continue;
        meant.get(projection)?.add(layer);
        known = true;
      }
    }
    if (!known || typeof entry !== "string" || entry === "") return what;
  }
  const targets = PROJECTIONS.filter((projection) => (meant.get(projection)?.size ?? 0) > 0);
  const whole = targets.every((projection) => meant.get(projection)?.size === base.layers);
  return whole ? targets : `the same modules in all ${base.layers} layers`;
}

/**
 * Reads the text of an adapter_config.json.
 *
 * @param name path, for error sentences
 * @param base the model's layers, and what the adapter's tensors belong to: only a pattern in target_modules asks
 * @throws DataError "adapter-unsupported" naming the field; "adapter-field" for a missing or impossible value;
 *   "json-syntax", "json-duplicate-key"
 */
export function parseLoraConfig(
  text: string,
  name = "adapter_config.json",
  base: AdaptedModules = { layers: 1, present: () => [] },
): LoraConfig {
  const fields = parseJsonStrict(text, name) as Fields;
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new DataError("adapter-field", expected("a JSON object", name, text.slice(0, 40)));
  }
  refuseVariants(fields, name);
  const { r, lora_alpha: alpha, target_modules: targets, base_model_name_or_path: baseModel } = fields;
  const dropout = fields.lora_dropout ?? 0;
  const fail = (what: string, field: string, value: unknown): never => {
    throw new DataError("adapter-field", expected(what, `${field} in ${name}`, JSON.stringify(value) ?? "nothing"));
  };
  if (typeof r !== "number" || !Number.isInteger(r) || r < 1 || r > MAX_RANK)
    return fail(`an integer 1..${MAX_RANK}`, "r", r);
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) return fail("a number", "lora_alpha", alpha);
  if (typeof dropout !== "number" || !(dropout >= 0 && dropout < 1))
    return fail("0 <= lora_dropout < 1", "lora_dropout", dropout);
  const modules = targetsOf(targets, base);
  if (typeof modules === "string") return fail(modules, "target_modules", targets);
  return {
    r,
    alpha,
    dropout,
    targets: modules,
    baseModel: typeof baseModel === "string" && baseModel !== "" ? baseModel : null,
  };
}

/** The JSON value that PEFT reads back as this configuration. */
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
