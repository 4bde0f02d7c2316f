/** `steerlab export-onnx`: a checkpoint (and adapter) as a steerable ONNX graph that onnxruntime runs anywhere. */
import { InputError } from "../base";
import { exportOnnx } from "../engine";
import { startProgress } from "../notebook";
import { flagsOf, required } from "./flags";

export const EXPORT_ONNX_HELP = `steerlab export-onnx --model DIR --out FILE.onnx [options]

Writes a Qwen2 model as an ONNX graph of standard operators: steering, caches and adapters are inputs. The weights go to
FILE.onnx.data; keep the two files together. What each input means stands in the file's metadata.

  --model DIR|ORG/NAME  checkpoint folder or hub name
  --adapter DIR         PEFT LoRA adapter to build in; without it adapters stay inputs
  --out FILE            the graph file, ending in .onnx
  --dtype NAME          how weights are stored: f32 (default) or f16; arithmetic is f32 in both
`;

/** Runs the command and prints the file's path. @throws InputError, DataError before anything is written */
export async function exportOnnxCommand(args: readonly string[]): Promise<void> {
  const flags = flagsOf("export-onnx", args, ["model", "adapter", "out", "dtype"]);
  const [model, out] = ["model", "out"].map((name) => required("export-onnx", flags, name));
  const dtype = flags.dtype ?? "f32";
  if (dtype !== "f32" && dtype !== "f16")
    throw new InputError("bad-flag", `Expected one of f32, f16 for --dtype but received ${JSON.stringify(dtype)}.`);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once("SIGINT", onInterrupt);
  let line: ReturnType<typeof startProgress> | null = null;
  try {
    const written = await exportOnnx({
      model,
      adapter: flags.adapter ?? null,
      out,
      dtype,
      signal: stop.signal,
      onProgress: (done, total) => {
        line ??= startProgress("export-onnx", Math.ceil(total / 2 ** 20));
        line.update(Math.floor(done / 2 ** 20), "MiB");
      },
    });
    (line as ReturnType<typeof startProgress> | null)?.done();
    process.stdout.write(`${written.file}\n`);
  } finally {
    process.removeListener("SIGINT", onInterrupt);
  }
}
