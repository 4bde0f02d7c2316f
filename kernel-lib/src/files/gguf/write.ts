/**
 * Writes small GGUF files (control vectors): metadata and f32 tensors, same contents, same bytes, the whole file or none of it.
 */
import { expected, InputError } from "../../base";
import { writeFileAtomic } from "../atomic-write";
import { GGUF_F32, VALUE_KINDS } from "./types";

/** Values to write: text, a truth value, texts, or a whole number as unsigned 32 bits. */
export type GgufWritten = string | boolean | number | readonly string[];

/** An f32 tensor; `shape` row-major, as in `GgufEntry`. */
export interface GgufTensorToWrite {
  shape: readonly number[];
  data: Float32Array;
}

const ALIGNMENT = 32;
const kind = (name: (typeof VALUE_KINDS)[number]): Buffer => u32(VALUE_KINDS.indexOf(name));

/**
 * Writes `file` with the tensors in the order given.
 * @throws InputError "tensor-shape" if data and shape disagree, "gguf-value" for a number that is not an unsigned 32-bit integer
 * @example
 * writeGguf("v.gguf", { "general.architecture": "controlvector" }, { "direction.1": { shape: [896], data } });
 */
export function writeGguf(
  file: string,
  metadata: Record<string, GgufWritten>,
  tensors: Record<string, GgufTensorToWrite>,
): void {
  const head: Buffer[] = [
    Buffer.from("GGUF"),
    u32(3),
    u64(Object.keys(tensors).length),
    u64(Object.keys(metadata).length),
  ];
  for (const [key, value] of Object.entries(metadata)) head.push(text(key), ...valueBytes(key, value));
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, data: values }] of Object.entries(tensors)) {
    if (shape.reduce((product, dimension) => product * dimension, 1) !== values.length)
      throw new InputError(
        "tensor-shape",
        expected(`a shape of ${values.length} values`, name, `[${shape.join(", ")}]`),
      );
    head.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(GGUF_F32), u64(offset));
    const bytes = Buffer.alloc(values.length * 4);
    values.forEach((value, i) => void bytes.writeFloatLE(value, 4 * i));
    data.push(bytes, padding(bytes.length));
    offset += bytes.length + padding(bytes.length).length;
  }
  const start = Buffer.concat(head);
  writeFileAtomic(file, Buffer.concat([start, padding(start.length), ...data]));
}

function valueBytes(key: string, value: GgufWritten): Buffer[] {
  if (typeof value === "string") return [kind("string"), text(value)];
  if (typeof value === "boolean") return [kind("bool"), Buffer.from([value ? 1 : 0])];
  if (typeof value !== "number") return [kind("array"), kind("string"), u64(value.length), ...value.map(text)];
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff)
    throw new InputError("gguf-value", expected("an unsigned 32-bit integer", key, value));
  return [kind("u32"), u32(value)];
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([u64(bytes.length), bytes]);
}

function padding(length: number): Buffer {
  return Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}
