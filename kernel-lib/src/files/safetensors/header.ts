/**
 * The strict reader of safetensors headers: bytes from outside in, a proven table of tensors out.
 *
 * File = 8 bytes little-endian header length n, n bytes of JSON {name: {dtype, shape, data_offsets}}, data. Nothing is
 * allocated on the word of the file before it is checked: lengths against the file, shapes against overflow, each byte
 * range against its shape, all ranges together against the file (no overlap, no hole, nothing after the last).
 * Source: the format's own specification (huggingface/safetensors README, "Format"). Sub-byte types are refused by name.
 */
import * as fs from "node:fs";
import { DataError } from "../../base";
import { openToRead } from "../input";
import { parseJsonStrict } from "../json";
import { elementBytes, elementTypes, type SafetensorsDType } from "./element";

/** Largest header that is read: 100 MB, the limit of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/** One tensor of a checked file. */
export interface SafetensorsEntry {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  /** from the start of the file */
  byteOffset: number;
  /** product of shape x bytes per element */
  byteLength: number;
}

/** A checked file: what it holds and where. */
export interface SafetensorsTable {
  file: string;
  fileBytes: number;
  /** the `__metadata__` strings, {} if absent */
  metadata: Record<string, string>;
  /** by name, in order of byte offset */
  tensors: Map<string, SafetensorsEntry>;
}

/** What is given in place of a safetensors file, by its first bytes. */
const OTHER_FORMATS = [
  {
    start: "GGUF",
    what: "a GGUF file",
    remedy: "Give it where a model or directions are asked for, with a name that ends in .gguf.",
  },
  { start: "PK\x03\x04", what: "a zip or PyTorch pickle", remedy: "Convert it to safetensors." },
  { start: "version ", what: "a Git LFS pointer", remedy: "Fetch the file itself (git lfs pull)." },
] as const;

/**
 * Reads and checks the header of a file; the tensor data is not touched.
 *
 * @throws DataError "file-missing", "no-regular-file"; "safetensors-header" (length, UTF-8, form), "safetensors-tensor" (dtype, shape,
 *   offsets of one tensor), "safetensors-layout" (overlap, hole, end of file), "json-syntax", "json-duplicate-key", "json-number"
 *
 * @example
 * readSafetensorsHeader("model.safetensors").tensors.get("lm_head.weight")?.shape; // [152064, 5120]
 */
export function readSafetensorsHeader(file: string): SafetensorsTable {
  const handle = openToRead(file);
  try {
    const fileBytes = fs.fstatSync(handle).size;
    const prefix = Buffer.alloc(8);
    const got = fileBytes >= 8 ? fs.readSync(handle, prefix, 0, 8, 0) : 0;
    if (got !== 8) throw headerError(file, "at least 8 bytes", `${fileBytes} bytes`);
    const other = OTHER_FORMATS.find(({ start }) => prefix.toString("latin1").startsWith(start));
    if (other !== undefined) throw headerError(file, "a safetensors file", other.what, other.remedy);
    const headerBytes = checkedHeaderLength(prefix.readBigUInt64LE(0), fileBytes, file);
    const header = Buffer.alloc(headerBytes);
    for (let done = 0; done < headerBytes; ) {
      const length = fs.readSync(handle, header, done, headerBytes - done, 8 + done);
      if (length === 0) throw headerError(file, `${headerBytes} header bytes`, `${done}`);
      done += length;
    }
    return parseSafetensorsHeader(header, fileBytes, file);
  } finally {
    fs.closeSync(handle);
  }
}

function checkedHeaderLength(declared: bigint, fileBytes: number, file: string): number {
  if (declared > BigInt(MAX_HEADER_BYTES))
    throw headerError(file, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${declared}`);
  if (declared > BigInt(fileBytes - 8)) {
    throw headerError(
      file,
      `a header within the file's ${fileBytes} bytes`,
      `length ${declared}`,
      "The file may be cut off.",
    );
  }
  if (declared < 2n) throw headerError(file, "a header of at least 2 bytes", `length ${declared}`);
  return Number(declared);
}

/**
 * Checks header bytes (without the length prefix) against the size of the file they came from.
 *
 * @param header the JSON bytes
 * @param fileBytes size of the whole file
 * @param file name, for the table and for error sentences
 */
export function parseSafetensorsHeader(header: Uint8Array, fileBytes: number, file: string): SafetensorsTable {
  if (header[0] !== 0x7b) throw headerError(file, "a header that starts with {", `byte ${header[0]}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw headerError(file, "a header in valid UTF-8", "other bytes");
  }
  const root = parseJsonStrict(text, `the header of ${file}`, { wholeNumbers: true }) as Record<string, unknown>;
  const dataStart = 8 + header.byteLength;
  const entries: SafetensorsEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(root)) {
    if (name === "__metadata__") metadata = checkedMetadata(value, file);
    else entries.push(checkedEntry(name, value, dataStart, file));
  }
  checkLayout(entries, dataStart, fileBytes, file);
  return { file, fileBytes, metadata, tensors: new Map(entries.map((entry) => [entry.name, entry])) };
}

function checkedMetadata(value: unknown, file: string): Record<string, string> {
  const strings = isObject(value) && Object.values(value).every((item) => typeof item === "string");
  if (!strings) throw headerError(file, "__metadata__ as an object of strings", JSON.stringify(value).slice(0, 60));
  return value as Record<string, string>;
}

function checkedEntry(name: string, value: unknown, dataStart: number, file: string): SafetensorsEntry {
  const refuse = (what: string, received: unknown): never => {
    const shown = JSON.stringify(received) ?? "nothing";
    throw new DataError(
      "safetensors-tensor",
      `Expected ${what} for tensor ${JSON.stringify(name)} in ${file} but received ${shown.slice(0, 80)}.`,
    );
  };
  if (!isObject(value)) return refuse("an object", value);
  const keys = Object.keys(value).sort().join();
  if (keys !== "data_offsets,dtype,shape") refuse("exactly dtype, shape and data_offsets", keys);
  const { dtype, shape, data_offsets: offsets } = value;
  const size = typeof dtype === "string" ? elementBytes(dtype) : null;
  if (size === null) return refuse(`a dtype of ${elementTypes().join(", ")}`, dtype);
  if (!isNumberList(shape)) return refuse("a shape of whole numbers", shape);
  if (!isNumberList(offsets) || offsets.length !== 2 || offsets[0] > offsets[1])
    return refuse("data_offsets [start, end]", offsets);
  let byteLength = size;
  for (const dimension of shape) {
    byteLength *= dimension;
    if (!Number.isSafeInteger(byteLength)) refuse("a shape whose byte count stays below 2^53", shape);
  }
  if (offsets[1] - offsets[0] !== byteLength)
    refuse(`data_offsets that span ${byteLength} bytes (${dtype} x shape)`, offsets);
  return { name, dtype: dtype as SafetensorsDType, shape, byteOffset: dataStart + offsets[0], byteLength };
}

/** Orders entries by offset and proves that they fill the data section exactly, without overlap or hole. */
function checkLayout(entries: SafetensorsEntry[], dataStart: number, fileBytes: number, file: string): void {
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const entry of entries) {
    if (entry.byteOffset !== end) {
      const fault = entry.byteOffset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      throw new DataError(
        "safetensors-layout",
        `Expected contiguous tensors in ${file} but ${JSON.stringify(entry.name)} ${fault} (starts at byte ${entry.byteOffset}, not ${end}).`,
      );
    }
    end += entry.byteLength;
  }
  if (end !== fileBytes) {
    throw new DataError(
      "safetensors-layout",
      `Expected ${file} to end at byte ${end} with its last tensor but it has ${fileBytes} bytes. ${
        end > fileBytes ? "The file is cut off; fetch it again." : "There is unnamed data after the last tensor."
      }`,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// parseJsonStrict has already refused every number that is not plain digits below 2^53.
function isNumberList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}

function headerError(file: string, what: string, received: string, remedy = ""): DataError {
  return new DataError(
    "safetensors-header",
    `Expected ${what} in ${file} but received ${received}.${remedy === "" ? "" : ` ${remedy}`}`,
  );
}
