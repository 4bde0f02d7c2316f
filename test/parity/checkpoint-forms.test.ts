/**
 * One model, several honest spellings of its checkpoint: the same numbers to the last bit. rope_theta at the top level
 * (transformers 4), in rope_parameters (transformers 5) or both; shards or one file; f16 or the same values widened to f32.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../kernel-lib/src/files";
import { engineChoices, openFolder } from "./engines";
import { modelFolder, readGolden, readSafetensors } from "./readers";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-forms-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

type Json = Record<string, unknown>;

/** A copy of a fixture model with its config changed and, if wanted, its weights in one file of another type. */
function variant(
  name: "bf16-theta" | "mha-sharded-f16",
  tag: string,
  change: (config: Json) => void,
  oneFile?: "F16" | "F32",
): string {
  const from = modelFolder(name);
  const to = path.join(folder, tag);
  fs.mkdirSync(to);
  const config = JSON.parse(fs.readFileSync(path.join(from, "config.json"), "utf8")) as Json;
  change(config);
  fs.writeFileSync(path.join(to, "config.json"), JSON.stringify(config));
  const weights = fs.readdirSync(from).filter((file) => file !== "config.json");
  if (oneFile === undefined) {
    for (const file of weights) fs.copyFileSync(path.join(from, file), path.join(to, file));
    return to;
  }
  const tensors: Parameters<typeof writeSafetensors>[1] = {};
  for (const file of weights.filter((one) => one.endsWith(".safetensors"))) {
    for (const [key, { shape, data }] of readSafetensors(path.join(from, file)))
      tensors[key] = { dtype: oneFile, shape, data };
  }
  writeSafetensors(path.join(to, "model.safetensors"), tensors);
  return to;
}

async function logprobs(at: string, name: "bf16-theta" | "mha-sharded-f16"): Promise<(Float32Array | null)[]> {
  const engine = await openFolder(at, engineChoices("f32")[0]);
  try {
    const { tokens } = readGolden(name).forward[0];
    const [result] = await engine.forward([{ tokens }], { report: "all", fullVocabulary: true });
    return result.positions.map((position) => position.all);
  } finally {
    engine.dispose();
  }
}

describe("one model, several spellings", () => {
  it("rope_theta at the top level, in rope_parameters, or in both", async () => {
    const both = await logprobs(modelFolder("bf16-theta"), "bf16-theta");
    const top = variant("bf16-theta", "top", (config) => delete config.rope_parameters);
    const inner = variant("bf16-theta", "inner", (config) => delete config.rope_theta);
    expect(await logprobs(top, "bf16-theta")).toEqual(both);
    expect(await logprobs(inner, "bf16-theta")).toEqual(both);
    const other = variant("bf16-theta", "other", (config) => {
      config.rope_theta = 10_000;
      delete config.rope_parameters;
    });
    expect(await logprobs(other, "bf16-theta")).not.toEqual(both);
  });

  it("shards and one file, f16 and the same values in f32", async () => {
    const shards = await logprobs(modelFolder("mha-sharded-f16"), "mha-sharded-f16");
    expect(
      await logprobs(
        variant("mha-sharded-f16", "one", () => undefined, "F16"),
        "mha-sharded-f16",
      ),
    ).toEqual(shards);
    expect(
      await logprobs(
        variant("mha-sharded-f16", "wide", () => undefined, "F32"),
        "mha-sharded-f16",
      ),
    ).toEqual(shards);
  });
});
