/** Memory is planned before it is taken: one estimate for the command line, notebooks and benchmarks, and refusals before loading. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { LAB_MODEL } from "../../kernel-lib/src/base";
import {
  parameterCount,
  type Projection,
  QWEN2_SHAPES,
  qwen2Shape,
  readCheckpoint,
} from "../../kernel-lib/src/checkpoint";
import {
  describeEstimate,
  estimateMemory,
  type MemoryEstimate,
  openNative,
  type WorkShape,
} from "../../kernel-lib/src/engine";

const root = join(import.meta.dirname, "..", "..");
const CHUNK = 64 * 2 ** 20; // device memory for weights is taken in chunks of this size
const targets: Projection[] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const card: WorkShape = { rows: 8, contextTokens: 42, questionTokens: 25, lora: { r: 16, targets }, training: true };
const onDevice = (size: string, work?: WorkShape): MemoryEstimate =>
  estimateMemory({ backend: "cuda", dtype: "bf16", config: qwen2Shape(size), tensors: null }, work);

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("the estimate", () => {
  it("of the card's recipe on 32B is at most 80 GB, and of every size holds its weights", () => {
    const estimate = onDevice("32B", card);
    expect(estimate.total).toBeLessThanOrEqual(80e9);
    expect(describeEstimate(estimate)).toMatch(
      /^70\.\d GB: weights 65\.6 GB, adapters 0\.54 GB, keys and values 0\.14 GB, activations 3\.05 GB, workspace 0\.\d\d GB, driver 0\.94 GB$/,
    );
    for (const size of Object.keys(QWEN2_SHAPES)) {
      const least = 2 * parameterCount(qwen2Shape(size));
      expect(onDevice(size).weights - least, size).toBeGreaterThanOrEqual(0);
      expect(onDevice(size).weights - least, size).toBeLessThan(CHUNK);
    }
  });

  it("is the sum of its parts and grows with the work", () => {
    const { total, ...parts } = onDevice("7B", card);
    expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
    expect(onDevice("7B", { ...card, rows: 16 }).total).toBeGreaterThan(total);
    expect(onDevice("7B", { ...card, training: false }).total).toBeLessThan(total);
    expect(onDevice("7B", { rows: 1, contextTokens: 0, questionTokens: 1, keptTokens: 1000 }).keysAndValues).toBe(
      1000 * 28 * 2 * 512 * 2 + 2 * 512 * 2,
    );
  });

  it("counts weights in the type in which they are kept", () => {
    const { config, tensors } = readCheckpoint(LAB_MODEL);
    const bytes = (dtype: "f32" | "bf16", stored: "f32" | "bf16" | "f16"): number =>
      estimateMemory(
        { backend: "cpu", dtype, config, tensors: tensors.map((t) => ({ ...t, dtype: stored })) },
        { rows: 1, contextTokens: 0, questionTokens: 1 },
      ).weights / parameterCount(config);
    expect([bytes("f32", "bf16"), bytes("f32", "f32"), bytes("f32", "f16"), bytes("bf16", "f32")]).toEqual([
      2, 4, 4, 2,
    ]);
  });

  it("refuses work that is no work", () => {
    expect(() => onDevice("0.5B", { ...card, rows: -1 })).toThrow(/a number >= 0 for rows/);
  });
});

describe("opening", () => {
  const { config, tensors } = readCheckpoint(LAB_MODEL);

  it("refuses what does not fit before it reads a weight, in one sentence with both sides", async () => {
    vi.stubEnv("STEERLAB_MEMORY_GB", "0.001");
    const seen: string[] = [];
    const opening = openNative({
      backend: "cpu",
      dtype: "f32",
      config,
      tensors,
      onEstimate: (estimate) => seen.push(describeEstimate(estimate)),
      onProgress: () => seen.push("loading"),
    });
    await expect(opening).rejects.toMatchObject({ name: "DeviceError", code: "out-of-memory" });
    await expect(opening).rejects.toThrow(
      /^Expected at most 0\.00 GB \(STEERLAB_MEMORY_GB\) for memory but the estimate is 0\.\d\d GB: weights .* GB\. Use smaller batches/,
    );
    expect(seen).toHaveLength(1);
  });

  it("names the machine where no other limit is set", async () => {
    const opening = openNative({
      backend: "cpu",
      dtype: "f32",
      config: { ...qwen2Shape("32B"), num_hidden_layers: 100_000 },
      tensors: null,
    });
    await expect(opening).rejects.toThrow(/\(free on this machine\) for memory but the estimate is \d{5,}\.\d GB/);
  });

  it("asks of training more than of asking", async () => {
    const asking = estimateMemory({ backend: "cpu", dtype: "f32", config, tensors }).total;
    vi.stubEnv("STEERLAB_MEMORY_GB", String((asking + 1) / 1e9));
    const options = { backend: "cpu", dtype: "f32", config, tensors } as const;
    (await openNative(options)).dispose();
    const work = { ...card, contextTokens: 2000, questionTokens: 2000 };
    await expect(openNative({ ...options, work })).rejects.toMatchObject({ code: "out-of-memory" });
  });
});

describe("the command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "steerlab-memory-"));
  const run = (
    args: string[],
    env: Record<string, string>,
  ): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(root, "kernel-lib", "bin", "steerlab.cjs"), ...args], {
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("refuses a batch that does not fit, with nothing on standard output and no output file", () => {
    const trials = join(folder, "in.jsonl");
    const lines = Array.from({ length: 40 }, (_, id) => ({
      id,
      context: Array(200).fill(7),
      question: [8, 9],
      report: { tokens: [10] },
    }));
    writeFileSync(trials, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const args = [
      "score",
      "--model",
      LAB_MODEL,
      "--trials",
      trials,
      "--out",
      join(folder, "out.jsonl"),
      "--backend",
      "cpu",
    ];
    const { config, tensors } = readCheckpoint(LAB_MODEL);
    const [one, forty] = [1, 40].map((rows) => {
      const work = { rows, contextTokens: 200, questionTokens: 2 };
      return estimateMemory({ backend: "cpu", dtype: "f32", config, tensors }, work).total;
    });
    const limit = { STEERLAB_MEMORY_GB: String((one + forty) / 2e9) };
    const enough = run([...args, "--batch", "1"], limit);
    expect(enough, enough.stderr).toMatchObject({ status: 0, stdout: "" });
    rmSync(join(folder, "out.jsonl"));
    const refused = run([...args, "--batch", "40"], limit);
    expect(refused.status).not.toBe(0);
    expect(refused.stdout).toBe("");
    expect(refused.stderr).toMatch(/Expected at most 0\.\d\d GB \(STEERLAB_MEMORY_GB\) for memory but the estimate is/);
    expect(() => readFileSync(join(folder, "out.jsonl"))).toThrow();
  });
});

/** The shapes are written in three places because C++, Python and TypeScript each need them without the others. */
describe("the shapes of the device benchmarks", () => {
  const device = join(root, "gpu-native", "bench", "device");
  const named = (name: string): (number | boolean)[] => {
    const c = qwen2Shape(name);
    return [
      ...[c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads, c.head_dim],
      ...[c.intermediate_size, c.vocab_size, c.tie_word_embeddings],
    ];
  };
  const parsed = (list: string): (number | boolean)[] =>
    list.split(",").map((part) => (/^\s*[a-z]/i.test(part) ? part.trim().toLowerCase() === "true" : Number(part)));

  it("in C++ are those of shapes.ts", () => {
    const found = [...readFileSync(join(device, "shapes.h"), "utf8").matchAll(/name == "([^"]+)"\) set\(([^)]*)\)/g)];
    const real = found.filter(([, name]) => name !== "toy");
    expect(real.map(([, name]) => name)).toEqual(["32B", "7B", "0.5B"]);
    for (const [, name, list] of real) expect(parsed(list), name).toEqual(named(name));
    expect(readFileSync(join(device, "shapes.h"), "utf8")).toContain(`c.rope_theta = 1e6;`);
  });

  it("in Python are those of shapes.ts", () => {
    const found = [
      ...readFileSync(join(device, "baseline.py"), "utf8").matchAll(/"([^"]+)": \(([\d, ]+(?:True|False))\)/g),
    ];
    const real = found.filter(([, name]) => name !== "toy");
    expect(real.map(([, name]) => name)).toEqual(["32B", "7B", "0.5B"]);
    for (const [, name, list] of real) {
      const withoutHeadWidth = named(name).filter((_, i) => i !== 4);
      expect(parsed(list), name).toEqual(withoutHeadWidth);
    }
  });
});
