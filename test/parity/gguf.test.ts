/**
 * GGUF files and scaled positions against transformers: log-probabilities of the dequantised model, on every instruction set and
 * thread count of this machine. The goldens are made by fixtures/gguf/make.py.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCheckpoint } from "../../kernel-lib/src/checkpoint";
import { openNative } from "../../kernel-lib/src/engine";
import { readSafetensorsHeader, readTensor } from "../../kernel-lib/src/files";
import { absentBackends, type EngineChoice, engineChoices } from "./engines";
import { modelFolder } from "./readers";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-gguf-parity-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const fixtures = path.join(import.meta.dirname, "../fixtures/gguf");

/** Largest difference in nats over all positions and tokens. bf16 rounds at every step: seen 0.03 (GGUF) and 0.19 (the larger logits under YaRN). */
const NATS = { f32: 1e-4, bf16: 0.3, f64: 1e-4 };

async function largestDifference(location: string, golden: string, choice: EngineChoice): Promise<number> {
  const table = readSafetensorsHeader(path.join(fixtures, golden));
  const tokens = await readTensor(table, "ids");
  const expected = await readTensor(table, "logprobs");
  const { config, tensors } = readCheckpoint(location);
  const engine = await openNative({ ...choice, config, tensors });
  try {
    const [row] = await engine.forward([{ tokens }], { report: "all", fullVocabulary: true });
    let worst = 0;
    for (const [t, { all }] of row.positions.entries())
      for (let v = 0; v < config.vocab_size; v++)
        worst = Math.max(worst, Math.abs((all as Float32Array)[v] - expected[t * config.vocab_size + v]));
    return worst;
  } finally {
    engine.dispose();
  }
}

/** The parity model under YaRN: its own weights, another config. */
function yarnFolder(): string {
  const { yarn } = JSON.parse(fs.readFileSync(path.join(fixtures, "golden.json"), "utf8"));
  const source = modelFolder("gqa-tied");
  const config = JSON.parse(fs.readFileSync(path.join(source, "config.json"), "utf8"));
  const target = path.join(folder, "yarn");
  fs.mkdirSync(target, { recursive: true });
  fs.copyFileSync(path.join(source, "model.safetensors"), path.join(target, "model.safetensors"));
  fs.writeFileSync(path.join(target, "config.json"), JSON.stringify({ ...config, rope_parameters: yarn }));
  return target;
}

const absent = absentBackends().join("; ");
describe(`log-probabilities${absent === "" ? "" : ` (absent here: ${absent})`}`, () => {
  describe.each(["f32", "bf16", "f64"] as const)("%s", (dtype) => {
    it.each(engineChoices(dtype))("of a GGUF file in all types, $label", async (choice) => {
      expect(await largestDifference(path.join(fixtures, "toy.gguf"), "toy.safetensors", choice)).toBeLessThan(
        NATS[dtype],
      );
    });

    it.each(engineChoices(dtype))("under YaRN, $label", async (choice) => {
      expect(await largestDifference(yarnFolder(), "yarn.safetensors", choice)).toBeLessThan(NATS[dtype]);
    });
  });

  it("depend on YaRN: without it the same weights give others", async () => {
    const [choice] = engineChoices("f32");
    expect(await largestDifference(modelFolder("gqa-tied"), "yarn.safetensors", choice)).toBeGreaterThan(2 * NATS.bf16);
  });
});
