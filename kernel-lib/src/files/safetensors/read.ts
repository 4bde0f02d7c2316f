/**
 * Tensor data of a checked safetensors file, read by byte range in pieces of 4 MiB and given as 32-bit floats.
 *
 * The big weights never pass here (the engine maps them); this serves adapters, steering vectors, goldens and checks.
 */
import * as fs from "node:fs";
import { DataError, expected, InputError } from "../../base";
import { decodeFloat32, elementBytes } from "./element";
import type { SafetensorsEntry, SafetensorsTable } from "./header";

const PIECE_BYTES = 4 << 20; // a multiple of every element size

/**
 * Calls `onPiece` with successive bytes of a tensor; the buffer is reused, so copy what must stay.
 *
 * @param start first byte within the tensor, default 0
 * @param end byte after the last, default its length
 */
export async function streamTensorBytes(
  file: string,
  entry: SafetensorsEntry,
  onPiece: (bytes: Uint8Array, offset: number) => void,
  start = 0,
  end: number = entry.byteLength,
): Promise<void> {
  const handle = await fs.promises.open(file, "r");
  try {
    const piece = Buffer.alloc(Math.min(PIECE_BYTES, Math.max(end - start, 0)));
    for (let at = start; at < end; ) {
      const wanted = Math.min(piece.length, end - at);
      for (let done = 0; done < wanted; ) {
        const { bytesRead } = await handle.read(piece, done, wanted - done, entry.byteOffset + at + done);
        if (bytesRead === 0) {
          throw new DataError(
            "safetensors-layout",
            `Expected all bytes of ${JSON.stringify(entry.name)} in ${file} but the file became shorter.`,
          );
        }
        done += bytesRead;
      }
      onPiece(piece.subarray(0, wanted), at);
      at += wanted;
    }
  } finally {
    await handle.close();
  }
}

/**
 * A tensor's values as 32-bit floats, row-major; rows [rowStart, rowEnd) of the first dimension if given.
 *
 * @param table from `readSafetensorsHeader`
 * @param name tensor name
 * @param rows half-open range of the first dimension; default all
 * @returns a new Float32Array; f64 and integers beyond 2^24 are rounded to the nearest float
 * @throws DataError "tensor-missing"; InputError "row-range"
 *
 * @example
 * const table = readSafetensorsHeader("vectors.safetensors");
 * const vectors = await readTensor(table, "vectors");
 */
export async function readTensor(
  table: SafetensorsTable,
  name: string,
  rows?: readonly [number, number],
): Promise<Float32Array> {
  const entry = tensorEntry(table, name);
  const size = elementBytes(entry.dtype) as number;
  const count = entry.shape.length === 0 ? 1 : entry.shape[0];
  const [rowStart, rowEnd] = rows ?? [0, count];
  if (!Number.isInteger(rowStart) || !Number.isInteger(rowEnd) || rowStart < 0 || rowStart > rowEnd || rowEnd > count) {
    throw new InputError("row-range", expected(`rows within [0, ${count})`, name, `[${rowStart}, ${rowEnd})`));
  }
  const rowBytes = count === 0 ? 0 : entry.byteLength / count;
  const out = new Float32Array(((rowEnd - rowStart) * rowBytes) / size);
  const first = rowStart * rowBytes;
  await streamTensorBytes(
    table.file,
    entry,
    (bytes, at) => decodeFloat32(bytes, entry.dtype, out, (at - first) / size),
    first,
    rowEnd * rowBytes,
  );
  return out;
}

/** A tensor's entry by name. @throws DataError "tensor-missing" naming the file and up to five names that it has */
export function tensorEntry(table: SafetensorsTable, name: string): SafetensorsEntry {
  const entry = table.tensors.get(name);
  if (entry !== undefined) return entry;
  const names = [...table.tensors.keys()];
  const shown = names.slice(0, 5).join(", ") + (names.length > 5 ? ", ..." : "");
  throw new DataError(
    "tensor-missing",
    `Expected tensor ${JSON.stringify(name)} in ${table.file} but it holds ${names.length}: ${shown}.`,
  );
}
