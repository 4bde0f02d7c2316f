/**
 * Writes safetensors files that any reader takes: same contents, same bytes; the whole file or none of it.
 *
 * Order as the reference writer's: element types by falling rank (so every tensor is aligned), then names; metadata keys
 * sorted; the header padded with spaces to a multiple of 8. Written beside, flushed, renamed.
 */
import { expected, InputError } from "../../base";
import { writeWhole } from "../atomic-write";
import { writeFully } from "../destination";
import { elementBytes, elementTypes, encodeElements, type SafetensorsDType } from "./element";

/** One tensor to write. */
export interface TensorToWrite {
  dtype: SafetensorsDType;
  shape: readonly number[];
  /** row-major values; product of shape many */
  data: ArrayLike<number>;
}

const PIECE_ELEMENTS = 1 << 19;

/**
 * Writes tensors to `file`, replacing it as a whole. Missing parent folders are made.
 *
 * @param tensors by name; "__metadata__" is not a name
 * @param metadata strings stored in the header
 * @throws InputError "tensor-shape" if data and shape disagree, "tensor-name", "dtype-write"; as `writeWhole`
 *
 * @example
 * writeSafetensors("v.safetensors", { vectors: { dtype: "F32", shape: [2, 3], data: new Float32Array(6) } }, { seed: "1" });
 */
export function writeSafetensors(
  file: string,
  tensors: Record<string, TensorToWrite>,
  metadata: Record<string, string> = {},
): void {
  const names = orderedNames(tensors);
  const header = headerBytes(names, tensors, metadata);
  writeWhole(file, (handle) => {
    writeFully(handle, header);
    for (const name of names) {
      const { data, dtype } = tensors[name];
      for (let start = 0; start < data.length; start += PIECE_ELEMENTS) {
        writeFully(handle, encodeElements(data, start, Math.min(data.length, start + PIECE_ELEMENTS), dtype));
      }
    }
  });
}

function orderedNames(tensors: Record<string, TensorToWrite>): string[] {
  const ranks = elementTypes();
  const rank = (name: string): number => {
    const found = ranks.indexOf(tensors[name].dtype);
    if (found === -1) throw new InputError("dtype-write", expected("a known dtype", name, tensors[name].dtype));
    return found;
  };
  return Object.keys(tensors).sort((a, b) => rank(b) - rank(a) || (a < b ? -1 : 1));
}

function headerBytes(
  names: string[],
  tensors: Record<string, TensorToWrite>,
  metadata: Record<string, string>,
): Uint8Array {
  const root: [string, unknown][] = [];
  const metadataKeys = Object.keys(metadata).sort();
  if (metadataKeys.length > 0)
    root.push(["__metadata__", Object.fromEntries(metadataKeys.map((key) => [key, metadata[key]]))]);
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data } = tensors[name];
    if (name === "__metadata__") throw new InputError("tensor-name", expected("a tensor name", "tensors", name));
    const count = shape.reduce((product, dimension) => product * dimension, 1);
    if (count !== data.length || shape.some((dimension) => !Number.isInteger(dimension) || dimension < 0)) {
      throw new InputError("tensor-shape", expected(`a shape of ${data.length} values`, name, `[${shape.join(", ")}]`));
    }
    const start = end;
    end += count * (elementBytes(dtype) as number);
    root.push([name, { dtype, shape: [...shape], data_offsets: [start, end] }]);
  }
  // Entry by entry, because JSON.stringify would move integer-like names to the front.
  const text = `{${root.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const length = Math.ceil(Buffer.byteLength(text) / 8) * 8;
  const bytes = Buffer.alloc(8 + length, 0x20);
  bytes.writeBigUInt64LE(BigInt(length), 0);
  bytes.write(text, 8, "utf8");
  return bytes;
}
