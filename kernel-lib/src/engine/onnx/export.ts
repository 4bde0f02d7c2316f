/**
 * Checkpoint (+ adapter) -> FILE and FILE.data: a steerable ONNX graph and its weights.
 *
 * Vectors (norms, biases) stand in the graph file, matrices in the data file. Both are written beside and renamed, the graph
 * last: a data file without its graph is unfinished. Same checkpoint, adapter and dtype, same bytes.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { AbortedError, expected, InputError, LIBRARY_VERSION } from "../../base";
import {
  type AdapterPart,
  type Checkpoint,
  checkpointHash,
  isBlockType,
  type ModelConfig,
  type Projection,
  readAdapter,
  readCheckpoint,
  resolveAdapter,
  resolveModel,
} from "../../checkpoint";
import { commitPartial, partialPath, writeFileAtomic, writing } from "../../files";
import { type Placement, placeTensors, readVector, type StoredTensor, writeDataFile } from "./data-file";
import type { GraphBuilder } from "./graph-builder";
import { stackParts } from "./lora-stack";
import { dataIdentity, metadataProps } from "./metadata";
import { type GraphWeights, IO, qwen2Graph } from "./qwen2-graph";
import { ELEMENT, encodeModel, IR_VERSION, OPSET } from "./schema";

export interface ExportOnnxOptions {
  /** checkpoint folder or hub name */
  model: string;
  /** PEFT LoRA folder or hub name, then always on; default: none, and adapters are inputs of the graph */
  adapter?: string | null;
  /** path of the graph file, such as "model.onnx"; the weights go to `${out}.data` */
  out: string;
  /** how matrices are stored (default f32); arithmetic is f32 in both */
  dtype?: "f32" | "f16";
  /** bytes written so far and in all */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export interface ExportedOnnx {
  file: string;
  dataFile: string;
  /** size of both */
  bytes: number;
  modelHash: string;
  adapterHash: string | null;
  dtype: "f32" | "f16";
}

/** An adapter to build in. */
export interface BuiltInAdapter {
  name: string;
  hash: string;
  parts: readonly AdapterPart[];
}

/**
 * Writes a Qwen2 model as an ONNX graph of standard operators, steerable and continuable; conventions are in its metadata_props.
 *
 * Weights stream from the checkpoint: memory stays at a few MiB whatever the model's size.
 * @throws DataError as `readCheckpoint` and `readAdapter`, "f16-range"; InputError "onnx-out", "bad-dtype"; AbortedError
 * @example
 * const { file } = await exportOnnx({ model: "data/lab-model", out: "lab.onnx" });
 */
export async function exportOnnx(options: ExportOnnxOptions): Promise<ExportedOnnx> {
  const checkpoint = readCheckpoint(await resolveModel(options.model));
  const name = options.adapter ?? null;
  const adapter =
    name === null ? null : await readAdapter(await resolveAdapter(name), { ...checkpoint, name: options.model });
  return exportCheckpoint(checkpoint, { ...options, adapter });
}

/** `exportOnnx` of a checked checkpoint. @param options.modelHash `checkpointHash`, if it is known already */
export async function exportCheckpoint(
  checkpoint: Checkpoint,
  options: Omit<ExportOnnxOptions, "model" | "adapter"> & { adapter?: BuiltInAdapter | null; modelHash?: string },
): Promise<ExportedOnnx> {
  const { dtype = "f32", adapter = null, signal } = options;
  const file = checkedOut(options.out, checkpoint);
  if (dtype !== "f32" && dtype !== "f16") throw new InputError("bad-dtype", expected("f32 or f16", "dtype", dtype));
  const quantised = checkpoint.tensors.find((tensor) => isBlockType(tensor.dtype));
  if (quantised !== undefined) {
    const remedy =
      "Export the model's Hugging Face folder instead; the native engine (npm run build) opens the GGUF file.";
    throw new InputError(
      "onnx-quantised",
      expected("plain weights for an ONNX export", checkpoint.path, `${quantised.name} in ${quantised.dtype}`, remedy),
    );
  }
  const modelHash = options.modelHash ?? (await checkpointHash(checkpoint));
  if (signal?.aborted) throw new AbortedError();

  const matrices = checkpoint.tensors.filter((tensor) => tensor.shape.length === 2);
  const stored = [
    ...matrices.map((tensor) => ({ ...tensor, source: tensor })),
    ...(adapter === null ? [] : loraTensors(adapter, checkpoint.config)),
  ];
  const { placements, bytes } = placeTensors(stored, dtype);
  const dataFile = `${file}.data`;
  writing(file, () => fs.mkdirSync(path.dirname(file), { recursive: true }));
  const partial = partialPath(dataFile);
  try {
    const identity = dataIdentity({ modelHash, adapter, dtype });
    const onProgress = (done: number): void => options.onProgress?.(done, bytes);
    const dataSha256 = await writeDataFile(partial, identity, placements.values(), { onProgress, signal });
    const metadata = {
      version: LIBRARY_VERSION,
      config: checkpoint.config,
      modelHash,
      adapter,
      dtype,
      dataBytes: bytes,
      dataSha256,
    };
    const weights = await graphWeights(checkpoint, {
      placements,
      dtype,
      location: path.basename(dataFile),
      hasAdapter: adapter !== null,
    });
    const graph = encodeModel({
      irVersion: IR_VERSION,
      producerName: "steerlab",
      producerVersion: LIBRARY_VERSION,
      docString: "A Qwen2 language model whose residual stream can be steered; see metadata_props for the conventions.",
      graph: qwen2Graph(checkpoint.config, weights),
      opsetImport: [{ domain: "", version: OPSET }],
      metadataProps: metadataProps(metadata),
    });
    fs.rmSync(file, { force: true });
    commitPartial(partial, dataFile);
    writeFileAtomic(file, graph);
    return { file, dataFile, bytes: bytes + graph.length, modelHash, adapterHash: adapter?.hash ?? null, dtype };
  } finally {
    fs.rmSync(partial, { force: true });
  }
}

/** @throws InputError "onnx-out" */
function checkedOut(out: string, checkpoint: Checkpoint): string {
  const file = path.resolve(out);
  if (!file.endsWith(".onnx")) throw new InputError("onnx-out", expected('a name ending in ".onnx"', "out", out));
  if (fs.statSync(file, { throwIfNoEntry: false })?.isDirectory())
    throw new InputError("onnx-out", expected("a file name", "out", out, "There is a folder of that name."));
  if (checkpoint.files.some((weights) => [file, `${file}.data`].includes(path.resolve(weights)))) {
    throw new InputError("onnx-out", expected("a file other than the model's own", "out", out));
  }
  return file;
}

async function graphWeights(
  checkpoint: Checkpoint,
  from: { placements: Map<string, Placement>; dtype: "f32" | "f16"; location: string; hasAdapter: boolean },
): Promise<GraphWeights> {
  const { placements, dtype, location } = from;
  const vectors = new Map<string, Float32Array>();
  for (const tensor of checkpoint.tensors)
    if (tensor.shape.length === 1) vectors.set(tensor.name, await readVector(tensor));
  const declare = (builder: GraphBuilder, name: string): string => {
    const vector = vectors.get(name);
    if (vector !== undefined) return builder.floats(name, vector, [vector.length]);
    const { shape, offset, length, dtype: stored } = placements.get(name) as Placement;
    const externalData = Object.entries({ location, offset, length }).map(([key, value]) => ({
      key,
      value: String(value),
    }));
    return builder.initializer({ name, dims: [...shape], dataType: ELEMENT[stored], externalData, dataLocation: 1 });
  };
  const lora: GraphWeights["lora"] = (builder, module) => ({
    a: declare(builder, IO.loraA(module)),
    b: declare(builder, IO.loraB(module)),
  });
  return { dtype, declare, lora: from.hasAdapter ? lora : null };
}

/** The adapter's stacks, under the names that its inputs would have. */
function loraTensors(adapter: BuiltInAdapter, config: ModelConfig): StoredTensor[] {
  const layers = config.num_hidden_layers;
  return Object.entries(stackParts(adapter.parts, config)).flatMap(([module, { a, b, rank, width, out }]) => [
    { name: IO.loraA(module as Projection), shape: [layers, width, rank], source: a },
    { name: IO.loraB(module as Projection), shape: [layers, rank, out], source: b },
  ]);
}
