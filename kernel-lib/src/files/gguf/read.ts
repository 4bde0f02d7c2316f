/**
 * The strict reader of GGUF files: metadata and a proven table of tensors; the tensor data is not touched.
 *
 * File = "GGUF", version, counts, metadata {key: kind, value}, tensor infos {name, dimensions, type, offset}, padding, data.
 * Every count is compared with the bytes that are left before it is believed; names are unique; each tensor's bytes follow from
 * its shape and type; offsets are aligned, in order, without overlap or hole, and inside the file. Versions 2 and 3, little-endian.
 * Source: ggml's specification docs/gguf.md. Why not @huggingface/gguf: measured against 0.4.6, a file cut inside its metadata
 * reads on in zeros, a doubled key or tensor wins silently, text that is not UTF-8 is mended, and offsets are not checked.
 */
import * as fs from "node:fs";
import { DataError } from "../../base";
import { Cursor, headError } from "./cursor";
import { type GgufValueKind, ggufType, VALUE_BYTES, VALUE_KINDS } from "./types";

/** A metadata value; arrays hold one kind of value. */
export type GgufValue = number | boolean | string | GgufValue[];

/** One tensor of a checked file. */
export interface GgufEntry {
  name: string;
  /** "f32", "q4_k", ... */
  dtype: string;
  /** row-major, slowest dimension first (the file has them the other way round) */
  shape: number[];
  /** from the start of the file */
  byteOffset: number;
  byteLength: number;
}

/** A checked file. */
export interface GgufTable {
  file: string;
  fileBytes: number;
  metadata: Map<string, GgufValue>;
  /** by name, in order of byte offset */
  tensors: Map<string, GgufEntry>;
}

const MAGIC = 0x46554747; // "GGUF"
const DEFAULT_ALIGNMENT = 32;
const MAX_DIMENSIONS = 4;
const MAX_ARRAY_DEPTH = 4;

/** Fewest bytes that one of each takes in the file. */
const LEAST_PAIR = 8 + 4 + 1;
const LEAST_TENSOR = 8 + 4 + 4 + 8;

/**
 * Reads and checks the head of a file.
 *
 * @param options.skip keys whose arrays are not decoded (a vocabulary where only the shapes matter); they are left out
 * @throws DataError "file-missing"; "gguf-header" (form, counts, text), "gguf-tensor" (type, shape, offset of one tensor),
 *   "gguf-layout" (overlap, hole, end of file)
 *
 * @example
 * readGguf("model.gguf").metadata.get("general.architecture"); // "qwen2"
 */
export function readGguf(file: string, options: { skip?: readonly string[] } = {}): GgufTable {
  let handle: number;
  try {
    handle = fs.openSync(file, "r");
  } catch (cause) {
    throw new DataError(
      "file-missing",
      `Expected a readable file at ${file} but could not open it (${(cause as NodeJS.ErrnoException).code}).`,
      { cause },
    );
  }
  try {
    const info = fs.fstatSync(handle);
    if (info.isDirectory()) throw new DataError("file-missing", `Expected a file at ${file} but found a folder.`);
    return readTable(new Cursor(handle, info.size, file), new Set(options.skip ?? []));
  } finally {
    fs.closeSync(handle);
  }
}

/** Whether a file begins as GGUF files do, whatever its name. */
export function isGgufFile(file: string): boolean {
  if (!(fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false)) return false;
  const handle = fs.openSync(file, "r");
  try {
    const start = Buffer.alloc(4);
    return fs.readSync(handle, start, 0, 4, 0) === 4 && start.readUInt32LE(0) === MAGIC;
  } finally {
    fs.closeSync(handle);
  }
}

function readTable(cursor: Cursor, skip: ReadonlySet<string>): GgufTable {
  const { file, fileBytes } = cursor;
  if (cursor.left < 24 || cursor.number("u32") !== MAGIC)
    throw headError(file, 'a file that begins with "GGUF"', "another");
  const version = cursor.number("u32");
  if (version !== 2 && version !== 3) {
    const turned = version >= 1 << 24 ? " (a big-endian file)" : "";
    throw headError(file, "GGUF version 2 or 3", `${version}${turned}`, "Convert it with a present llama.cpp.");
  }
  const tensorCount = cursor.count("tensors", LEAST_TENSOR);
  const pairCount = cursor.count("metadata values", LEAST_PAIR);
  const metadata = new Map<string, GgufValue>();
  const seen = new Set<string>();
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.text();
    if (seen.has(key)) throw headError(file, `${JSON.stringify(key)} once`, "it twice");
    seen.add(key);
    const kind = valueKind(cursor);
    if (kind === "array" && skip.has(key)) skipArray(cursor);
    else metadata.set(key, readValue(cursor, kind, 0));
  }
  const entries: GgufEntry[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const entry = readEntry(cursor);
    if (names.has(entry.name)) throw tensorError(file, entry.name, "one tensor of this name", "two");
    names.add(entry.name);
    entries.push(entry);
  }
  placeTensors(entries, cursor.at, alignmentOf(metadata, file), fileBytes, file);
  return { file, fileBytes, metadata, tensors: new Map(entries.map((entry) => [entry.name, entry])) };
}

function tensorError(file: string, name: string, what: string, received: string): DataError {
  return new DataError(
    "gguf-tensor",
    `Expected ${what} for tensor ${JSON.stringify(name)} in ${file} but received ${received}.`,
  );
}

function valueKind(cursor: Cursor): GgufValueKind {
  const id = cursor.number("u32");
  const kind = VALUE_KINDS[id];
  if (kind === undefined) throw headError(cursor.file, "a kind of metadata value 0..12", String(id));
  return kind;
}

function readValue(cursor: Cursor, kind: GgufValueKind, depth: number): GgufValue {
  if (kind === "string") return cursor.text();
  if (kind === "bool") return cursor.bool();
  if (kind !== "array") return cursor.number(kind);
  if (depth >= MAX_ARRAY_DEPTH) throw headError(cursor.file, `arrays at most ${MAX_ARRAY_DEPTH} deep`, "deeper ones");
  const inner = valueKind(cursor);
  const count = cursor.count("array elements", leastBytes(inner));
  const out: GgufValue[] = [];
  for (let i = 0; i < count; i++) out.push(readValue(cursor, inner, depth + 1));
  return out;
}

const leastBytes = (kind: GgufValueKind): number => (kind === "array" ? 12 : VALUE_BYTES[kind] || 8);

function skipArray(cursor: Cursor): void {
  const inner = valueKind(cursor);
  const count = cursor.count("array elements", leastBytes(inner));
  if (inner === "string") for (let i = 0; i < count; i++) cursor.skipText();
  else if (inner === "array") for (let i = 0; i < count; i++) readValue(cursor, inner, 1);
  else cursor.take(count * VALUE_BYTES[inner]);
}

/** A tensor's info; `byteOffset` counts from the start of the data until `placeTensors`. */
function readEntry(cursor: Cursor): GgufEntry {
  const name = cursor.text();
  const refuse = (what: string, received: string): never => {
    throw tensorError(cursor.file, name, what, received);
  };
  const dimensions = cursor.number("u32");
  if (dimensions > MAX_DIMENSIONS) refuse(`at most ${MAX_DIMENSIONS} dimensions`, String(dimensions));
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.number("u64"));
  const id = cursor.number("u32");
  const type = ggufType(id) ?? refuse("a known tensor type", `type ${id}`);
  const byteOffset = cursor.number("u64");
  const row = shape[shape.length - 1] ?? 1;
  if (row % type.values !== 0) refuse(`rows of whole ${type.name} blocks (${type.values} values)`, `rows of ${row}`);
  let byteLength = type.bytes / type.values;
  for (const dimension of shape) byteLength *= dimension;
  if (!Number.isSafeInteger(byteLength) || byteLength < 0)
    refuse("a shape whose bytes stay below 2^53", `[${shape.join(", ")}]`);
  return { name, dtype: type.name, shape, byteOffset, byteLength };
}

function alignmentOf(metadata: Map<string, GgufValue>, file: string): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (
    typeof value !== "number" ||
    !Number.isInteger(value) ||
    value < 8 ||
    value > 1 << 20 ||
    (value & (value - 1)) !== 0
  )
    throw headError(file, "general.alignment as a power of two from 8", String(value));
  return value;
}

/** Turns offsets within the data into places in the file, and proves that tensors follow each other with padding only between. */
function placeTensors(entries: GgufEntry[], headEnd: number, alignment: number, fileBytes: number, file: string): void {
  const aligned = (at: number): number => Math.ceil(at / alignment) * alignment;
  const dataStart = aligned(headEnd);
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = 0;
  for (const entry of entries) {
    const wanted = aligned(end);
    if (entry.byteOffset !== wanted) {
      const fault =
        entry.byteOffset % alignment !== 0
          ? `is not aligned to ${alignment} bytes`
          : entry.byteOffset < wanted
            ? "overlaps the tensor before it"
            : "leaves a hole before it";
      throw new DataError(
        "gguf-layout",
        `Expected tensors one after another in ${file} but ${JSON.stringify(entry.name)} ${fault} (starts at ${entry.byteOffset}, not ${wanted}).`,
      );
    }
    end = entry.byteOffset + entry.byteLength;
    entry.byteOffset += dataStart;
    if (entry.byteOffset + entry.byteLength > fileBytes) {
      throw new DataError(
        "gguf-layout",
        `Expected ${entry.byteOffset + entry.byteLength} bytes in ${file} for ${JSON.stringify(entry.name)} but it has ${fileBytes}. The file is cut off; fetch it again.`,
      );
    }
  }
}
