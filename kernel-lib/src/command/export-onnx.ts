/** `steerlab export-onnx`: a checkpoint (and adapter) as a steerable ONNX graph that onnxruntime runs anywhere. */
import { expected, InputError } from "../base";
import { exportOnnx } from "../engine";
import { destinationOf, prepareFile, removeIfEmpty } from "../files";
import { startProgress } from "../notebook";
import { parseArguments } from "./flags";
import { adapterPlace } from "./places";
import { EXPORT_ONNX } from "./tables";

/** Runs the command and prints the file's path. @throws InputError, DataError before anything is written */
export async function exportOnnxCommand(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags } = parseArguments("export-onnx", EXPORT_ONNX, args);
  const { model, out } = flags;
  if (destinationOf(out, "--out").how === "through")
    throw new InputError(
      "out-kind",
      expected("a file", "--out", out, "The weights are put in a second file beside it."),
    );
  const made = prepareFile(out, "--out");
  const line: { progress: ReturnType<typeof startProgress> | null } = { progress: null };
  try {
    const written = await exportOnnx({
      model,
      adapter: flags.adapter === undefined ? null : adapterPlace(flags.adapter),
      out,
      dtype: flags.dtype ?? "f32",
      signal,
      onProgress: (done, total) => {
        line.progress ??= startProgress("export-onnx", Math.ceil(total / 2 ** 20));
        line.progress.update(Math.floor(done / 2 ** 20), "MiB");
      },
    });
    line.progress?.done();
    process.stdout.write(`${written.file}\n`);
  } finally {
    removeIfEmpty(made);
  }
}
