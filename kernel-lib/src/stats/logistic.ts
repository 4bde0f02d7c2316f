/**
 * Logistic regression with an L2 penalty, fitted by Newton's method (iteratively reweighted least squares) in the dual.
 *
 * Minimises sum_i log(1 + exp(-s_i z_i)) + penalty / 2 |w|^2, z_i = w . x_i + b, s_i = +-1; the intercept b is hardly penalised. With
 * w = sum_i a_i x_i only the n x n Gram matrix is ever solved, so thousands of features cost no more than hundreds
 * (Rasmussen and Williams 2006, algorithm 3.1). Cost n^3 a step: meant for some hundreds to two thousand rows.
 */
import { expected, InputError } from "../base";

/** A fitted classifier. */
export interface LogisticFit {
  /** (features) */
  weights: Float64Array;
  intercept: number;
  iterations: number;
  /** log odds of label 1 for one row (features) */
  logOdds(row: ArrayLike<number>): number;
}

/** The intercept enters as a feature of this size: its penalty is a hundredth of a unit feature's. */
const INTERCEPT_SIZE = 10;
const MAX_ITERATIONS = 100;
/** Largest change of a log odds at which the fit has converged. */
const TOLERANCE = 1e-7;

/**
 * Fits log odds of label 1 as a linear function of the features.
 *
 * @param rows (n) rows of equal length, any unit; standardise features whose units differ
 * @param labels (n) 0 or 1, both present
 * @param penalty > 0, on |w|^2 / 2
 * @returns weights in the features' own units; deterministic
 * @throws InputError "unpaired", "outcome", "penalty", "not-converged"
 * @example
 * fitLogistic([[0], [1], [2], [3]], [0, 0, 1, 1], 0.1).logOdds([4]); // above 0
 */
export function fitLogistic(
  rows: readonly ArrayLike<number>[],
  labels: ArrayLike<number>,
  penalty: number,
): LogisticFit {
  check(rows, labels, penalty);
  const n = rows.length;
  const gram = gramOf(rows, penalty);
  // a, with f = gram a, maximises sum log sigma(s f) - a' gram a / 2.
  let a = new Float64Array(n);
  let f = new Float64Array(n);
  for (let iterations = 1; iterations <= MAX_ITERATIONS; iterations++) {
    const step = newtonStep(gram, f, labels);
    const next = damped(gram, { a, f }, step, labels);
    const change = next.f.reduce((most, value, i) => Math.max(most, Math.abs(value - f[i])), 0);
    ({ a, f } = next);
    if (change < TOLERANCE) return fitted(rows, a, penalty, iterations);
  }
  throw new InputError(
    "not-converged",
    expected(`convergence in ${MAX_ITERATIONS} steps`, "the logistic fit", "none", "Raise the penalty."),
  );
}

function check(rows: readonly ArrayLike<number>[], labels: ArrayLike<number>, penalty: number): void {
  if (rows.length !== labels.length)
    throw new InputError("unpaired", expected(`${rows.length} labels`, "labels", labels.length));
  const values = new Set(Array.from(labels));
  if (values.size !== 2 || !values.has(0) || !values.has(1))
    throw new InputError("outcome", expected("labels 0 and 1, both present", "labels", [...values].join(", ")));
  if (!(penalty > 0)) throw new InputError("penalty", expected("> 0", "penalty", penalty));
}

/** (n x n) inner products of rows, intercept included, over the penalty. */
function gramOf(rows: readonly ArrayLike<number>[], penalty: number): Float64Array[] {
  const gram = rows.map(() => new Float64Array(rows.length));
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = INTERCEPT_SIZE ** 2;
      for (let k = 0; k < rows[i].length; k++) sum += rows[i][k] * rows[j][k];
      gram[i][j] = sum / penalty;
      gram[j][i] = gram[i][j];
    }
  }
  return gram;
}

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

/** Where a full Newton step leads: a = c - sqrt(W) B^-1 sqrt(W) gram c, B = I + sqrt(W) gram sqrt(W), c = W f + (y - p). */
function newtonStep(gram: readonly Float64Array[], f: Float64Array, labels: ArrayLike<number>): Float64Array {
  const n = f.length;
  const roots = f.map((z) => Math.sqrt(sigmoid(z) * sigmoid(-z)));
  const c = f.map((z, i) => roots[i] ** 2 * z + labels[i] - sigmoid(z));
  const b = gram.map((row, i) => row.map((value, j) => (i === j ? 1 : 0) + roots[i] * value * roots[j]));
  const right = times(gram, c).map((value, i) => roots[i] * value);
  const solved = choleskySolve(b, right);
  return Float64Array.from({ length: n }, (_, i) => c[i] - roots[i] * solved[i]);
}

interface Point {
  a: Float64Array;
  f: Float64Array;
}

/** The step, halved until the objective does not fall. */
function damped(gram: readonly Float64Array[], at: Point, target: Float64Array, labels: ArrayLike<number>): Point {
  const before = objective(at, labels);
  for (let share = 1; share > 1e-6; share /= 2) {
    const a = at.a.map((value, i) => value + share * (target[i] - value));
    const next = { a, f: times(gram, a) };
    if (objective(next, labels) >= before - 1e-12 * Math.abs(before)) return next;
  }
  return at;
}

function objective({ a, f }: Point, labels: ArrayLike<number>): number {
  return f.reduce((sum, z, i) => {
    const signed = labels[i] === 1 ? z : -z;
    const log = signed > 0 ? Math.log1p(Math.exp(-signed)) : -signed + Math.log1p(Math.exp(signed));
    return sum - log - (a[i] * z) / 2;
  }, 0);
}

function times(matrix: readonly Float64Array[], vector: Float64Array): Float64Array {
  return Float64Array.from(matrix, (row) => row.reduce((sum, value, i) => sum + value * vector[i], 0));
}

/** Solves a symmetric positive definite system; the matrix is overwritten by its factor. */
function choleskySolve(matrix: Float64Array[], right: Float64Array): Float64Array {
  const n = right.length;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i][j];
      for (let k = 0; k < j; k++) sum -= matrix[i][k] * matrix[j][k];
      matrix[i][j] = i === j ? Math.sqrt(sum) : sum / matrix[j][j];
    }
  }
  const x = right.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= matrix[i][k] * x[k];
    x[i] /= matrix[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= matrix[k][i] * x[k];
    x[i] /= matrix[i][i];
  }
  return x;
}

function fitted(rows: readonly ArrayLike<number>[], a: Float64Array, penalty: number, iterations: number): LogisticFit {
  const weights = new Float64Array(rows[0].length);
  let intercept = 0;
  for (const [i, row] of rows.entries()) {
    for (let k = 0; k < weights.length; k++) weights[k] += (a[i] * row[k]) / penalty;
    intercept += (a[i] * INTERCEPT_SIZE ** 2) / penalty;
  }
  const logOdds = (row: ArrayLike<number>): number => weights.reduce((sum, w, k) => sum + w * row[k], intercept);
  return { weights, intercept, iterations, logOdds };
}
