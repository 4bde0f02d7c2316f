/**
 * Control vectors as llama.cpp and repeng exchange them: a GGUF file of architecture "controlvector" with a tensor `direction.N`
 * per layer, added to the residual stream after block N, counted from 0.
 *
 * There is no `direction.0`: llama.cpp's loader keeps no slot for it. Lengths are part of such vectors (a scale of 1 adds them as
 * they are), so they become `norms` on reading and are multiplied back on writing. Source: llama.cpp common_control_vector_load
 * and llama_adapter_cvec, repeng ControlVector.export_gguf. What the format has no place for travels in the key `steerlab.origin`.
 */
import * as fs from "node:fs";
import { DataError, expected, InputError } from "../base";
import { decodeFloat32, type GgufEntry, parseJsonStrict, readGguf, type SafetensorsDType, writeGguf } from "../files";
import { checkSet, type DirectionSet, unitRows } from "./directions";

const ARCHITECTURE = "controlvector";
const ORIGIN = "steerlab.origin";
const READABLE = ["f32", "f16", "bf16", "f64"];

/**
 * Reads a control vector.
 * @returns directions in order of N, with `layers` N; named "direction.N" unless the file was written here
 * @throws DataError "vector-format" if it is another kind of GGUF file, "vector-shape", "vector-values", and the codes of `readGguf`
 */
export function readControlVector(file: string): DirectionSet {
  const { metadata, tensors } = readGguf(file);
  const architecture = metadata.get("general.architecture");
  if (architecture !== ARCHITECTURE) {
    const received = String(architecture ?? "nothing");
    throw new DataError(
      "vector-format",
      expected("a control vector (general.architecture controlvector)", file, received),
    );
  }
  const entries = [...tensors.values()].map((entry) => ({ entry, layer: layerOf(entry, file) }));
  entries.sort((a, b) => a.layer - b.layer);
  const rows = entries.map(({ entry }) => valuesOf(file, entry));
  const width = rows[0]?.length ?? 0;
  const odd = rows.findIndex((row) => row.length !== width);
  if (rows.length === 0 || odd >= 0) {
    const received = rows.length === 0 ? "none" : `${rows[odd].length} components in ${entries[odd].entry.name}`;
    throw new DataError("vector-shape", expected(`directions of ${width} components`, file, received));
  }
  const { directions, norms } = unitRows(rows, (i) => `${entries[i].entry.name} in ${file}`);
  const { names, ...origin } = originOf(metadata.get(ORIGIN), file);
  return {
    names: names?.length === rows.length ? names : entries.map(({ entry }) => entry.name),
    categories: null,
    directions,
    norms,
    layers: entries.map(({ layer }) => layer),
    ...origin,
  };
}

function layerOf(entry: GgufEntry, file: string): number {
  const match = /^direction\.([1-9]\d*)$/.exec(entry.name);
  if (match === null || entry.shape.length !== 1 || !READABLE.includes(entry.dtype)) {
    const received = `${entry.name} (${entry.dtype}, ${entry.shape.length} dimensions)`;
    const remedy = "direction.N acts after block N; there is no direction.0.";
    throw new DataError(
      "vector-format",
      expected("float vectors direction.1, direction.2, ...", file, received, remedy),
    );
  }
  return Number(match[1]);
}

function valuesOf(file: string, entry: GgufEntry): Float32Array {
  const out = new Float32Array(entry.shape[0]);
  const bytes = Buffer.alloc(entry.byteLength);
  const handle = fs.openSync(file, "r");
  try {
    fs.readSync(handle, bytes, 0, bytes.length, entry.byteOffset);
  } finally {
    fs.closeSync(handle);
  }
  decodeFloat32(bytes, entry.dtype.toUpperCase() as SafetensorsDType, out);
  return out;
}

type Origin = Pick<DirectionSet, "method" | "seed" | "modelHash"> & { names: string[] | null };

function originOf(text: unknown, file: string): Origin {
  const origin = (typeof text === "string" ? parseJsonStrict(text, `${ORIGIN} of ${file}`) : {}) as Record<
    string,
    unknown
  >;
  const { names } = origin;
  return {
    names: Array.isArray(names) && names.every((name) => typeof name === "string") ? names : null,
    method: typeof origin.method === "string" ? origin.method : null,
    seed: typeof origin.seed === "number" ? origin.seed : null,
    modelHash: typeof origin.modelHash === "string" ? origin.modelHash : null,
  };
}

/**
 * Writes a set as a control vector: one direction a layer, at its own length where `norms` says one.
 * @throws InputError "vector-layers" if a direction has no layer, shares one, or acts after block 0
 */
export function writeControlVector(file: string, set: DirectionSet): void {
  checkSet(set);
  const layers = set.layers ?? [];
  const remedy = "A control vector holds one direction per block, from block 1 on.";
  if (
    layers.length === 0 ||
    new Set(layers).size !== layers.length ||
    layers.some((layer) => !Number.isInteger(layer) || layer < 1)
  ) {
    const received = set.layers === null ? "none" : `[${layers.join(", ")}]`;
    throw new InputError(
      "vector-layers",
      expected("a different layer from 1 on for each direction", "layers", received, remedy),
    );
  }
  const order = layers.map((_, i) => i).sort((a, b) => layers[a] - layers[b]);
  const tensors = order.map((i) => {
    const length = set.norms?.[i] ?? 1;
    const data = length === 1 ? set.directions[i] : set.directions[i].map((value) => value * length);
    return [`direction.${layers[i]}`, { shape: [data.length], data }] as const;
  });
  const { method, seed, modelHash } = set;
  writeGguf(
    file,
    {
      "general.architecture": ARCHITECTURE,
      [`${ARCHITECTURE}.model_hint`]: "qwen2",
      [`${ARCHITECTURE}.layer_count`]: layers.length,
      [ORIGIN]: JSON.stringify({ names: order.map((i) => set.names[i]), method, seed, modelHash }),
    },
    Object.fromEntries(tensors),
  );
}
