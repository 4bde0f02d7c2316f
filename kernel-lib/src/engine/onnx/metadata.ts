/**
 * What an exported file says about itself in metadata_props: whose weights, which conventions, which data file belongs to it.
 *
 * Every key starts with "steerlab."; values are text. A reader refuses a file without them, or of another format version.
 */
import { DataError } from "../../base";
import type { ModelConfig } from "../../checkpoint";
import { contentHash, parseJsonStrict } from "../../files";
import type { KeyValue } from "./schema";

/** Changes whenever a file written before can no longer be run by this version. */
export const FORMAT = "steerlab-onnx/1";

/** Facts of one exported file. */
export interface OnnxMetadata {
  /** version of this library that wrote it */
  version: string;
  config: ModelConfig;
  /** `checkpointHash` of the model */
  modelHash: string;
  /** name and hash of the adapter that is always on; null: adapters are inputs */
  adapter: { name: string; hash: string } | null;
  /** element type of the stored matrices */
  dtype: "f32" | "f16";
  dataBytes: number;
  dataSha256: string;
}

const CONVENTIONS = {
  "steerlab.convention.steering":
    "after block l, at token t of row b: residual += sum over s of steering_weights[l, b, t, s] * steering_vectors[b, s]; an axis b or t of size 1 serves all; no steering = zeros of shape (L, 1, 1, 1) and (1, 1, hidden_size)",
  "steerlab.convention.cache":
    "past_key.l, past_value.l (past_batch, key/value heads, past, head_dim) hold what earlier calls gave as new_key.l, new_value.l, appended along axis 2; row b sees its first past_lengths[b] slots; steering is not repeated for cached tokens",
  "steerlab.convention.batch":
    "rows are padded on the right; read nothing at padded tokens; positions = past_lengths + index",
  "steerlab.convention.adapter":
    "linear(x) = x W^T + bias + (x lora_a[l]) lora_b[l], lora_a = A transposed (in, r), lora_b = B transposed times alpha / r (r, out); no adapter = zeros with r = 1",
} as const;

/** Binds a graph to its data file: stands in the first line of the data. */
export function dataIdentity(of: Pick<OnnxMetadata, "modelHash" | "adapter" | "dtype">): string {
  return contentHash({ format: FORMAT, model: of.modelHash, adapter: of.adapter?.hash ?? null, dtype: of.dtype });
}

/** As metadata_props. */
export function metadataProps(metadata: OnnxMetadata): KeyValue[] {
  const { version, config, modelHash, adapter, dtype, dataBytes, dataSha256 } = metadata;
  const values: Record<string, string> = {
    "steerlab.format": FORMAT,
    "steerlab.version": version,
    "steerlab.config": JSON.stringify(config),
    "steerlab.model_hash": modelHash,
    "steerlab.adapter_name": adapter?.name ?? "",
    "steerlab.adapter_hash": adapter?.hash ?? "",
    "steerlab.dtype": dtype,
    "steerlab.data_bytes": String(dataBytes),
    "steerlab.data_sha256": dataSha256,
    ...CONVENTIONS,
  };
  return Object.entries(values).map(([key, value]) => ({ key, value }));
}

/** @throws DataError "onnx-foreign", "onnx-version", "onnx-damaged" */
export function parseMetadata(props: readonly KeyValue[], file: string): OnnxMetadata {
  const values = new Map(props.map(({ key, value }) => [key, value]));
  const format = values.get("steerlab.format");
  if (format === undefined) {
    throw new DataError(
      "onnx-foreign",
      `Expected an ONNX file made by "steerlab export-onnx" at ${file} but it does not say so. Export the model again.`,
    );
  }
  if (format !== FORMAT) {
    throw new DataError(
      "onnx-version",
      `Expected format ${FORMAT} of ${file} but received ${JSON.stringify(format)}. Export the model with this version.`,
    );
  }
  const text = (name: string): string => {
    const value = values.get(`steerlab.${name}`);
    if (value === undefined)
      throw new DataError(
        "onnx-damaged",
        `Expected steerlab.${name} in the metadata of ${file} but there is none. Export it again.`,
      );
    return value;
  };
  const dtype = text("dtype");
  const dataBytes = Number(text("data_bytes"));
  if ((dtype !== "f32" && dtype !== "f16") || !Number.isSafeInteger(dataBytes)) {
    throw new DataError(
      "onnx-damaged",
      `Expected dtype f32 or f16 and a size in the metadata of ${file} but received ${dtype}, ${text("data_bytes")}. Export it again.`,
    );
  }
  return {
    version: text("version"),
    config: parseJsonStrict(text("config"), `steerlab.config of ${file}`) as ModelConfig,
    modelHash: text("model_hash"),
    adapter: text("adapter_hash") === "" ? null : { name: text("adapter_name"), hash: text("adapter_hash") },
    dtype,
    dataBytes,
    dataSha256: text("data_sha256"),
  };
}
