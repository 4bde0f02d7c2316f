/**
 * Sets of steering directions with where they came from: made from a seed or by contrast, saved and loaded as safetensors.
 *
 * File: tensor `vectors` (n, C) and, where known, `norms` (n), both F32; names, method, seed and layer in the metadata. A file from
 * elsewhere with only `vectors` loads too, with its origin null.
 */
import { DataError, expected, InputError, random } from "../base";
import {
  parseJsonStrict,
  readSafetensorsHeader,
  readTensor,
  tensorEntry,
  type TensorToWrite,
  writeSafetensors,
} from "../files";
import { dot, norm, normalise, randomDirections } from "./arithmetic";

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
  /** (C) each, unit length */
  directions: Float32Array[];
  /** length before normalising, in residual-stream units, one per direction; null if not known */
  norms: number[] | null;
  /** how they were made: "random", "contrast", ... */
  method: string | null;
  seed: number | null;
  /** block after which the states were read; null for random directions */
  layer: number | null;
  /** `checkpointHash` of the model whose states were used */
  modelHash: string | null;
}

const FORMAT = "steerlab-vectors-1";
/** Directions count as unit vectors within this; 32-bit rounding of 5120 components stays below 1e-6. */
const UNIT_TOLERANCE = 1e-3;

/**
 * Random directions as a set, named "random-0000", ...
 *
 * @param count how many
 * @param size C
 * @param seed integer >= 0; direction i depends on seed and i only
 *
 * @example
 * const set = randomDirectionSet(200, 256, 1); // 0..99 train, 100..199 held out
 */
export function randomDirectionSet(count: number, size: number, seed: number): DirectionSet {
  return {
    names: Array.from({ length: count }, (_, i) => `random-${String(i).padStart(4, "0")}`),
    directions: randomDirections(count, size, random(seed)),
    norms: null,
    method: "random",
    seed,
    layer: null,
    modelHash: null,
  };
}

function checkSet(set: DirectionSet): void {
  const { names, directions, norms } = set;
  if (names.length !== directions.length || new Set(names).size !== names.length) {
    throw new InputError(
      "vector-names",
      expected(`${directions.length} different names`, "names", `${new Set(names).size}`),
    );
  }
  if (norms !== null && norms.length !== directions.length) {
    throw new InputError("vector-count", expected(`${directions.length} norms`, "norms", norms.length));
  }
  directions.forEach((direction, i) => {
    const length = directions[0].length === direction.length ? norm(direction) : Number.NaN;
    if (!(Math.abs(length - 1) < UNIT_TOLERANCE)) {
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
 * Writes a set; the same set gives the same bytes.
 *
 * @throws InputError "vector-names", "vector-count", "vector-norm"
 */
export function saveDirections(file: string, set: DirectionSet): void {
  checkSet(set);
  const n = set.directions.length;
  const size = n === 0 ? 0 : set.directions[0].length;
  const flat = new Float32Array(n * size);
  for (const [i, direction] of set.directions.entries()) flat.set(direction, i * size);
  const tensors: Record<string, TensorToWrite> = { vectors: { dtype: "F32", shape: [n, size], data: flat } };
  if (set.norms !== null) tensors.norms = { dtype: "F32", shape: [n], data: set.norms };
  writeSafetensors(file, tensors, {
    format: FORMAT,
    origin: JSON.stringify({
      names: set.names,
      method: set.method,
      seed: set.seed,
      layer: set.layer,
      modelHash: set.modelHash,
    }),
  });
}

/**
 * Reads a set; vectors that are not of unit length are normalised and their lengths become `norms`.
 *
 * @throws DataError "tensor-missing", "vector-shape", "vector-values" (zero or not finite), "vector-origin", and the codes of the header reader
 *
 * @example
 * const { names, directions } = await loadDirections("concepts.safetensors");
 */
export async function loadDirections(file: string): Promise<DirectionSet> {
  const table = readSafetensorsHeader(file);
  const { shape } = tensorEntry(table, "vectors");
  if (shape.length !== 2)
    throw new DataError("vector-shape", expected("shape [n, hidden]", `vectors in ${file}`, `[${shape.join(", ")}]`));
  const [n, size] = shape;
  const flat = await readTensor(table, "vectors");
  const raw = Array.from({ length: n }, (_, i) => flat.slice(i * size, (i + 1) * size));
  const lengths = raw.map((vector, i) => {
    const length = Math.sqrt(dot(vector, vector));
    if (!(length > 0 && Number.isFinite(length))) {
      throw new DataError(
        "vector-values",
        expected("finite values that are not all zero", `vectors[${i}] in ${file}`, `length ${length}`),
      );
    }
    return length;
  });
  const isUnit = lengths.every((length) => Math.abs(length - 1) < UNIT_TOLERANCE);
  const stored = table.tensors.has("norms") ? Array.from(await readTensor(table, "norms")) : null;
  if (stored !== null && stored.length !== n)
    throw new DataError("vector-shape", expected(`${n} values`, `norms in ${file}`, stored.length));
  return {
    ...parseOrigin(table.metadata, n, file),
    directions: isUnit ? raw : raw.map(normalise),
    norms: stored ?? (isUnit ? null : lengths),
  };
}

function parseOrigin(
  metadata: Record<string, string>,
  n: number,
  file: string,
): Omit<DirectionSet, "directions" | "norms"> {
  if (metadata.format !== FORMAT) {
    return {
      names: Array.from({ length: n }, (_, i) => `vector-${i}`),
      method: null,
      seed: null,
      layer: null,
      modelHash: null,
    };
  }
  const origin = parseJsonStrict(metadata.origin ?? "null", `the origin in ${file}`) as Partial<
    Record<string, unknown>
  > | null;
  const names = origin?.names;
  if (!Array.isArray(names) || names.length !== n || names.some((name) => typeof name !== "string")) {
    throw new DataError(
      "vector-origin",
      expected(`${n} names`, `the metadata of ${file}`, JSON.stringify(names)?.slice(0, 40) ?? "nothing"),
    );
  }
  const ofType = <T>(value: unknown, type: "string" | "number"): T | null =>
    typeof value === type ? (value as T) : null;
  return {
    names: names as string[],
    method: ofType<string>(origin?.method, "string"),
    seed: ofType<number>(origin?.seed, "number"),
    layer: ofType<number>(origin?.layer, "number"),
    modelHash: ofType<string>(origin?.modelHash, "string"),
  };
}
