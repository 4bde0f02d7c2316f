/**
 * Element types of safetensors files: their sizes, and their values as 32-bit floats and back.
 *
 * bf16 is the upper half of an f32; f16 is IEEE 754 binary16 with subnormals. Encoding rounds to nearest, ties to even, as
 * torch does; values beyond f16's range become infinite. Little-endian on disk, whatever the machine.
 */
import { expected, InputError } from "../../base";

/** Element types that are read; the names of the file format. */
export type SafetensorsDType =
  | "BOOL"
  | "U8"
  | "I8"
  | "F8_E5M2"
  | "F8_E4M3"
  | "I16"
  | "U16"
  | "F16"
  | "BF16"
  | "I32"
  | "U32"
  | "F32"
  | "F64"
  | "I64"
  | "U64";

/** Bytes per element, in the order in which the reference writer ranks element types. */
const BYTES: Record<SafetensorsDType, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
};

const LITTLE_ENDIAN_HOST = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** Bytes of one element, or null for a name that is not an element type read here. */
export function elementBytes(dtype: string): number | null {
  return Object.hasOwn(BYTES, dtype) ? BYTES[dtype as SafetensorsDType] : null;
}

/** Names of all element types that are read, narrow ones first, in the reference writer's rank. */
export function elementTypes(): SafetensorsDType[] {
  return Object.keys(BYTES) as SafetensorsDType[];
}

const word = new DataView(new ArrayBuffer(4));

function bitsToFloat(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}

function floatToBits(value: number): number {
  word.setFloat32(0, value);
  return word.getUint32(0);
}

/** Value of a binary16 bit pattern. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Binary16 bit pattern nearest to `value`, ties to even. */
export function floatToHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00; // halfway from 65504, the largest, to the next step
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.max(size, 2 ** -30))));
  const unit = 2 ** (exponent - 10);
  const steps = roundEven(size / unit);
  // steps = 1024..2048 for normal numbers; a carry to 2048, or log2 rounding, flows into the exponent field by addition.
  return sign | (((exponent + 14) << 10) + steps);
}

function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest > 0.5 || (rest === 0.5 && low % 2 === 1)) return low + 1;
  return low;
}

/** Value of a bfloat16 bit pattern. */
export function bfloatToFloat(bits: number): number {
  return bitsToFloat((bits << 16) >>> 0);
}

/** bfloat16 bit pattern nearest to the 32-bit float `value`, ties to even; NaN stays a quiet NaN. */
export function floatToBfloat(value: number): number {
  const bits = floatToBits(value);
  if (Number.isNaN(value)) return 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) / 65536) & 0xffff;
}

/** Value of an 8-bit float with 4 exponent bits (no infinity, one NaN pattern) or 5 exponent bits (IEEE-like). */
function byteToFloat(bits: number, exponentBits: 4 | 5): number {
  const fractionBits = 7 - exponentBits;
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits & 0x7f) >>> fractionBits;
  const fraction = bits & ((1 << fractionBits) - 1);
  const bias = exponentBits === 4 ? 7 : 15;
  if (exponentBits === 4 && (bits & 0x7f) === 0x7f) return Number.NaN;
  if (exponentBits === 5 && exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias - fractionBits);
  return sign * (1 + fraction / (1 << fractionBits)) * 2 ** (exponent - bias);
}

type ReadElement = (view: DataView, at: number) => number;

const READERS: Record<SafetensorsDType, ReadElement> = {
  BOOL: (view, at) => (view.getUint8(at) === 0 ? 0 : 1),
  U8: (view, at) => view.getUint8(at),
  I8: (view, at) => view.getInt8(at),
  F8_E4M3: (view, at) => byteToFloat(view.getUint8(at), 4),
  F8_E5M2: (view, at) => byteToFloat(view.getUint8(at), 5),
  U16: (view, at) => view.getUint16(at, true),
  I16: (view, at) => view.getInt16(at, true),
  F16: (view, at) => halfToFloat(view.getUint16(at, true)),
  BF16: (view, at) => bfloatToFloat(view.getUint16(at, true)),
  U32: (view, at) => view.getUint32(at, true),
  I32: (view, at) => view.getInt32(at, true),
  F32: (view, at) => view.getFloat32(at, true),
  U64: (view, at) => Number(view.getBigUint64(at, true)),
  I64: (view, at) => Number(view.getBigInt64(at, true)),
  F64: (view, at) => view.getFloat64(at, true),
};

/**
 * Decodes little-endian bytes into 32-bit floats, each the nearest to the stored value (f64 and large integers lose digits).
 *
 * @param bytes whole elements
 * @param out receives bytes.length / elementBytes(dtype) values from `outStart`
 */
export function decodeFloat32(bytes: Uint8Array, dtype: SafetensorsDType, out: Float32Array, outStart = 0): void {
  if (dtype === "F32" && LITTLE_ENDIAN_HOST) {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes, outStart * 4);
    return;
  }
  const size = BYTES[dtype];
  const read = READERS[dtype];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.byteLength / size;
  for (let i = 0; i < count; i++) out[outStart + i] = read(view, i * size);
}

/**
 * Encodes values [start, end) as little-endian bytes of `dtype`, rounding to nearest even.
 *
 * @returns new bytes, or a view of `values` where they already have that form
 * @throws InputError "dtype-write" for element types that are only read
 */
export function encodeElements(
  values: ArrayLike<number>,
  start: number,
  end: number,
  dtype: SafetensorsDType,
): Uint8Array {
  const size = BYTES[dtype];
  const asIs =
    (values instanceof Float32Array && dtype === "F32") || (values instanceof Float64Array && dtype === "F64");
  if (asIs && LITTLE_ENDIAN_HOST)
    return new Uint8Array(values.buffer, values.byteOffset + start * size, (end - start) * size);
  const bytes = new Uint8Array((end - start) * size);
  const view = new DataView(bytes.buffer);
  const write = writerOf(dtype, view);
  for (let i = start; i < end; i++) write((i - start) * size, values[i]);
  return bytes;
}

function writerOf(dtype: SafetensorsDType, view: DataView): (at: number, value: number) => void {
  switch (dtype) {
    case "F32":
      return (at, value) => view.setFloat32(at, value, true);
    case "F64":
      return (at, value) => view.setFloat64(at, value, true);
    case "BF16":
      return (at, value) => view.setUint16(at, floatToBfloat(value), true);
    case "F16":
      return (at, value) => view.setUint16(at, floatToHalf(value), true);
    case "I32":
      return (at, value) => view.setInt32(at, value, true);
    case "I64":
      return (at, value) => view.setBigInt64(at, BigInt(value), true);
    case "U8":
      return (at, value) => view.setUint8(at, value);
    default:
      throw new InputError("dtype-write", expected("F64, F32, F16, BF16, I64, I32 or U8", "dtype to write", dtype));
  }
}
