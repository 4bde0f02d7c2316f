// steerlab train on a GGUF file: the adapter names what it was trained on, and binds to that file only.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkpointHash, readCheckpoint } from "../../../kernel-lib/src/checkpoint";
import { train } from "../../../kernel-lib/src/command";
import { openModel } from "../../../kernel-lib/src/engine";
import { sha256File, writeSafetensors } from "../../../kernel-lib/src/files";
import { randomDirectionSet, writeDirections } from "../../../kernel-lib/src/steering";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-train-gguf-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);
const toy = path.join(import.meta.dirname, "../../fixtures/gguf/toy.gguf");

const example = (id: number): object => ({
  id: `e${id}`,
  context: [5, 6, 7 + id],
  question: [8, 9],
  labels: [10, 11],
  target: id % 2,
  steering: id % 2 === 0 ? null : { vectorIndex: 0, layers: [0, 1], magnitude: 2 },
});
const config = {
  lora: { r: 2, alpha: 4, dropout: 0, target_modules: ["q_proj", "v_proj"] },
  optimizer: { lr: 0.001, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, max_grad_norm: 1 },
  schedule: { warmup_steps: 1, total_steps: 2 },
  batch: 2,
  epochs: 1,
  order: "given",
  loss: "pair",
  seed: 1,
};

function trainWith(vectors: string, out: string): Promise<void> {
  fs.writeFileSync(at("examples.jsonl"), [0, 1, 2, 3].map((id) => `${JSON.stringify(example(id))}\n`).join(""));
  fs.writeFileSync(at("train.yaml"), JSON.stringify(config));
  const flags = { model: toy, examples: at("examples.jsonl"), vectors, config: at("train.yaml"), out: at(out) };
  return train([...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]), "--backend", "cpu"]);
}

describe("steerlab train --model toy.gguf", () => {
  it("takes a control vector, and records quantisation and file hash of the base", async () => {
    writeDirections(at("v.gguf"), { ...randomDirectionSet(1, 256, 1), layers: [1], norms: [7] });
    await trainWith(at("v.gguf"), "run");
    const adapter = at("run/adapter");
    const { base_model_name_or_path: base } = JSON.parse(
      fs.readFileSync(path.join(adapter, "adapter_config.json"), "utf8"),
    );
    expect(base).toBe(`toy.gguf (Q4_K_M, sha256 ${(await sha256File(toy)).slice(0, 12)})`);
    const { baseModelHash } = JSON.parse(fs.readFileSync(path.join(adapter, "steerlab.json"), "utf8"));
    expect(baseModelHash).toBe(await checkpointHash(readCheckpoint(toy)));
    const model = await openModel(toy, { backend: "cpu", threads: 1 });
    expect(model.name).toBe(base);
    (await model.attach(adapter)).dispose();
    model.dispose();
    const changed = fs.readFileSync(toy);
    changed[changed.length - 1] ^= 1;
    fs.writeFileSync(at("toy.gguf"), changed);
    const other = await openModel(at("toy.gguf"), { backend: "cpu", threads: 1 });
    await expect(other.attach(adapter)).rejects.toMatchObject({ code: "adapter-base" });
    other.dispose();
  });

  it.each<[string, RegExp, object]>([
    ["a zero row", /vectors\[0\].*zeros only/, { dtype: "F32", shape: [1, 256], data: new Float32Array(256) }],
    ["whole numbers", /I32/, { dtype: "I32", shape: [1, 256], data: new Float32Array(256).fill(1) }],
    ["another width", /256 components/, { dtype: "F32", shape: [1, 4], data: [1, 0, 0, 0] }],
    ["no rows", /at least one vector/, { dtype: "F32", shape: [0, 256], data: [] }],
  ])("refuses %s as the library does", async (_, sentence, vectors) => {
    writeSafetensors(at("bad.safetensors"), { vectors: vectors as never });
    await expect(trainWith(at("bad.safetensors"), "never")).rejects.toThrowError(sentence);
    expect(fs.existsSync(at("never/adapter"))).toBe(false);
  });
});
