/**
 * The ONNX engine equals the CPU engine in f32, within the project's promise: awkward checkpoints, random shapes, the lab model;
 * plain and steered (several plans, spans), with adapters, over caches and parents, in one mixed batch.
 * STEERLAB_SLOW=1 adds a random model of the 0.5B shape (bf16 checkpoint of 1 GB, export of 2 GB).
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LAB_MODEL, type Random, random } from "../../../../kernel-lib/src/base";
import {
  type AdapterPart,
  type ModelConfig,
  qwen2Shape,
  readAdapter,
  readCheckpoint,
} from "../../../../kernel-lib/src/checkpoint";
import {
  crossCheck,
  type Engine,
  exportOnnx,
  type ForwardOptions,
  openNative,
  openOnnxFile,
  type Row,
} from "../../../../kernel-lib/src/engine";
import { adapterFolder, MODEL_NAMES, modelFolder, readGolden } from "../../../parity/readers";
import { F32_HIDDEN, F32_LOGPROB } from "../../../parity/tolerances";
import { bothEngines, farthest, largest, randomConfig, randomParts, randomSteering, writeCheckpoint } from "./models";

const SEEDS = [1, 2, 3, 4, 5, 6];
const labModelIsThere = fs.existsSync(path.join(LAB_MODEL, "model.safetensors"));

let scratch: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-onnx-"));
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** Contexts with kept caches, a question under each, grandchildren, and questions over one shared cache. */
function mixedRows(rng: Random, config: ModelConfig, adapters: (AdapterPart[] | null)[]): (engine: Engine) => Row[] {
  const tokens = (n: number): number[] => Array.from({ length: n }, () => rng.integer(config.vocab_size));
  const contexts = Array.from({ length: 7 }, () => {
    const ids = tokens(1 + rng.integer(11));
    return {
      ids,
      steering: randomSteering(rng, config, ids.length),
      adapter: rng.integer(adapters.length),
      question: tokens(1 + rng.integer(5)),
    };
  });
  const again = Array.from({ length: 3 }, () => tokens(1 + rng.integer(4)));
  return (engine) => {
    const bound = adapters.map((parts) =>
      parts === null ? null : engine.bindAdapter(parts, { name: "random", hash: "random" }),
    );
    const first: Row[] = contexts.map(({ ids, steering, adapter }) => ({
      tokens: ids,
      steering,
      adapter: bound[adapter],
      keepCache: true,
    }));
    const second: Row[] = contexts.map(({ question, adapter }, i) => ({
      tokens: question,
      parent: i,
      adapter: bound[adapter],
    }));
    const third: Row[] = again.map((ids) => ({ tokens: ids, parent: first.length, adapter: bound[0], steering: [] }));
    return [...first, ...second, ...third];
  };
}

async function compare(cpu: Engine, onnx: Engine, rows: (engine: Engine) => Row[]): Promise<void> {
  const layers = Array.from({ length: cpu.config.num_hidden_layers }, (_, i) => i);
  const options: ForwardOptions = { report: "all", fullVocabulary: true, capture: { layers, positions: "all" } };
  const [ours, theirs] = [await cpu.forward(rows(cpu), options), await onnx.forward(rows(onnx), options)];
  expect(farthest(ours, theirs)).toBeLessThan(F32_LOGPROB);
  for (const [i, row] of ours.entries()) {
    const scale = Math.max(1, ...(row.captures as Float32Array).map(Math.abs));
    expect(largest(row.captures as Float32Array, theirs[i].captures as Float32Array) / scale).toBeLessThan(F32_HIDDEN);
    expect(theirs[i].cache?.length).toBe(row.cache?.length);
  }
  await compareOverCaches(cpu, onnx, ours, theirs);
}

/** Kept caches, longest first, asked in one batch: shared by several rows and side by side. */
async function compareOverCaches(
  cpu: Engine,
  onnx: Engine,
  ours: Awaited<ReturnType<Engine["forward"]>>,
  theirs: typeof ours,
): Promise<void> {
  const ask = (results: typeof ours): Row[] =>
    [0, 1, 2, 2, 2, 3].map((i, n) => ({
      tokens: [n + 1, 2, 3].slice(0, 1 + (n % 3)),
      cache: results[i].cache,
      wanted: [0, 5],
    }));
  const [a, b] = [
    await cpu.forward(ask(ours), { report: "last", fullVocabulary: true, topK: 3 }),
    await onnx.forward(ask(theirs), { report: "last", fullVocabulary: true, topK: 3 }),
  ];
  expect(farthest(a, b)).toBeLessThan(F32_LOGPROB);
  for (const [i, row] of a.entries()) {
    expect(largest(row.positions[0].logprobs, b[i].positions[0].logprobs)).toBeLessThan(F32_LOGPROB);
    expect(
      largest(
        row.positions[0].top.map((t) => t.logprob),
        b[i].positions[0].top.map((t) => t.logprob),
      ),
    ).toBeLessThan(F32_LOGPROB);
  }
}

describe("onnx = cpu in f32 on the parity checkpoints", () => {
  it.each(MODEL_NAMES)("%s, with its PEFT adapters", async (name) => {
    const { cpu, onnx } = await bothEngines(modelFolder(name), scratch);
    const adapters: (AdapterPart[] | null)[] = [null];
    for (const tag of readGolden(name).adapters) {
      adapters.push(
        (await readAdapter(adapterFolder(name, tag), { config: cpu.config, name: null }, { otherBase: "accept" }))
          .parts,
      );
    }
    expect(adapters.length).toBe(3);
    await compare(cpu, onnx, mixedRows(random(17), cpu.config, adapters));
    cpu.dispose();
    onnx.dispose();
  });
});

describe("onnx = cpu in f32 on random shapes", () => {
  it.each(SEEDS)("seed %i", async (seed) => {
    const rng = random(seed);
    const config = randomConfig(rng);
    const dtype = rng.pick(["F32", "BF16", "F16", "F64"] as const);
    const { cpu, onnx } = await bothEngines(
      writeCheckpoint(path.join(scratch, `random-${seed}`), seed, config, dtype),
      scratch,
    );
    await compare(cpu, onnx, mixedRows(rng, config, [null, randomParts(rng, config), randomParts(rng, config)]));
    cpu.dispose();
    onnx.dispose();
  });

  it("a row in pieces of 512 tokens equals the same row at once", async () => {
    const config = { ...randomConfig(random(3)), max_position_embeddings: 1200 };
    const { cpu, onnx } = await bothEngines(writeCheckpoint(path.join(scratch, "long"), 5, config), scratch);
    const rng = random(8);
    const tokens = Array.from({ length: 1100 }, () => rng.integer(config.vocab_size));
    const steering = [
      {
        direction: new Float32Array(config.hidden_size).fill(0.1),
        layers: [0, 1] as const,
        magnitude: 1,
        span: [300, 700] as const,
      },
    ];
    const rows = (): Row[] => [
      { tokens, steering },
      { tokens: [1, 2, 3], parent: 0 },
    ];
    const options: ForwardOptions = {
      report: "last",
      fullVocabulary: true,
      capture: { layers: [0], positions: "all" },
    };
    const [a, b] = [await cpu.forward(rows(), options), await onnx.forward(rows(), options)];
    expect(farthest(a, b)).toBeLessThan(F32_LOGPROB);
    expect(largest(a[0].captures as Float32Array, b[0].captures as Float32Array)).toBeLessThan(1e-3);
    cpu.dispose();
    onnx.dispose();
  });
});

describe.skipIf(!labModelIsThere)(
  `onnx = cpu in f32 on the lab model${labModelIsThere ? "" : " (skipped: data/lab-model has no weights)"}`,
  () => {
    it("the cross-check table stays within the promise, and its treatments do something", async () => {
      const { cpu, onnx } = await bothEngines(LAB_MODEL, scratch);
      const { rows } = await crossCheck({ engine: cpu, checkpoint: readCheckpoint(LAB_MODEL) }, { onnx, seed: 4 });
      expect(rows.length).toBe(7);
      for (const row of rows) {
        expect(row.largest, row.trial).toBeLessThan(F32_LOGPROB);
        expect(row.sameTop, row.trial).toBeGreaterThan(0.9);
        const treated = !["plain", "asked on a cache"].includes(row.trial);
        if (treated) expect(row.effect, row.trial).toBeGreaterThan(100 * F32_LOGPROB);
        else expect(row.effect, row.trial).toBe(0);
      }
      await compare(cpu, onnx, mixedRows(random(5), cpu.config, [null, randomParts(random(6), cpu.config)]));
      cpu.dispose();
      onnx.dispose();
    });
  },
);

const slow = process.env.STEERLAB_SLOW === "1";
describe.skipIf(!slow)(
  `onnx = cpu in f32 on a random 0.5B${slow ? "" : " (skipped: slow; set STEERLAB_SLOW=1)"}`,
  () => {
    it("the cross-check table stays within the promise, and the export never holds the model in memory", async () => {
      const writer = path.resolve(__dirname, "../../../../gpu-native/bench/random-checkpoint.mjs");
      const { writeRandomCheckpoint } = (await import(writer)) as {
        writeRandomCheckpoint(folder: string, config: ModelConfig): string;
      };
      const folder = writeRandomCheckpoint(path.join(scratch, "0.5B"), qwen2Shape("0.5B"));
      const before = process.resourceUsage().maxRSS; // KiB
      const checkpoint = readCheckpoint(folder);
      await exportOnnx({ model: folder, out: path.join(scratch, "big.onnx") });
      expect((process.resourceUsage().maxRSS - before) / 1024).toBeLessThan(300);
      const onnx = await openOnnxFile(path.join(scratch, "big.onnx"));
      const cpu = await openNative({
        backend: "cpu",
        dtype: "f32",
        config: checkpoint.config,
        tensors: checkpoint.tensors,
      });
      const { rows } = await crossCheck({ engine: cpu, checkpoint }, { onnx, tokens: 12 });
      console.table(rows);
      for (const row of rows) expect(row.largest, row.trial).toBeLessThan(F32_LOGPROB);
      cpu.dispose();
      onnx.dispose();
    }, 1_200_000);
  },
);
