/**
 * Opens a checkpoint (through an export made once and kept) or an exported file on onnxruntime.
 *
 * Kept exports stand in one folder per model hash and dtype under STEERLAB_CACHE, else XDG_CACHE_HOME/steerlab, else
 * ~/.cache/steerlab. A folder appears whole by a rename; a damaged one is written again.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { DataError, expected, InputError } from "../../base";
import { type Checkpoint, checkpointHash } from "../../checkpoint";
import { partialPath } from "../../files";
import type { DTypeName } from "../types";
import { OnnxEngine } from "./engine";
import { exportCheckpoint } from "./export";
import { type OnnxFile, readOnnxFile } from "./file";
import { FORMAT } from "./metadata";
import { openSession } from "./runtime";

export interface OpenOnnxOptions {
  /** default 0: all cores */
  threads?: number;
  /** compute type; only f32 (default) */
  dtype?: DTypeName;
  /** bytes of the export written so far and in all; not called when it is there already */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
  /** `checkpointHash`, if it is known already */
  modelHash?: string;
  /** folder of kept exports; default: see the file header */
  cacheFolder?: string;
  /** told once when an export is about to be written; default: a line on stderr */
  notice?: (sentence: string) => void;
}

/**
 * Opens a checkpoint on onnxruntime; the first time it is exported to the cache.
 * @throws DeviceError "onnx-runtime-missing"; InputError "bad-dtype"; DataError "onnx-load" and as `readCheckpoint`; AbortedError
 * @example
 * const engine = await openOnnx(readCheckpoint("data/lab-model"), { threads: 2 });
 */
export async function openOnnx(checkpoint: Checkpoint, options: OpenOnnxOptions = {}): Promise<OnnxEngine> {
  checkDtype(options.dtype);
  const modelHash = options.modelHash ?? (await checkpointHash(checkpoint));
  const file = await keptExport(checkpoint, modelHash, options);
  return start(file, options.threads ?? 0);
}

/**
 * Opens a file made by `exportOnnx`.
 * @param options.modelHash refuses an export of another model
 * @throws DataError as `readOnnxFile`, "onnx-load"; DeviceError "onnx-runtime-missing"
 * @example
 * const engine = await openOnnxFile("lab.onnx", { threads: 2 });
 */
export async function openOnnxFile(
  file: string,
  options: { threads?: number; modelHash?: string; verify?: boolean } = {},
): Promise<OnnxEngine> {
  return start(await readOnnxFile(file, options), options.threads ?? 0);
}

/** Folder of kept exports. */
export function onnxCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const home =
    env.STEERLAB_CACHE || path.join(env.XDG_CACHE_HOME || path.join(env.HOME || os.homedir(), ".cache"), "steerlab");
  return path.join(path.resolve(home), "onnx");
}

async function start(file: OnnxFile, threads: number): Promise<OnnxEngine> {
  if (!Number.isInteger(threads) || threads < 0)
    throw new InputError("threads", expected("a whole number >= 0", "threads", threads));
  return new OnnxEngine(await openSession(file.file, threads), file, threads);
}

function checkDtype(dtype: DTypeName | undefined): void {
  if (dtype !== undefined && dtype !== "f32") {
    throw new InputError(
      "bad-dtype",
      expected("f32", "dtype of backend onnx", dtype, "onnxruntime computes in f32 here."),
    );
  }
}

async function keptExport(checkpoint: Checkpoint, modelHash: string, options: OpenOnnxOptions): Promise<OnnxFile> {
  const root = options.cacheFolder ?? onnxCacheFolder();
  const folder = path.join(root, `${modelHash.slice(0, 32)}-${FORMAT.replace("/", "-")}-f32`);
  const name = "model.onnx";
  const kept = await readKept(path.join(folder, name), modelHash);
  if (kept !== null) return kept;
  const size = `${Math.ceil(checkpoint.weightBytes / 2 ** 20)} MiB`;
  const sentence = `Writing an ONNX copy of ${checkpoint.path} (weights of ${size}) to ${folder}; this happens once per model.`;
  (options.notice ?? ((text: string) => void process.stderr.write(`steerlab: ${text}\n`)))(sentence);
  fs.mkdirSync(root, { recursive: true });
  const partial = partialPath(folder, "folder");
  try {
    await exportCheckpoint(checkpoint, {
      out: path.join(partial, name),
      modelHash,
      onProgress: options.onProgress,
      signal: options.signal,
    });
    // Another process may have written the same export meanwhile, and be running it: equal bytes, so it stays.
    const meanwhile = await readKept(path.join(folder, name), modelHash);
    if (meanwhile !== null) return meanwhile;
    fs.rmSync(folder, { recursive: true, force: true });
    renameUnlessThere(partial, folder);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return readOnnxFile(path.join(folder, name), { modelHash });
}

/** A kept export that can be run, or null. */
async function readKept(file: string, modelHash: string): Promise<OnnxFile | null> {
  try {
    return await readOnnxFile(file, { modelHash });
  } catch (error) {
    if (error instanceof DataError) return null;
    throw error;
  }
}

/** Gives way to a folder that appeared since it was looked for. */
function renameUnlessThere(from: string, to: string): void {
  try {
    fs.renameSync(from, to);
  } catch (error) {
    if (!fs.existsSync(to)) throw error;
  }
}
