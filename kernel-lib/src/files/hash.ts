/**
 * SHA-256 of text, bytes, files and JSON contents, as 64 lower-case hexadecimal digits.
 *
 * Used to key runs by their content and to say exactly which weights, template or prompt a number came from.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { checkReadable } from "./input";
import { canonicalJson } from "./json";

/** SHA-256 of bytes, or of text as UTF-8. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** SHA-256 of a file's bytes, read in pieces; 1 GB takes about a second. @throws DataError "file-missing", "no-regular-file" */
export async function sha256File(file: string): Promise<string> {
  checkReadable(file);
  const hash = createHash("sha256");
  for await (const piece of fs.createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}

/**
 * SHA-256 of a JSON value's content: key order and white space do not count, array order does.
 *
 * @throws InputError "not-finite" if a number is NaN or infinite
 *
 * @example
 * contentHash({ a: 1, b: 2 }) === contentHash({ b: 2, a: 1 }); // true
 */
export function contentHash(value: unknown): string {
  return sha256(canonicalJson(value));
}
