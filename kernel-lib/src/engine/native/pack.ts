/**
 * Rows -> the typed arrays of one native forward call, with defaults applied and everything validated.
 */
import type { AdapterHandle, CacheHandle, NativeForward } from "@steerlab/native";
import type { ModelConfig } from "../../checkpoint";
import { checkCapture, checkedParent, checkedToken, checkedTokens, checkedTopK } from "../checks";
import type { Adapter, ForwardOptions, Row } from "../types";
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
export function packRows(
  rows: readonly Row[],
  options: ForwardOptions,
  config: ModelConfig,
  owner: object,
): NativeForward {
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

function packReport(rows: readonly Row[], options: ForwardOptions, config: ModelConfig): NativeForward["report"] {
  const positions = options.report ?? "none";
  if (positions === "none") return null;
  const topK = checkedTopK(options.topK ?? 0, config);
  const reported = rows.flatMap((row, i) => (row.report === false ? [] : [i]));
  const wanted = reported.map((i) =>
    Array.from(rows[i].wanted ?? [], (id) => checkedToken(id, `wanted of row ${i}`, config)),
  );
  const ids = concatenate(wanted);
  return {
    rows: Int32Array.from(reported),
    positions,
    tokenIds: ids.values,
    tokenOffsets: ids.offsets,
    topK,
    all: options.fullVocabulary ?? false,
  };
}

function packCapture(rows: readonly Row[], options: ForwardOptions, config: ModelConfig): NativeForward["capture"] {
  if (!options.capture) return null;
  checkCapture(options.capture, config);
  const { layers, positions } = options.capture;
  return { rows: Int32Array.from(rows, (_, i) => i), layers: Int32Array.from(layers), positions };
}
