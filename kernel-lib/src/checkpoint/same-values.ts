/** Whether two tensors on disk hold the same numbers, whatever their float types; a few MiB of memory, whatever their size. */
import * as fs from "node:fs";
import { decodeFloat32, elementBytes, type SafetensorsDType, type SafetensorsEntry } from "../files";
import type { TensorLocation } from "./types";

const PIECE_ELEMENTS = 1 << 20;

/** Elements [from, to) as 32-bit floats. */
async function piece(
  handle: fs.promises.FileHandle,
  at: number,
  dtype: SafetensorsDType,
  from: number,
  to: number,
): Promise<Float32Array | null> {
  const size = elementBytes(dtype) as number;
  const bytes = Buffer.alloc((to - from) * size);
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, at + from * size);
  if (bytesRead !== bytes.length) return null;
  const values = new Float32Array(to - from);
  decodeFloat32(bytes, dtype, values);
  return values;
}

/**
 * True if both tensors have the same shape and, as 32-bit floats, the same values. A type that is not a float type here
 * (quantised blocks) equals nothing.
 */
export async function sameValues(
  one: { file: string; entry: SafetensorsEntry },
  other: TensorLocation,
): Promise<boolean> {
  const { shape, byteOffset } = one.entry;
  const otherType = other.dtype.toUpperCase() as SafetensorsDType;
  const floats = (dtype: string): boolean => ["F64", "F32", "BF16", "F16"].includes(dtype);
  if (shape.join() !== other.shape.join() || !floats(one.entry.dtype) || !floats(otherType)) return false;
  const count = shape.reduce((product, size) => product * size, 1);
  const handles = [await fs.promises.open(one.file, "r"), await fs.promises.open(other.file, "r")];
  try {
    for (let from = 0; from < count; from += PIECE_ELEMENTS) {
      const to = Math.min(count, from + PIECE_ELEMENTS);
      const a = await piece(handles[0], byteOffset, one.entry.dtype, from, to);
      const b = await piece(handles[1], other.byteOffset, otherType, from, to);
      if (a === null || b === null) return false;
      for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
    }
    return true;
  } finally {
    for (const handle of handles) await handle.close();
  }
}
