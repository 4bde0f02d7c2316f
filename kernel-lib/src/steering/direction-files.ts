/**
 * One door for files of directions: ours, one tensor per named concept, control vectors of llama.cpp and repeng, decoder rows of
 * sparse autoencoders.
 *
 * Ours is safetensors with `vectors` (n, C) and, where known, `norms` (n), both F32; names, method, seed and layers stand in the
 * metadata. What a file does not say is null. Rows become directions by the rule of directions.ts, whatever the format.
 */
import { DataError, expected, say } from "../base";
import {
  isGgufFile,
  parseJsonStrict,
  readSafetensorsHeader,
  readTensor,
  type SafetensorsEntry,
  type SafetensorsTable,
  type TensorToWrite,
  writeSafetensors,
} from "../files";
import { readControlVector, writeControlVector } from "./control-vectors";
import { checkSet, type DirectionSet, lengthNote, unitRows } from "./directions";

/** Options of `readDirections`. */
export interface ReadDirectionsOptions {
  /** hidden_size of the model they are for: another width is refused, and a transposed matrix is told so */
  width?: number;
  /** rows to take of a matrix (decoder features), in this order; default: all */
  rows?: readonly number[];
  /** told, in a sentence, that rows had to be normalised; default: a line on stderr */
  onNote?: (note: string) => void;
}

const FORMAT = "steerlab-vectors-1";
/** Decoder matrices of sparse autoencoders, (features, C): SAELens and its kin. */
const DECODERS = ["W_dec", "decoder.weight", "decoder"];
const FLOATS = ["F32", "F16", "BF16", "F64"];

/** Rows of a file before the rule, and what it says of them. */
interface Rows extends Omit<DirectionSet, "directions" | "norms"> {
  rows: Float32Array[];
  /** words for row i */
  nameOf: (i: number) => string;
  storedNorms: number[] | null;
}

/**
 * Reads directions from any format that is known: ours, one tensor a concept, control vectors in GGUF, decoder rows.
 *
 * @param file a safetensors or GGUF file
 * @returns unit directions; `norms` are stored lengths, or those of the rows where they were not 1, or null
 * @throws DataError "vector-format" (no tensor that holds directions), "vector-type" (whole numbers), "vector-shape",
 *   "vector-width", "vector-values" (zero or not finite), "vector-origin", and the codes of the header readers
 *
 * @example
 * const { names, directions } = await readDirections("concepts.safetensors");
 */
export async function readDirections(file: string, options: ReadDirectionsOptions = {}): Promise<DirectionSet> {
  const { set, lengths } = isGgufFile(file) ? controlVectorSet(file) : await safetensorsSet(file, options);
  const width = set.directions[0]?.length;
  if (options.width !== undefined && width !== undefined && width !== options.width) {
    throw new DataError(
      "vector-width",
      expected(`directions of ${options.width} components (hidden_size)`, file, width, "They are of another model."),
    );
  }
  const note = lengthNote(lengths, set.names, file);
  if (note !== null) (options.onNote ?? say)(note);
  return set;
}

/** A set, and the lengths of its rows in the file where any was not 1. */
interface ReadSet {
  set: DirectionSet;
  lengths: number[] | null;
}

function controlVectorSet(file: string): ReadSet {
  const set = readControlVector(file);
  return { set, lengths: set.norms };
}

async function safetensorsSet(file: string, options: ReadDirectionsOptions): Promise<ReadSet> {
  const table = readSafetensorsHeader(file);
  const decoder = DECODERS.find((name) => table.tensors.has(name));
  const found = table.tensors.has("vectors")
    ? await ownRows(table, options)
    : decoder !== undefined
      ? await decoderRows(table, decoder, options)
      : await namedRows(table);
  const { rows, nameOf, storedNorms, ...origin } = found;
  const { directions, norms } = unitRows(rows, nameOf);
  return { set: { ...origin, directions, norms: storedNorms ?? norms }, lengths: norms };
}

/** A matrix (n, C) of floats. */
function matrixShape(table: SafetensorsTable, name: string, width: number | undefined): readonly [number, number] {
  const entry = table.tensors.get(name) as SafetensorsEntry;
  requireFloats(entry, table.file);
  const { shape } = entry;
  const shown = `[${shape.join(", ")}]`;
  if (shape.length !== 2)
    throw new DataError("vector-shape", expected("shape [n, hidden]", `${name} in ${table.file}`, shown));
  if (width !== undefined && shape[1] !== width && shape[0] === width) {
    const remedy = "It is transposed: its directions are columns. Save it the other way round.";
    throw new DataError("vector-shape", expected(`shape [n, ${width}]`, `${name} in ${table.file}`, shown, remedy));
  }
  return [shape[0], shape[1]];
}

/** One rule for all files: whole numbers are not directions, whatever their values. */
function requireFloats({ name, dtype }: SafetensorsEntry, file: string): void {
  if (FLOATS.includes(dtype)) return;
  throw new DataError("vector-type", expected(`floats (${FLOATS.join(", ")})`, `${name} in ${file}`, dtype));
}

/** The chosen rows of a matrix, read one by one where only some are wanted. */
async function rowsOf(
  table: SafetensorsTable,
  name: string,
  count: number,
  picked?: readonly number[],
): Promise<Float32Array[]> {
  if (picked !== undefined) {
    const rows: Float32Array[] = [];
    for (const row of picked) rows.push(await readTensor(table, name, [row, row + 1]));
    return rows;
  }
  const flat = await readTensor(table, name);
  const width = count === 0 ? 0 : flat.length / count;
  return Array.from({ length: count }, (_, i) => flat.slice(i * width, (i + 1) * width));
}

async function ownRows(table: SafetensorsTable, { width, rows: picked }: ReadDirectionsOptions): Promise<Rows> {
  const { file, metadata } = table;
  const [count] = matrixShape(table, "vectors", width);
  const stored = table.tensors.has("norms") ? Array.from(await readTensor(table, "norms")) : null;
  if (stored !== null && stored.length !== count)
    throw new DataError("vector-shape", expected(`${count} values`, `norms in ${file}`, stored.length));
  const origin = parseOrigin(metadata, count, file);
  const index = picked ?? origin.names.map((_, i) => i);
  return {
    ...origin,
    names: index.map((i) => origin.names[i]),
    categories: origin.categories === null ? null : index.map((i) => (origin.categories as (string | null)[])[i]),
    layers: origin.layers === null ? null : index.map((i) => (origin.layers as number[])[i]),
    rows: await rowsOf(table, "vectors", count, picked),
    nameOf: (i) => `vectors[${index[i]}] in ${file}`,
    storedNorms: stored === null ? null : index.map((i) => stored[i]),
  };
}

async function decoderRows(table: SafetensorsTable, name: string, options: ReadDirectionsOptions): Promise<Rows> {
  const [count, columns] = matrixShape(table, name, options.width);
  if (options.width === undefined && count < columns) {
    const remedy =
      "Features outnumber components in a decoder: this one looks transposed. Pass width (hidden_size) if it is not.";
    throw new DataError(
      "vector-shape",
      expected("shape [features, hidden]", `${name} in ${table.file}`, `[${count}, ${columns}]`, remedy),
    );
  }
  const index = options.rows ?? Array.from({ length: count }, (_, i) => i);
  return {
    names: index.map((i) => `feature-${i}`),
    categories: null,
    method: "decoder row",
    seed: null,
    layers: null,
    modelHash: null,
    rows: await rowsOf(table, name, count, options.rows),
    nameOf: (i) => `row ${index[i]} of ${name} in ${table.file}`,
    storedNorms: null,
  };
}

/** One tensor (C) or (1, C) per concept, named by it. */
async function namedRows(table: SafetensorsTable): Promise<Rows> {
  const entries = [...table.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const width = entries[0]?.shape.at(-1);
  const wrong = entries.find(
    ({ shape }) => !(shape.length === 1 || (shape.length === 2 && shape[0] === 1)) || shape.at(-1) !== width,
  );
  if (entries.length === 0 || wrong !== undefined) {
    const received = wrong === undefined ? "no tensors" : `${wrong.name} [${wrong.shape.join(", ")}]`;
    const formats = `a matrix "vectors" (n, hidden), a decoder (${DECODERS.join(", ")}), or one vector of the same length per concept`;
    throw new DataError("vector-format", expected(formats, table.file, received));
  }
  const rows: Float32Array[] = [];
  for (const entry of entries) {
    requireFloats(entry, table.file);
    rows.push(await readTensor(table, entry.name));
  }
  return {
    names: entries.map(({ name }) => name),
    categories: null,
    method: table.metadata.method ?? null,
    seed: null,
    layers: null,
    modelHash: null,
    rows,
    nameOf: (i) => `${entries[i].name} in ${table.file}`,
    storedNorms: null,
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
      categories: null,
      method: null,
      seed: null,
      layers: null,
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
    categories: categoriesOf(origin?.categories, n),
    method: ofType<string>(origin?.method, "string"),
    seed: ofType<number>(origin?.seed, "number"),
    layers: layersOf(origin, n, file),
    modelHash: ofType<string>(origin?.modelHash, "string"),
  };
}

/** Absent in files of older versions. */
function categoriesOf(value: unknown, n: number): (string | null)[] | null {
  const fits =
    Array.isArray(value) && value.length === n && value.every((item) => item === null || typeof item === "string");
  return fits ? (value as (string | null)[]) : null;
}

/** Files of earlier versions say one `layer` for all. */
function layersOf(origin: Partial<Record<string, unknown>> | null, n: number, file: string): number[] | null {
  const layers = origin?.layers ?? (typeof origin?.layer === "number" ? Array(n).fill(origin.layer) : null);
  if (layers === null) return null;
  if (Array.isArray(layers) && layers.length === n && layers.every((layer) => Number.isInteger(layer) && layer >= 0))
    return layers as number[];
  throw new DataError(
    "vector-origin",
    expected(`${n} layers`, `the metadata of ${file}`, JSON.stringify(layers).slice(0, 40)),
  );
}

/**
 * Writes a set; the same set gives the same bytes. A name that ends in .gguf makes a control vector for llama.cpp and repeng.
 *
 * @param file made or replaced, whole and atomically
 * @param set unit directions (C each) with their origin
 * @throws InputError "vector-names", "vector-count", "vector-norm", "vector-layers"
 *
 * @example
 * writeDirections("concepts.safetensors", await conceptVectors(model));
 */
export function writeDirections(file: string, set: DirectionSet): void {
  if (file.endsWith(".gguf")) {
    writeControlVector(file, set);
    return;
  }
  checkSet(set);
  const n = set.directions.length;
  const size = n === 0 ? 0 : set.directions[0].length;
  const flat = new Float32Array(n * size);
  for (const [i, direction] of set.directions.entries()) flat.set(direction, i * size);
  const tensors: Record<string, TensorToWrite> = { vectors: { dtype: "F32", shape: [n, size], data: flat } };
  if (set.norms !== null) tensors.norms = { dtype: "F32", shape: [n], data: set.norms };
  const { names, categories, method, seed, layers, modelHash } = set;
  writeSafetensors(file, tensors, {
    format: FORMAT,
    origin: JSON.stringify({ names, categories, method, seed, layers, modelHash }),
  });
}
