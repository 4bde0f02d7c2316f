/**
 * Sets of steering directions with where they came from, and the one rule by which rows of any file become directions.
 *
 * The rule: floats only, finite, not zero; a row of unit length stays as it is, any other is normalised and its length kept in
 * `norms`. direction-files.ts reads and writes the formats; this file knows none of them.
 */
import { DataError, expected, InputError, random } from "../base";
import { contentHash, sha256 } from "../files";
import { MIN_NORM, norm, normalise, randomDirections } from "./arithmetic";

/** A direction with the name that records carry. */
export interface NamedDirection {
  /** "random-17", or the concept's name */
  id: string;
  /** concept category, or null */
  category: string | null;
  /** (C), unit norm */
  direction: Float32Array;
}

/** Steering directions and their origin. Unknown is null. */
export interface DirectionSet {
  /** one per direction, unique */
  names: string[];
  /** what kind of concept each is, or null; null: none is known */
  categories: (string | null)[] | null;
  /** (C) each, unit length */
  directions: Float32Array[];
  /** length before normalising, in residual-stream units, one per direction; null if not known */
  norms: number[] | null;
  /** how they were made: "random", "contrast", ... */
  method: string | null;
  seed: number | null;
  /** block after whose output each was read or acts, from 0, one per direction; null where that is not known or has no meaning */
  layers: number[] | null;
  /** `checkpointHash` of the model whose states were used */
  modelHash: string | null;
}

/** Directions count as unit vectors within this; 32-bit rounding of 5120 components stays below 1e-6. */
const UNIT_TOLERANCE = 1e-3;

/** Hash of one direction's bytes. */
export function directionHash(direction: Float32Array): string {
  const held = hashes.get(direction);
  if (held !== undefined) return held;
  const hash = sha256(new Uint8Array(direction.buffer, direction.byteOffset, direction.byteLength));
  hashes.set(direction, hash);
  return hash;
}

const hashes = new WeakMap<Float32Array, string>();

/** Hash of a set: names, categories and every direction's bytes, in order. Where they came from does not count. */
export function directionSetHash({ names, categories, directions }: DirectionSet): string {
  return contentHash({ names, categories, directions: directions.map(directionHash) });
}

/**
 * The directions of a set one by one, each with its name and category: what `planTrials` takes.
 *
 * @returns one entry per direction, in order; the vectors (C) are the set's own, not copies
 * @example
 * const named = namedDirections(await conceptVectors(model));
 */
export function namedDirections({ names, categories, directions }: DirectionSet): NamedDirection[] {
  return names.map((id, i) => ({ id, category: categories?.[i] ?? null, direction: directions[i] }));
}

function isUnit(length: number): boolean {
  return Math.abs(length - 1) < UNIT_TOLERANCE;
}

/**
 * Random unit directions as a set, named "random-0", "random-1", ...: those that a protocol with this seed trains on and holds out.
 *
 * @param count how many
 * @param size C
 * @param seed integer >= 0; direction i depends on seed and i only
 * @returns `count` unit vectors (C)
 *
 * @example
 * const set = randomDirectionSet(200, 256, 1); // 0..99 train, 100..199 held out
 */
export function randomDirectionSet(count: number, size: number, seed: number): DirectionSet {
  return {
    names: Array.from({ length: count }, (_, i) => `random-${i}`),
    categories: null,
    directions: randomDirections(count, size, random(seed).fork("directions")),
    norms: null,
    method: "random",
    seed,
    layers: null,
    modelHash: null,
  };
}

/** @throws InputError "vector-names", "vector-count", "vector-norm" where the parts of a set do not fit each other */
export function checkSet(set: DirectionSet): void {
  const { names, categories, directions, norms, layers } = set;
  if (names.length !== directions.length || new Set(names).size !== names.length) {
    throw new InputError(
      "vector-names",
      expected(`${directions.length} different names`, "names", `${new Set(names).size}`),
    );
  }
  if (categories !== null && categories.length !== directions.length) {
    throw new InputError("vector-count", expected(`${directions.length} categories`, "categories", categories.length));
  }
  if (norms !== null && norms.length !== directions.length) {
    throw new InputError("vector-count", expected(`${directions.length} norms`, "norms", norms.length));
  }
  if (layers !== null && layers.length !== directions.length) {
    throw new InputError("vector-count", expected(`${directions.length} layers`, "layers", layers.length));
  }
  directions.forEach((direction, i) => {
    const length = directions[0].length === direction.length ? norm(direction) : Number.NaN;
    if (!isUnit(length)) {
      throw new InputError(
        "vector-norm",
        expected(
          `unit length and ${directions[0].length} components`,
          names[i],
          `length ${length}, ${direction.length} components`,
        ),
      );
    }
  });
}

/**
 * Rows of a file as unit directions, by the house's one rule.
 * @param rows (C) each   @param nameOf words for row i in error sentences, "vectors[3] in v.safetensors"
 * @returns directions, and the lengths of all rows where any was not 1 (else null)
 * @throws DataError "vector-values" for a row that is zero or not finite
 */
export function unitRows(
  rows: readonly Float32Array[],
  nameOf: (row: number) => string,
): { directions: Float32Array[]; norms: number[] | null } {
  const lengths = rows.map((row, i) => {
    const length = norm(row);
    if (length > MIN_NORM && Number.isFinite(length)) return length;
    const damaged = row.findIndex((value) => !Number.isFinite(value));
    const received = damaged >= 0 ? `${row[damaged]} in component ${damaged}` : "zeros only";
    throw new DataError(
      "vector-values",
      `Expected finite values that are not all zero for ${nameOf(i)} but received ${received}. Leave that row out.`,
    );
  });
  return {
    directions: rows.map((row, i) => (isUnit(lengths[i]) ? row : normalise(row))),
    norms: lengths.every(isUnit) ? null : lengths,
  };
}

/**
 * One sentence where rows of a file were not of unit length, else null: magnitudes mean lengths only of unit rows.
 * @param lengths from `unitRows`
 */
export function lengthNote(lengths: readonly number[] | null, names: readonly string[], file: string): string | null {
  if (lengths === null) return null;
  const odd = lengths.findIndex((length) => !isUnit(length));
  return `rows of ${file} are not of unit length (${names[odd]}: ${lengths[odd].toPrecision(4)}); they are normalised, so that magnitudes are lengths.`;
}
