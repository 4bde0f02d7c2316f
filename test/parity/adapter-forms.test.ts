/**
 * Adapters in every form that PEFT writes or reads: log-probabilities as PeftModel computes them from the same folder, committed
 * and live. Ranks and scalings differ between modules of one adapter here, layers are left out, names and patterns vary.
 * STEERLAB_ORACLE_PYTHON as in live.test.ts; STEERLAB_LIVE_SEED repeats a seed.
 */
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readAdapter, readCheckpoint } from "../../kernel-lib/src/checkpoint";
import { type Engine, openOnnx } from "../../kernel-lib/src/engine";
import { engineChoices, openFolder } from "./engines";
import { oraclePython } from "./oracle";
import { largest, modelFolder } from "./readers";
import { F32_LOGPROB } from "./tolerances";

const ADAPTERS = path.join(__dirname, "..", "fixtures", "adapter");
const GOLDEN = path.join(ADAPTERS, "forms");

interface Forms {
  prompts: number[][];
  /** form -> log-probabilities of the whole vocabulary after each prompt */
  expected: Record<string, number[][]>;
}

const readForms = (folder: string): Forms => JSON.parse(fs.readFileSync(path.join(folder, "expected.json"), "utf8"));

/** Every form as the rows of one batch, the adapters bound side by side. */
async function compare(engine: Engine, model: string, folder: string, forms: string[]): Promise<void> {
  const { prompts, expected } = readForms(folder);
  const base = { ...readCheckpoint(model), name: "model" };
  const rows = [];
  for (const form of forms) {
    const { parts, hash } = await readAdapter(path.join(folder, form), base);
    const adapter = engine.bindAdapter(parts, { name: form, hash });
    rows.push(...prompts.map((tokens) => ({ tokens, adapter })));
  }
  const results = await engine.forward(rows, { report: "last", fullVocabulary: true });
  for (const [i, { positions }] of results.entries()) {
    const form = forms[Math.floor(i / prompts.length)];
    const theirs = expected[form][i % prompts.length];
    expect(largest(positions[0].all as Float32Array, theirs), form).toBeLessThan(F32_LOGPROB);
  }
}

const goldenForms = Object.keys(readForms(GOLDEN).expected);

describe("forms of adapters, committed", () => {
  const model = modelFolder("mha-sharded-f16");

  it.each([...engineChoices("f32"), ...engineChoices("f64").slice(0, 1)])("$dtype $label", async (choice) => {
    const engine = await openFolder(model, choice);
    try {
      await compare(engine, model, GOLDEN, goldenForms);
    } finally {
      engine.dispose();
    }
  });

  it("onnx, which says that it does not take lora_bias", async () => {
    const cacheFolder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-forms-onnx-"));
    const engine = await openOnnx(readCheckpoint(model), { cacheFolder, notice: () => undefined });
    try {
      const plain = goldenForms.filter((form) => form !== "lora-bias");
      await compare(engine, model, GOLDEN, plain);
      const { parts } = await readAdapter(path.join(GOLDEN, "lora-bias"), { ...readCheckpoint(model), name: null });
      expect(() => engine.bindAdapter(parts, { name: "b", hash: "b" })).toThrowError(/without lora_bias on onnx/);
    } finally {
      engine.dispose();
      fs.rmSync(cacheFolder, { recursive: true, force: true });
    }
  });
});

const python = oraclePython();
const required = process.env.STEERLAB_REQUIRE_ORACLE === "1";
const seed = Number(process.env.STEERLAB_LIVE_SEED ?? randomInt(1_000_000));
const title =
  python !== null || required
    ? `forms of adapters, live, seed ${seed}`
    : "forms of adapters, live (skipped: no Python with torch, transformers and peft; set STEERLAB_ORACLE_PYTHON)";

describe.skipIf(python === null && !required)(title, () => {
  let folder: string;
  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-forms-live-"));
    const script = path.join(ADAPTERS, "forms.py");
    await promisify(execFile)(python ?? "python3", [script, "live", "--seed", String(seed), "--out", folder]);
  }, 600_000);
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  it("a fresh random model", async () => {
    const model = path.join(folder, "model");
    const forms = path.join(folder, "forms");
    const engine = await openFolder(model, engineChoices("f32")[0]);
    try {
      await compare(engine, model, forms, Object.keys(readForms(forms).expected));
    } finally {
      engine.dispose();
    }
  });
});
