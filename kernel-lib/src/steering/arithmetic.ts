/**
 * Arithmetic of directions in the residual stream: lengths, cosines, contrast, and random sets of the same geometry.
 *
 * Everything is accumulated in 64-bit floats and given as 32-bit arrays of length C (hidden size).
 */
import { expected, InputError, type Random } from "../base";

/** Below this length a vector has no direction worth the name. */
export const MIN_NORM = 1e-12;

/** Inner product of two vectors of equal length. @throws InputError "vector-length" */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length)
    throw new InputError("vector-length", expected(`${a.length} components`, "vector", b.length));
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** L2 length. */
export function norm(v: ArrayLike<number>): number {
  return Math.sqrt(dot(v, v));
}

/** Root mean square: the one number for lengths that differ from layer to layer. */
export function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

/**
 * The vector at length 1, as a new array.
 *
 * @throws InputError "zero-vector" if it has no length or a component is not finite
 */
export function normalise(v: ArrayLike<number>): Float32Array {
  const length = norm(v);
  if (!(length > MIN_NORM && Number.isFinite(length))) {
    throw new InputError("zero-vector", expected("a finite vector that is not zero", "normalise", `length ${length}`));
  }
  return Float32Array.from({ length: v.length }, (_, i) => v[i] / length);
}

/** Cosine of the angle between two vectors, -1..1. @throws InputError "zero-vector", "vector-length" */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.max(-1, Math.min(1, dot(normalise(a), normalise(b))));
}

/** Cosines between all pairs: row i, column j; the diagonal is exactly 1. @throws as `cosine` */
export function cosineMatrix(vectors: readonly ArrayLike<number>[]): number[][] {
  const units = vectors.map(normalise);
  return units.map((a, i) => units.map((b, j) => (i === j ? 1 : Math.max(-1, Math.min(1, dot(a, b))))));
}

/**
 * Independent directions, uniform on the unit sphere: normal components, normalised.
 *
 * Vector i comes from the fork "direction i" of the stream, so it is the same in a set of 3 and in a set of 300.
 *
 * @param count how many
 * @param size C
 *
 * @example
 * const [first] = randomDirections(200, config.hidden_size, random(1));
 */
export function randomDirections(count: number, size: number, random: Random): Float32Array[] {
  if (!Number.isInteger(count) || count < 0)
    throw new InputError("vector-count", expected("an integer >= 0", "count", count));
  if (!Number.isInteger(size) || size < 1)
    throw new InputError("vector-length", expected("an integer >= 1", "size", size));
  return Array.from({ length: count }, (_, i) => {
    const stream = random.fork(`direction ${i}`);
    return normalise(Float64Array.from({ length: size }, () => stream.normal()));
  });
}

/** A direction found by contrast, and how long the raw difference was. */
export interface Contrast {
  /** (C), unit length: mean(positive) - mean(negative), normalised */
  direction: Float32Array;
  /** L2 length of the mean difference, in units of the residual stream */
  norm: number;
}

/**
 * Mean-difference direction between two sets of hidden states.
 *
 * @param positive states (C) of prompts about the concept
 * @param negative states (C) of prompts about nothing in particular
 * @throws InputError "contrast-states" if a set is empty; "vector-length"; "zero-vector" if the means are equal
 *
 * @example
 * const { direction } = contrastDirection(statesOf(breadPrompts), statesOf(neutralPrompts));
 */
export function contrastDirection(
  positive: readonly ArrayLike<number>[],
  negative: readonly ArrayLike<number>[],
): Contrast {
  if (positive.length === 0 || negative.length === 0) {
    throw new InputError(
      "contrast-states",
      expected("states on both sides", "contrast", `${positive.length} and ${negative.length}`),
    );
  }
  const size = positive[0].length;
  const difference = new Float64Array(size);
  for (const [states, sign] of [
    [positive, 1],
    [negative, -1],
  ] as const) {
    for (const state of states) {
      if (state.length !== size)
        throw new InputError("vector-length", expected(`${size} components`, "state", state.length));
      for (let i = 0; i < size; i++) difference[i] += (sign * state[i]) / states.length;
    }
  }
  return { direction: normalise(difference), norm: norm(difference) };
}

/** Orthonormal rows by modified Gram-Schmidt, done twice; rows that depend on earlier ones are left out. */
function orthonormal(rows: readonly ArrayLike<number>[]): Float64Array[] {
  const basis: Float64Array[] = [];
  for (const row of rows) {
    const rest = Float64Array.from(row);
    for (let pass = 0; pass < 2; pass++) {
      for (const axis of basis) {
        const along = dot(rest, axis);
        for (let i = 0; i < rest.length; i++) rest[i] -= along * axis[i];
      }
    }
    const length = norm(rest);
    if (length > 1e-9 * norm(row) && length > MIN_NORM) basis.push(rest.map((value) => value / length));
  }
  return basis;
}

/**
 * Random vectors with the same lengths and the same angles to each other: the set, turned by a random rotation.
 *
 * The control for concept vectors: whatever a model does with these comes from norm and mutual geometry, not from meaning.
 *
 * @param vectors (C) each; C must be at least the number of independent ones
 * @returns one vector per input, lengths and cosines kept to about 1e-6
 * @throws InputError "vector-length"
 */
export function matchedRandom(vectors: readonly ArrayLike<number>[], random: Random): Float32Array[] {
  const basis = orthonormal(vectors);
  if (basis.length === 0) return vectors.map((vector) => new Float32Array(vector.length));
  const size = basis[0].length;
  const turned = orthonormal(randomDirections(basis.length, size, random.fork("matched")));
  return vectors.map((vector) => {
    const out = new Float64Array(size);
    basis.forEach((axis, k) => {
      const along = dot(vector, axis);
      for (let i = 0; i < size; i++) out[i] += along * turned[k][i];
    });
    return Float32Array.from(out);
  });
}

/** How alike a set of directions is. */
export interface Geometry {
  /** of all pairs; 1 = all the same */
  meanCosine: number | null;
  /** (sum of squared singular values)^2 / sum of their fourth powers: about how many dimensions the set fills, 1..n */
  participationRatio: number | null;
}

/**
 * Mean pairwise cosine and participation ratio of unit directions: n vectors that are nearly one are not n tests.
 * @param directions (n, C) unit vectors
 * @returns null where n is too small to tell
 * @example
 * geometry(concepts.directions).participationRatio; // about 14 of 102 for centred concepts of the lab model, 1.15 raw
 */
export function geometry(directions: readonly ArrayLike<number>[]): Geometry {
  const n = directions.length;
  if (n < 2) return { meanCosine: null, participationRatio: n === 1 ? 1 : null };
  const cosines = cosineMatrix(directions);
  let [sum, squares] = [0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      squares += cosines[i][j] ** 2;
      if (j > i) sum += cosines[i][j];
    }
  }
  // The Gram matrix has trace n and squared Frobenius norm `squares`.
  return { meanCosine: sum / ((n * (n - 1)) / 2), participationRatio: (n * n) / squares };
}
