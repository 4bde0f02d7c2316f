/** Typed reading of one field of a JSON object, with the error sentences of config.json. */
import { DataError, expected } from "../base";

export type Fields = Record<string, unknown>;

/** Sizes beyond this are damage, not models; it also keeps every product below 2^53. */
const MAX_SIZE = 1 << 24;

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function unsupported(name: string, field: string, value: unknown, remedy: string): never {
  const shown = JSON.stringify(value) ?? "nothing";
  throw new DataError(
    "config-unsupported",
    `Expected a plain Qwen2 model in ${name} but received ${field}: ${shown.slice(0, 80)}. ${remedy}`,
  );
}

/** A whole number 1..limit, or `fallback` where the field is absent or null. */
export function sizeField(
  fields: Fields,
  field: string,
  name: string,
  fallback: number | null,
  limit: number = MAX_SIZE,
): number {
  const value = fields[field] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > limit) {
    throw new DataError(
      "config-field",
      expected(`an integer 1..${limit}`, `${field} in ${name}`, JSON.stringify(fields[field]) ?? "nothing"),
    );
  }
  return value;
}

export function positiveField(value: unknown, field: string, name: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
    throw new DataError(
      "config-field",
      expected("a positive number", `${field} in ${name}`, JSON.stringify(value) ?? "nothing"),
    );
  }
  return value;
}

export function booleanField(fields: Fields, field: string, name: string, fallback: boolean): boolean {
  const value = fields[field] ?? fallback;
  if (typeof value !== "boolean")
    throw new DataError("config-field", expected("true or false", `${field} in ${name}`, JSON.stringify(value)));
  return value;
}
