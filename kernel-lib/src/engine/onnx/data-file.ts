/**
 * The external data of an export: one line that names its graph, then every matrix at a page boundary.
 *
 * Written in pieces of 4 MiB from the checkpoint's own files, so that no tensor is ever whole in memory, and hashed on the way.
 * Sixteen-bit types are converted through a table of all 65,536 values.
 */
import { createHash, type Hash } from "node:crypto";
import * as fs from "node:fs";
import { AbortedError, DataError, expected } from "../../base";
import type { TensorLocation } from "../../checkpoint";
import {
  bfloatToFloat,
  decodeFloat32,
  floatToHalf,
  halfToFloat,
  type SafetensorsDType,
  type SafetensorsEntry,
  streamTensorBytes,
  writeFailure,
  writeFully,
} from "../../files";

/** Offsets are multiples of this, so that a runtime can map the file. */
const PAGE = 4096;
/** Bytes of the first line. */
export const IDENTITY_BYTES = 128;

/** One matrix to store: a checkpoint's tensor, or values in memory (stored as f32). */
export interface StoredTensor {
  name: string;
  shape: readonly number[];
  source: TensorLocation | Float32Array;
}

/** Where it goes. */
export interface Placement extends StoredTensor {
  dtype: "f32" | "f16";
  offset: number;
  length: number;
}

/** Places tensors in order, and the size of the whole file. @param dtype of those from the checkpoint */
export function placeTensors(
  tensors: readonly StoredTensor[],
  dtype: "f32" | "f16",
): { placements: Map<string, Placement>; bytes: number } {
  const placements = new Map<string, Placement>();
  let end = IDENTITY_BYTES;
  for (const tensor of tensors) {
    const stored = tensor.source instanceof Float32Array ? "f32" : dtype;
    const offset = Math.ceil(end / PAGE) * PAGE;
    const length = tensor.shape.reduce((a, b) => a * b, 1) * (stored === "f32" ? 4 : 2);
    placements.set(tensor.name, { ...tensor, dtype: stored, offset, length });
    end = offset + length;
  }
  return { placements, bytes: end };
}

/** First line of a data file whose graph has this identity. */
export function identityLine(identity: string): Buffer {
  return Buffer.from(`steerlab onnx data ${identity}`.padEnd(IDENTITY_BYTES - 1).concat("\n"), "latin1");
}

/**
 * Writes the data file at `file`.
 * @returns its sha256
 * @throws DataError "f16-range" if a weight has no finite f16 value; DeviceError "disk-full"; AbortedError
 */
export async function writeDataFile(
  file: string,
  identity: string,
  placements: Iterable<Placement>,
  options: { onProgress?: (done: number) => void; signal?: AbortSignal } = {},
): Promise<string> {
  const handle = fs.openSync(file, "wx");
  const sink = new Sink(handle);
  try {
    sink.write(identityLine(identity));
    for (const { source, dtype, offset } of placements) {
      sink.write(Buffer.alloc(offset - sink.written));
      if (source instanceof Float32Array) {
        sink.write(bytesOf(source));
        continue;
      }
      const convert = converter(source, dtype);
      await streamTensorBytes(source.file, entryOf(source), (bytes) => {
        if (options.signal?.aborted) throw new AbortedError();
        sink.write(convert(bytes));
        options.onProgress?.(sink.written);
      });
    }
    fs.fsyncSync(handle);
  } catch (error) {
    throw writeFailure(file, error);
  } finally {
    fs.closeSync(handle);
  }
  return sink.hash.digest("hex");
}

class Sink {
  written = 0;
  readonly hash: Hash = createHash("sha256");

  constructor(private readonly handle: number) {}

  write(bytes: Uint8Array): void {
    writeFully(this.handle, bytes);
    this.hash.update(bytes);
    this.written += bytes.length;
  }
}

/** All values of a small tensor in f32. */
export async function readVector(tensor: TensorLocation): Promise<Float32Array> {
  const out = new Float32Array(tensor.shape.reduce((a, b) => a * b, 1));
  const entry = entryOf(tensor);
  const width = tensor.byteLength / out.length;
  await streamTensorBytes(tensor.file, entry, (bytes, at) => decodeFloat32(bytes, entry.dtype, out, at / width));
  return out;
}

function entryOf(tensor: TensorLocation): SafetensorsEntry {
  return { ...tensor, dtype: tensor.dtype.toUpperCase() as SafetensorsDType };
}

type Convert = (bytes: Uint8Array) => Uint8Array;

/** Bytes of the checkpoint -> bytes of the export; the result may share memory with the argument. */
function converter(tensor: TensorLocation, dtype: "f32" | "f16"): Convert {
  if (tensor.dtype === dtype) return (bytes) => bytes;
  if (tensor.dtype === "bf16" || tensor.dtype === "f16") {
    const value = tensor.dtype === "bf16" ? bfloatToFloat : halfToFloat;
    return dtype === "f32"
      ? widen(Float32Array.from({ length: 65536 }, (_, bits) => value(bits)))
      : narrowTable(tensor, value);
  }
  const source = entryOf(tensor).dtype;
  const width = tensor.dtype === "f64" ? 8 : 4;
  return (bytes) => {
    const floats = new Float32Array(bytes.length / width);
    decodeFloat32(bytes, source, floats);
    if (dtype === "f32") return bytesOf(floats);
    return bytesOf(Uint16Array.from(floats, (x) => checkedHalf(x, tensor.name)));
  };
}

function widen(table: Float32Array): Convert {
  return (bytes) => {
    const codes = codesOf(bytes);
    const out = new Float32Array(codes.length);
    for (let i = 0; i < codes.length; i++) out[i] = table[codes[i]];
    return bytesOf(out);
  };
}

function narrowTable(tensor: TensorLocation, value: (bits: number) => number): Convert {
  const table = Uint16Array.from({ length: 65536 }, (_, bits) => floatToHalf(value(bits)));
  return (bytes) => {
    const codes = codesOf(bytes);
    const out = new Uint16Array(codes.length);
    for (let i = 0; i < codes.length; i++) {
      out[i] = table[codes[i]];
      if ((out[i] & 0x7c00) === 0x7c00) checkedHalf(value(codes[i]), tensor.name);
    }
    return bytesOf(out);
  };
}

function checkedHalf(value: number, name: string): number {
  const bits = floatToHalf(value);
  if ((bits & 0x7c00) === 0x7c00) {
    throw new DataError(
      "f16-range",
      expected("values within 65504", name, value, "This model does not fit f16; export it with dtype f32."),
    );
  }
  return bits;
}

/** Pieces start at even offsets of a pooled buffer; an odd one is copied. */
function codesOf(bytes: Uint8Array): Uint16Array {
  const even = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(even.buffer, even.byteOffset, even.length / 2);
}

function bytesOf(values: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
