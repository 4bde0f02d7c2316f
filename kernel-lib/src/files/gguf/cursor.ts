/**
 * Reads the head of a GGUF file forwards, one field at a time, and never past the file or a fixed limit.
 *
 * Bytes are loaded in pieces as they are asked for, so nothing is allocated on the word of the file: a length is compared
 * with what is left before it is believed.
 */
import * as fs from "node:fs";
import { DataError } from "../../base";
import { type GgufValueKind, VALUE_BYTES } from "./types";

/** Largest head that is read, as for safetensors; vocabularies of 150,000 tokens take 6 MB. */
const MAX_HEAD_BYTES = 100_000_000;
const PIECE_BYTES = 1 << 20;

/** "gguf-header" with the sentence of the house. */
export function headError(file: string, what: string, received: string, remedy = ""): DataError {
  return new DataError(
    "gguf-header",
    `Expected ${what} in ${file} but received ${received}.${remedy === "" ? "" : ` ${remedy}`}`,
  );
}

export class Cursor {
  private bytes: Buffer = Buffer.alloc(0);
  private readonly utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  at = 0;

  constructor(
    private readonly handle: number,
    readonly fileBytes: number,
    readonly file: string,
  ) {}

  /** Bytes of the file after the cursor. */
  get left(): number {
    return this.fileBytes - this.at;
  }

  /** Moves over `count` bytes and returns where they began. */
  take(count: number): number {
    if (count > this.left)
      throw headError(this.file, `${count} more bytes`, `${this.left}`, "The file may be cut off; fetch it again.");
    const end = this.at + count;
    if (end > MAX_HEAD_BYTES) throw headError(this.file, `a head of at most ${MAX_HEAD_BYTES} bytes`, "a longer one");
    if (end > this.bytes.length) this.load(end);
    const start = this.at;
    this.at = end;
    return start;
  }

  private load(end: number): void {
    const wanted = Math.min(Math.max(end, this.bytes.length * 2, PIECE_BYTES), this.fileBytes, MAX_HEAD_BYTES);
    const grown = Buffer.alloc(wanted);
    this.bytes.copy(grown);
    for (let done = this.bytes.length; done < wanted; ) {
      const count = fs.readSync(this.handle, grown, done, wanted - done, done);
      if (count === 0) throw headError(this.file, `${wanted} bytes`, `${done}`, "The file became shorter.");
      done += count;
    }
    this.bytes = grown;
  }

  /** A number of a fixed kind; whole numbers beyond 2^53 are refused. */
  number(kind: Exclude<GgufValueKind, "string" | "array" | "bool">): number {
    const at = this.take(VALUE_BYTES[kind]);
    const { bytes } = this;
    switch (kind) {
      case "u8":
        return bytes.readUInt8(at);
      case "i8":
        return bytes.readInt8(at);
      case "u16":
        return bytes.readUInt16LE(at);
      case "i16":
        return bytes.readInt16LE(at);
      case "u32":
        return bytes.readUInt32LE(at);
      case "i32":
        return bytes.readInt32LE(at);
      case "f32":
        return bytes.readFloatLE(at);
      case "f64":
        return bytes.readDoubleLE(at);
      default: {
        const value = kind === "u64" ? bytes.readBigUInt64LE(at) : bytes.readBigInt64LE(at);
        if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
          throw headError(this.file, "whole numbers below 2^53", String(value));
        return Number(value);
      }
    }
  }

  bool(): boolean {
    const value = this.number("u8");
    if (value > 1) throw headError(this.file, "a truth value of 0 or 1", String(value));
    return value === 1;
  }

  /** A count of things of which each takes at least `least` bytes of the file. */
  count(what: string, least: number): number {
    const count = this.number("u64");
    if (count * least > this.left)
      throw headError(this.file, `at most ${Math.floor(this.left / least)} ${what}`, `${count}`);
    return count;
  }

  /** Moves over a length-prefixed text. */
  skipText(): void {
    this.take(this.count("bytes of text", 1));
  }

  text(): string {
    const length = this.count("bytes of text", 1);
    const start = this.take(length);
    try {
      return this.utf8.decode(this.bytes.subarray(start, start + length));
    } catch {
      throw headError(this.file, "text in valid UTF-8", `other bytes at ${start}`);
    }
  }
}
