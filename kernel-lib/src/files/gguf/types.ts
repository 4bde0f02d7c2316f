/**
 * Tensor types of GGUF files: how many values a block holds and how many bytes it takes.
 *
 * Every type that llama.cpp writes is listed, so that the layout of any file can be checked; which of them are read is the
 * business of whoever reads. Source: ggml's type traits table.
 */

/** One tensor type: name as llama.cpp prints it, in lower case. */
export interface GgufType {
  name: string;
  /** values per block */
  values: number;
  /** bytes per block */
  bytes: number;
}

const TYPES: Record<number, readonly [name: string, values: number, bytes: number]> = {
  0: ["f32", 1, 4],
  1: ["f16", 1, 2],
  2: ["q4_0", 32, 18],
  3: ["q4_1", 32, 20],
  6: ["q5_0", 32, 22],
  7: ["q5_1", 32, 24],
  8: ["q8_0", 32, 34],
  9: ["q8_1", 32, 40],
  10: ["q2_k", 256, 84],
  11: ["q3_k", 256, 110],
  12: ["q4_k", 256, 144],
  13: ["q5_k", 256, 176],
  14: ["q6_k", 256, 210],
  15: ["q8_k", 256, 292],
  16: ["iq2_xxs", 256, 66],
  17: ["iq2_xs", 256, 74],
  18: ["iq3_xxs", 256, 98],
  19: ["iq1_s", 256, 50],
  20: ["iq4_nl", 32, 18],
  21: ["iq3_s", 256, 110],
  22: ["iq2_s", 256, 82],
  23: ["iq4_xs", 256, 136],
  24: ["i8", 1, 1],
  25: ["i16", 1, 2],
  26: ["i32", 1, 4],
  27: ["i64", 1, 8],
  28: ["f64", 1, 8],
  29: ["iq1_m", 256, 56],
  30: ["bf16", 1, 2],
  34: ["tq1_0", 256, 54],
  35: ["tq2_0", 256, 66],
  39: ["mxfp4", 32, 17],
  40: ["nvfp4", 64, 36],
  41: ["q1_0", 128, 18],
};

/** The type with a file's number, or null for a number that no known version writes. */
export function ggufType(id: number): GgufType | null {
  const known = Object.hasOwn(TYPES, id) ? TYPES[id] : null;
  return known === null ? null : { name: known[0], values: known[1], bytes: known[2] };
}

/** The file's number of a type that is written here. */
export const GGUF_F32 = 0;

/** Kinds of metadata values, by the file's number. */
export const VALUE_KINDS = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const;
export type GgufValueKind = (typeof VALUE_KINDS)[number];

/** Bytes of a value of each kind; 0: it says its own length. */
export const VALUE_BYTES: Record<GgufValueKind, number> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 0,
  array: 0,
  u64: 8,
  i64: 8,
  f64: 8,
};
