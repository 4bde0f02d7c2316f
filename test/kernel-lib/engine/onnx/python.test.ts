/**
 * The exported file outside this project: the onnx checker takes it, and Python's onnxruntime gives the CPU engine's numbers.
 * Needs Python with onnx, onnxruntime and numpy: STEERLAB_ORACLE_PYTHON, or .venv-oracle in the repository. Skipped by name without.
 */
import { execFile, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readAdapter, readCheckpoint } from "../../../../kernel-lib/src/checkpoint";
import { exportOnnx, logSumExp, openNative } from "../../../../kernel-lib/src/engine";
import { directionOf, tokensOf } from "../../../gpu-native/toy";
import { adapterFolder, modelFolder } from "../../../parity/readers";
import { F32_LOGPROB } from "../../../parity/tolerances";
import { largest } from "./models";

const ROOT = path.resolve(__dirname, "../../../..");
const CHECK = path.join(__dirname, "check_export.py");
const run = promisify(execFile);

function pythonWithOnnx(): string | null {
  const candidate = process.env.STEERLAB_ORACLE_PYTHON ?? path.join(ROOT, ".venv-oracle/bin/python");
  const probe =
    "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('onnx', 'onnxruntime', 'numpy')))";
  return spawnSync(candidate, ["-c", probe]).status === 0 ? candidate : null;
}

const python = pythonWithOnnx();
const title = `the exported file in Python${python === null ? " (skipped: no Python with onnx, onnxruntime and numpy; set STEERLAB_ORACLE_PYTHON or run .ci/run)" : ""}`;

let scratch: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-onnx-"));
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

describe.skipIf(python === null)(title, () => {
  it.each([
    { model: "gqa-tied", dtype: "f32", adapter: null },
    { model: "head-dim-odd", dtype: "f32", adapter: null },
    { model: "mha-sharded-f16", dtype: "f16", adapter: null },
    { model: "bf16-theta", dtype: "f32", adapter: "r4-all" },
  ] as const)(
    "$model $dtype, adapter $adapter: checker, steer, remove, ask",
    async ({ model, dtype, adapter: tag }) => {
      const folder = modelFolder(model);
      const { config, tensors } = readCheckpoint(folder);
      const adapterPath = tag === null ? null : adapterFolder(model, tag);
      const { file } = await exportOnnx({
        model: folder,
        out: path.join(scratch, `${model}.onnx`),
        dtype,
        adapter: adapterPath,
      });
      const request = {
        context: [...tokensOf(9, 1, config.vocab_size)],
        question: [...tokensOf(4, 2, config.vocab_size)],
        direction: [...directionOf(3, config.hidden_size)],
        layers: [0, config.num_hidden_layers] as [number, number],
        magnitude: 1.5,
        span: [2, 7] as [number, number],
      };
      fs.writeFileSync(path.join(scratch, "request.json"), JSON.stringify(request));
      const { stdout } = await run(python as string, [CHECK, file, path.join(scratch, "request.json")], {
        maxBuffer: 1 << 26,
      });
      const theirs = JSON.parse(stdout) as { clean: number[]; asked: number[] };

      const cpu = await openNative({ backend: "cpu", dtype: "f32", threads: 1, config, tensors });
      const parts = adapterPath === null ? null : (await readAdapter(adapterPath, { config, name: null })).parts;
      const adapter = parts === null ? null : cpu.bindAdapter(parts, { name: "a", hash: "a" });
      const steering = [
        {
          direction: Float32Array.from(request.direction),
          layers: request.layers,
          magnitude: request.magnitude,
          span: request.span,
        },
      ];
      const [clean, , asked] = await cpu.forward(
        [
          { tokens: request.context, adapter },
          { tokens: request.context, steering, adapter, report: false },
          { tokens: request.question, parent: 1, adapter },
        ],
        { report: "last", fullVocabulary: true },
      );
      const logprobs = (logits: number[]): number[] => logits.map((x) => x - logSumExp(Float32Array.from(logits)));
      expect(largest(clean.positions[0].all as Float32Array, logprobs(theirs.clean))).toBeLessThan(F32_LOGPROB);
      expect(largest(asked.positions[0].all as Float32Array, logprobs(theirs.asked))).toBeLessThan(F32_LOGPROB);
      cpu.dispose();
    },
  );
});
