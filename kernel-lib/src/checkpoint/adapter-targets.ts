/**
 * Which modules a LoRA configuration adapts, with the rank and alpha of each, by PEFT's own rules.
 *
 * target_modules, exclude_modules, layers_to_transform and layers_pattern choose modules by name; rank_pattern and alpha_pattern
 * then give some of them another r or alpha. Lists hold ends of names, strings are regular expressions.
 * Source: peft 0.21, tuners_utils.check_target_module_exists, utils.get_pattern_key, LoraModel._create_and_replace.
 */
import { DataError, expected } from "../base";
import { moduleName } from "./projections";
import { pythonMatches } from "./python-pattern";
import { type Projection, PROJECTIONS } from "./types";

/** One module of the base model and what the configuration gives it. */
export interface TargetedModule {
  layer: number;
  module: Projection;
  /** as in `moduleName` */
  name: string;
  r: number;
  alpha: number;
}

/** The JSON value of an adapter_config.json. */
export type ConfigFields = Record<string, unknown>;

/** PEFT's choice for a Qwen2 model where target_modules is null. */
const DEFAULT_TARGETS = ["q_proj", "v_proj"];

/** What else of the base model a name can reach: PEFT adapts the first two and refuses the rest; nothing here adapts any. */
function otherModules(layers: number): string[] {
  const inBlocks = ["input_layernorm", "post_attention_layernorm", "self_attn", "mlp", "mlp.act_fn"];
  const blocks = Array.from({ length: layers }, (_, layer) => `model.layers.${layer}`);
  const parts = blocks.flatMap((block) => [block, ...inBlocks.map((part) => `${block}.${part}`)]);
  return ["lm_head", "model.embed_tokens", "model", "model.layers", "model.norm", "model.rotary_emb", ...parts];
}

function fail(what: string, field: string, value: unknown, file: string): never {
  const shown = JSON.stringify(value) ?? "nothing";
  throw new DataError("adapter-field", expected(what, `${field} in ${file}`, shown.slice(0, 200)));
}

/** A list of texts, a pattern, or null where the field asks for nothing. */
function namesOf(fields: ConfigFields, field: string, file: string): string[] | string | null {
  const value = fields[field] ?? null;
  if (value === null || value === "" || typeof value === "string") return value === "" ? null : value;
  const good = Array.isArray(value) && value.every((entry) => typeof entry === "string" && entry !== "");
  if (!good) return fail("a list of module names, or a pattern", field, value, file);
  return value.length === 0 ? null : (value as string[]);
}

/** Whether each name is meant: equal to an entry, or ending with "." and the entry. */
function chosen(choice: string[] | string, names: readonly string[], field: string): boolean[] {
  if (typeof choice === "string") return pythonMatches(choice, names, field);
  return names.map((name) => choice.some((entry) => `.${name}`.endsWith(`.${entry}`)));
}

/** The layers that layers_to_transform leaves, by name; null if it leaves all. */
function layersLeft(fields: ConfigFields, names: readonly string[], file: string): boolean[] | null {
  const value = fields.layers_to_transform ?? null;
  const patterns = namesOf(fields, "layers_pattern", file);
  if (value === null) {
    if (patterns !== null) fail("layers_to_transform beside it", "layers_pattern", patterns, file);
    return null;
  }
  const wanted = Array.isArray(value) ? (value as unknown[]) : [value];
  if (!wanted.every((layer) => Number.isInteger(layer)))
    fail("a layer or a list of layers", "layers_to_transform", value, file);
  if (typeof (fields.target_modules ?? []) === "string")
    fail("null beside a pattern in target_modules (as in PEFT)", "layers_to_transform", value, file);
  if (wanted.length === 0) return null;
  const field = `layers_pattern in ${file}`;
  const found = [patterns ?? ["[^.]*"]]
    .flat()
    .map((pattern) => pythonMatches(pattern, names, field, String.raw`(?:.*?\.)?%\.\d+\..*`));
  return names.map((name, i) => {
    const layer = /\.(\d+)\./.exec(name);
    return layer !== null && found.some((matches) => matches[i]) && wanted.includes(Number(layer[1]));
  });
}

/** The first pattern that each name matches gives its value; else `otherwise`. */
function patternValues(
  fields: ConfigFields,
  field: string,
  names: readonly string[],
  otherwise: number,
  good: (value: unknown) => boolean,
  file: string,
): number[] {
  const patterns = (fields[field] ?? {}) as unknown;
  const isMap = typeof patterns === "object" && patterns !== null && !Array.isArray(patterns);
  if (!isMap || !Object.values(patterns).every(good))
    fail("an object of numbers by module name", field, patterns, file);
  const out = names.map((): number | null => null);
  for (const [pattern, value] of Object.entries(patterns as Record<string, number>)) {
    const matches = pythonMatches(pattern, names, `${field} in ${file}`, String.raw`(?:.*\.)?(?:%)`);
    for (const [i, match] of matches.entries()) if (match) out[i] ??= value;
  }
  return out.map((value) => value ?? otherwise);
}

/**
 * The modules that a configuration adapts, by layer, then in the order of `PROJECTIONS`.
 *
 * @param layers of the base model
 * @param given r and alpha where no pattern gives another
 * @throws DataError "adapter-field", "adapter-pattern"; "adapter-unsupported" if it reaches beyond the blocks' linear maps
 */
export function targetedModules(
  fields: ConfigFields,
  layers: number,
  given: { r: number; alpha: number; isRank: (value: unknown) => boolean },
  file: string,
): TargetedModule[] {
  const linear = Array.from({ length: layers }, (_, layer) => layer).flatMap((layer) =>
    PROJECTIONS.map((module) => ({ layer, module, name: moduleName(layer, module) })),
  );
  const all = fields.target_modules === "all-linear";
  const names = [...linear.map(({ name }) => name), ...(all ? [] : otherModules(layers))];
  const wanted = all
    ? [...PROJECTIONS]
    : (fields.target_modules ?? null) === null
      ? DEFAULT_TARGETS
      : namesOf(fields, "target_modules", file);
  const none = "a list of module names of the base model, or a pattern that matches some";
  if (wanted === null) return fail(none, "target_modules", fields.target_modules, file);
  const meant = chosen(wanted, names, `target_modules in ${file}`);
  const excluded = namesOf(fields, "exclude_modules", file);
  const out = excluded === null ? null : chosen(excluded, names, `exclude_modules in ${file}`);
  const left = layersLeft(fields, names, file);
  const taken = names.map((_, i) => meant[i] && !(out?.[i] ?? false) && (left?.[i] ?? true));
  const beyond = names.find((_, i) => taken[i] && i >= linear.length);
  if (beyond !== undefined)
    throw new DataError(
      "adapter-unsupported",
      `Expected adapters on ${PROJECTIONS.join(", ")} in ${file} but target_modules also reaches ${beyond}. LoRA on it is not supported.`,
    );
  const places = linear.filter((_, i) => taken[i]);
  if (places.length === 0) return fail(none, "target_modules", fields.target_modules, file);
  const own = places.map(({ name }) => name);
  const ranks = patternValues(fields, "rank_pattern", own, given.r, given.isRank, file);
  const alphas = patternValues(fields, "alpha_pattern", own, given.alpha, Number.isFinite, file);
  return places.map((place, i) => ({ ...place, r: ranks[i], alpha: alphas[i] }));
}
