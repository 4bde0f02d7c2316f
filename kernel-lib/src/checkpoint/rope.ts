/**
 * Rotary positions: what a config says of them, and the frequencies that follow.
 *
 * Plain positions turn pair i of a head by position * theta^(-2i/D). YaRN (Peng et al. 2023, arXiv 2309.00071) keeps the fast
 * pairs, divides the slow ones by `factor`, ramps between, and scales cosines and sines. Names and defaults are those of
 * transformers' modeling_rope_utils, arithmetic in f32 as there. A key whose meaning is not known is refused, never dropped.
 */
import { DataError, expected } from "../base";
import { booleanField, type Fields, isObject, positiveField, sizeField, unsupported } from "./fields";
import type { ModelConfig, RopeScaling } from "./types";

const DEFAULT_THETA = 10_000;
const COMMON_KEYS = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
const YARN_KEYS = [
  "factor",
  "original_max_position_embeddings",
  "attention_factor",
  "beta_fast",
  "beta_slow",
  "mscale",
  "mscale_all_dim",
  "truncate",
];

/** What the rotary fields of a config come to. */
export interface Rope {
  theta: number;
  scaling: RopeScaling | null;
}

/**
 * Reads `rope_theta`, `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5) of a config.
 * @param maxPositions max_position_embeddings, from which YaRN's original length is taken where none is given
 * @throws DataError "config-unsupported" for other kinds of scaling and unknown keys, "config-field" for values that disagree
 */
export function parseRope(fields: Fields, maxPositions: number, name: string): Rope {
  const { field, rope } = ropeObject(fields, name);
  const kind = agreed(name, "rope_type", { rope_type: rope.rope_type, type: rope.type }) ?? "default";
  const known = kind === "yarn" ? [...COMMON_KEYS, ...YARN_KEYS] : COMMON_KEYS;
  if (
    (kind !== "default" && kind !== "yarn") ||
    Object.keys(rope).some((key) => !known.includes(key) && (rope[key] ?? null) !== null)
  ) {
    unsupported(
      name,
      field,
      rope,
      "Rotary positions are supported with rope_type default and yarn, and their own keys.",
    );
  }
  for (const [where, holder] of [
    ["", fields],
    [`${field}.`, rope],
  ] as const) {
    const part = holder.partial_rotary_factor ?? 1;
    if (part !== 1) unsupported(name, `${where}partial_rotary_factor`, part, "Only fully rotated heads are supported.");
  }
  const theta = agreed(name, "rope_theta", { "the top level": fields.rope_theta, [field]: rope.rope_theta });
  return {
    theta: positiveField(theta ?? DEFAULT_THETA, "rope_theta", name),
    scaling: kind === "yarn" ? readYarn(fields, rope, maxPositions, `${field} of ${name}`) : null,
  };
}

/** The object that holds the rotary parameters; {} where there is none. */
function ropeObject(fields: Fields, name: string): { field: string; rope: Fields } {
  const found: { field: string; rope: Fields }[] = [];
  for (const field of ["rope_scaling", "rope_parameters"] as const) {
    const rope = fields[field] ?? null;
    if (rope === null) continue;
    if (!isObject(rope)) unsupported(name, field, rope, "Expected an object with rope_type.");
    if (Object.keys(rope).length > 0) found.push({ field, rope });
  }
  if (found.length === 2 && JSON.stringify(found[0].rope) !== JSON.stringify(found[1].rope)) {
    throw new DataError(
      "config-field",
      expected(
        "rope_scaling and rope_parameters that say the same",
        name,
        JSON.stringify(found.map(({ rope }) => rope)),
      ),
    );
  }
  return found[0] ?? { field: "rope_parameters", rope: {} };
}

/** The one value that all places give which give any. */
function agreed(name: string, field: string, places: Record<string, unknown>): unknown {
  const given = Object.entries(places).filter(([, value]) => (value ?? null) !== null);
  if (given.some(([, value]) => value !== given[0][1])) {
    const shown = given.map(([place, value]) => `${String(value)} (${place})`).join(" and ");
    throw new DataError(
      "config-field",
      `Expected one ${field} in ${name} but received ${shown}. Keep the one that is meant.`,
    );
  }
  return given[0]?.[1];
}

function readYarn(fields: Fields, rope: Fields, maxPositions: number, name: string): RopeScaling {
  const original = agreed(name, "original_max_position_embeddings", {
    "the top level": fields.original_max_position_embeddings,
    "its own": rope.original_max_position_embeddings,
  });
  const length = "original_max_position_embeddings";
  const originalLength = sizeField({ [length]: original ?? maxPositions }, length, name, null);
  const optional = (key: string): number | null =>
    (rope[key] ?? null) === null ? null : positiveField(rope[key], key, name);
  const factor = optional("factor") ?? maxPositions / originalLength;
  return {
    rope_type: "yarn",
    factor,
    original_max_position_embeddings: originalLength,
    attention_factor:
      optional("attention_factor") ?? attentionFactor(factor, optional("mscale"), optional("mscale_all_dim")),
    beta_fast: optional("beta_fast") ?? 32,
    beta_slow: optional("beta_slow") ?? 1,
    truncate: booleanField(rope, "truncate", name, true),
  };
}

/** The paper's temperature, 0.1 ln(factor) + 1; with both mscales the ratio that DeepSeek's configs mean. */
export function attentionFactor(factor: number, mscale: number | null = null, mscaleAll: number | null = null): number {
  const scale = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  return mscale !== null && mscaleAll !== null ? scale(mscale) / scale(mscaleAll) : scale(1);
}

/**
 * Angular frequency of each pair of a head, and the factor on cosines and sines.
 * @returns frequencies (D / 2) in radians per position, f32; scale 1 for plain positions
 * @example
 * rotaryFrequencies(config).frequencies[0]; // 1: the fastest pair turns one radian a position
 */
export function rotaryFrequencies(config: ModelConfig): { frequencies: Float32Array; scale: number } {
  const { head_dim: D, rope_theta: theta, rope_scaling: yarn } = config;
  const f = Math.fround;
  const period = (i: number): number => f(theta ** f((2 * i) / D));
  if (yarn === undefined)
    return { frequencies: Float32Array.from({ length: D / 2 }, (_, i) => 1 / period(i)), scale: 1 };
  const [low, high] = rampOf(yarn, D, theta);
  const frequencies = Float32Array.from({ length: D / 2 }, (_, i) => {
    const ramp = f(f(i - f(low)) / f(high - low));
    const kept = f(1 - Math.min(Math.max(ramp, 0), 1));
    const slow = f(1 / f(f(yarn.factor) * period(i)));
    return f(f(slow * f(1 - kept)) + f(f(1 / period(i)) * kept));
  });
  return { frequencies, scale: yarn.attention_factor };
}

/** Pairs between which the ramp runs: those that turn beta_fast and beta_slow times within the original length. */
function rampOf(yarn: RopeScaling, D: number, theta: number): [low: number, high: number] {
  const pairTurning = (turns: number): number =>
    (D * Math.log(yarn.original_max_position_embeddings / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [pairTurning(yarn.beta_fast), pairTurning(yarn.beta_slow)];
  const low = Math.max(yarn.truncate ? Math.floor(first) : first, 0);
  const high = Math.min(yarn.truncate ? Math.ceil(last) : last, D - 1);
  return [low, low === high ? high + 0.001 : high];
}
