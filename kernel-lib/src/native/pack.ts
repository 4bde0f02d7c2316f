/**
 * Rows -> the typed arrays of one native forward call, with defaults applied and everything validated.
 */
import type { AdapterHandle, CacheHandle, NativeForward } from "@steerlab/native";
import { expected, InputError } from "../errors";
import type { Adapter, ForwardOptions, ModelConfig, Row } from "../types";
import { checkedToken, checkedTokens } from "./checks";
import { adapterHandle, cacheHandle } from "./handles";
import { SteeringTable } from "./steering-table";

/** End-to-end arrays with (n + 1) offsets. */
export function concatenate(parts: readonly ArrayLike<number>[]): { values: Int32Array; offsets: Int32Array } {
  const offsets = new Int32Array(parts.length + 1);
  for (let i = 0; i < parts.length; i++) offsets[i + 1] = offsets[i] + parts[i].length;
  const values = new Int32Array(offsets[parts.length]);
  for (let i = 0; i < parts.length; i++) values.set(parts[i], offsets[i]);
  return { values, offsets };
}

/** @throws InputError naming the row and the field */
export function packRows(rows: readonly Row[], options: ForwardOptions, config: ModelConfig, owner: object): NativeForward {
  const tokens = rows.map((row, i) => checkedTokens(row.tokens, `tokens of row ${i}`, config));
  const { values, offsets } = concatenate(tokens);
  const steering = new SteeringTable(config);
  const adapters = new Map<Adapter, number>();
  const handles: AdapterHandle[] = [];
  const parentRow = new Int32Array(rows.length).fill(-1);
  const rowAdapter = new Int32Array(rows.length).fill(-1);
  const parentCache: (CacheHandle | null)[] = [];
  rows.forEach((row, i) => {
    parentRow[i] = checkedParent(row, i);
    parentCache.push(row.cache ? cacheHandle(row.cache, owner, `cache of row ${i}`) : null);
    steering.add(i, row.steering ?? [], tokens[i].length, `steering of row ${i}`);
    if (!row.adapter) return;
    if (!adapters.has(row.adapter)) {
      adapters.set(row.adapter, handles.length);
      handles.push(adapterHandle(row.adapter, owner, `adapter of row ${i}`));
    }
    rowAdapter[i] = adapters.get(row.adapter) as number;
  });
  return {
    tokens: values,
    rowOffsets: offsets,
    parentRow,
    parentCache,
    adapters: handles,
    rowAdapter,
    steering: steering.build(),
    report: packReport(rows, options, config),
    capture: packCapture(rows, options, config),
    keepCache: Uint8Array.from(rows, (row) => (row.keepCache ? 1 : 0)),
    shareLayers: options.shareLayers ?? true,
  };
}

function checkedParent(row: Row, index: number): number {
  const parent = row.parent ?? -1;
  if (parent === -1) return -1;
  if (!Number.isInteger(parent) || parent < 0 || parent >= index) {
    throw new InputError("parent-row", expected(`an earlier row (0..${index - 1})`, `parent of row ${index}`, parent, "A row may continue rows before it only."));
  }
  if (row.cache) throw new InputError("parent-row", expected("parent or cache, not both,", `row ${index}`, "both"));
  return parent;
}

function packReport(rows: readonly Row[], options: ForwardOptions, config: ModelConfig): NativeForward["report"] {
  const positions = options.report ?? "none";
  if (positions === "none") return null;
  const topK = options.topK ?? 0;
  if (!Number.isInteger(topK) || topK < 0 || topK > config.vocab_size) {
    throw new InputError("top-k", expected(`an integer in [0, ${config.vocab_size}]`, "topK", topK));
  }
  const reported = rows.flatMap((row, i) => (row.report === false ? [] : [i]));
  const wanted = reported.map((i) => Array.from(rows[i].wanted ?? [], (id) => checkedToken(id, `wanted of row ${i}`, config)));
  const ids = concatenate(wanted);
  return { rows: Int32Array.from(reported), positions, tokenIds: ids.values, tokenOffsets: ids.offsets, topK, all: options.fullVocabulary ?? false };
}

function packCapture(rows: readonly Row[], options: ForwardOptions, config: ModelConfig): NativeForward["capture"] {
  if (!options.capture) return null;
  const { layers, positions } = options.capture;
  const depth = config.num_hidden_layers;
  for (const layer of layers) {
    if (!Number.isInteger(layer) || layer < 0 || layer >= depth) {
      throw new InputError("layer-range", expected(`a layer in [0, ${depth})`, "capture.layers", layer, `The model has ${depth} layers (0..${depth - 1}).`));
    }
  }
  return { rows: Int32Array.from(rows, (_, i) => i), layers: Int32Array.from(layers), positions };
}
