/**
 * The byte alphabet of byte-level BPE: each of the 256 bytes is written as one printable character in the vocabulary.
 *
 * Printable Latin-1 bytes stand for themselves; the other 68, in rising order, are U+0100, U+0101, ... (space is U+0120).
 * Source: the GPT-2 byte-level tokenizer, which Qwen2 shares.
 */

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

const BYTE_OF = new Map<string, number>();
let next = 0x100;
for (let byte = 0; byte < 256; byte++) {
  BYTE_OF.set(String.fromCharCode(isPrintable(byte) ? byte : next++), byte);
}

/** Bytes that a vocabulary entry stands for, or null if it has a character outside the alphabet. */
export function tokenBytes(token: string): Uint8Array | null {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF.get(token[i]);
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}
