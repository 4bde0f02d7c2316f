/**
 * onnxruntime-node behind two functions: open an exported file, run one batch of typed arrays.
 *
 * The only importer of onnxruntime-node, which is loaded when first needed. A run occupies the JavaScript thread until it is
 * done (the binding has no other way), so callers keep batches short.
 */
import type * as Ort from "onnxruntime-node";
import { DataError, DeviceError } from "../../base";

/** One array with its shape; BigInt64Array for ids and indices. */
export interface Feed {
  data: Float32Array | BigInt64Array;
  dims: readonly number[];
}

export interface OnnxSession {
  /** names of the graph's inputs, in order */
  readonly inputs: readonly string[];
  /** version of the runtime */
  readonly version: string;
  run(feeds: Readonly<Record<string, Feed>>, fetch: readonly string[]): Promise<Record<string, Float32Array>>;
  dispose(): Promise<void>;
}

/** @throws DeviceError "onnx-runtime-missing" */
function loadRuntime(): typeof Ort {
  try {
    return require("onnxruntime-node") as typeof Ort;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new DeviceError(
      "onnx-runtime-missing",
      `onnxruntime-node could not be loaded (${reason}). Run: npm install (Linux, macOS or Windows, x64 or arm64).`,
      { cause },
    );
  }
}

/**
 * Loads a graph and its weights on the CPU.
 * @param threads 0: all cores
 * @throws DeviceError "onnx-runtime-missing"; DataError "onnx-load" with the runtime's own words
 */
export async function openSession(file: string, threads: number): Promise<OnnxSession> {
  const ort = loadRuntime();
  let session: Ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(file, {
      executionProviders: ["cpu"],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // Every batch has shapes of its own; remembering a memory plan for each would only grow.
      enableMemPattern: false,
      logSeverityLevel: 3,
    });
  } catch (cause) {
    throw new DataError(
      "onnx-load",
      `onnxruntime could not load ${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  return {
    inputs: session.inputNames,
    version: ort.env.versions.node ?? ort.env.versions.common,
    async run(feeds, fetch) {
      const tensors = Object.fromEntries(
        Object.entries(feeds).map(([name, { data, dims }]) => [name, tensorOf(ort, data, dims)]),
      );
      const outputs = await session.run(tensors, [...fetch]);
      return Object.fromEntries(fetch.map((name) => [name, outputs[name].data as Float32Array]));
    },
    dispose: () => session.release(),
  };
}

function tensorOf(ort: typeof Ort, data: Float32Array | BigInt64Array, dims: readonly number[]): Ort.Tensor {
  return data instanceof Float32Array ? new ort.Tensor("float32", data, dims) : new ort.Tensor("int64", data, dims);
}
