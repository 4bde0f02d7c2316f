/**
 * SVG transform attributes as 2 x 3 matrices [a, b, c, d, e, f]: x' = a x + c y + e, y' = b x + d y + f.
 *
 * Enough of the syntax for what plotly writes: translate, rotate (also about a point), scale, matrix. Used by
 * measure.ts to say where a text ends up.
 */

/** A 2 x 3 affine matrix in SVG's order. */
export type Matrix = readonly [number, number, number, number, number, number];

/** Changes nothing. */
export const IDENTITY: Matrix = [1, 0, 0, 1, 0, 0];

/** The matrix that applies `inner` first, then `outer`. */
export function compose(outer: Matrix, inner: Matrix): Matrix {
  const [a, b, c, d, e, f] = outer;
  const [g, h, i, j, k, l] = inner;
  return [a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j, a * k + c * l + e, b * k + d * l + f];
}

function rotation(degrees: number, x = 0, y = 0): Matrix {
  const angle = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y];
}

function single(name: string, numbers: number[]): Matrix {
  if (name === "translate") return [1, 0, 0, 1, numbers[0] ?? 0, numbers[1] ?? 0];
  if (name === "scale") return [numbers[0] ?? 1, 0, 0, numbers[1] ?? numbers[0] ?? 1, 0, 0];
  if (name === "rotate") return rotation(numbers[0] ?? 0, numbers[1], numbers[2]);
  if (name === "matrix" && numbers.length === 6) return numbers as unknown as Matrix;
  return IDENTITY;
}

/** The matrix of a `transform` attribute; unknown functions count as no change. */
export function parseTransform(attribute: string | null): Matrix {
  let matrix: Matrix = IDENTITY;
  for (const [, name, list] of (attribute ?? "").matchAll(/([a-zA-Z]+)\(([^)]*)\)/g)) {
    const numbers = list
      .split(/[\s,]+/)
      .filter((part) => part !== "")
      .map(Number);
    if (numbers.every(Number.isFinite)) matrix = compose(matrix, single(name, numbers));
  }
  return matrix;
}

/** Where `matrix` takes a point. */
export function apply([a, b, c, d, e, f]: Matrix, x: number, y: number): [number, number] {
  return [a * x + c * y + e, b * x + d * y + f];
}
