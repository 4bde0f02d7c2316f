/**
 * Laws on random models: the f64 engine equals the plain f64 twin for random shapes, steering with spans, caches and adapters,
 * batched in one call against one sequence at a time. Seeds are in the test names; change the list to explore.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Random, random } from "../../kernel-lib/src/base";
import {
  type AdapterPart,
  type ModelConfig,
  modelTensors,
  PROJECTIONS,
  projectionShape,
} from "../../kernel-lib/src/checkpoint";
import type { Engine, Row, Steering } from "../../kernel-lib/src/engine";
import { writeSafetensors } from "../../kernel-lib/src/files";
import { cacheOf, engineChoices, openFolder } from "./engines";
import { type PlainCache, type PlainModel, plainForward } from "./plain-qwen2";
import { largest, logSoftmax, readPlainModel, relative, row } from "./readers";
import { F64 } from "./tolerances";

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];
/** Captures and full vocabularies come back as f32: half a unit in the last of 24 bits, on logprobs of order 10. */
const AS_F32 = 1e-6;

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-parity-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function randomConfig(rng: Random): ModelConfig {
  const kvHeads = 1 + rng.integer(3);
  return {
    hidden_size: 5 + rng.integer(40),
    num_hidden_layers: 1 + rng.integer(4),
    num_attention_heads: kvHeads * (1 + rng.integer(4)),
    num_key_value_heads: kvHeads,
    head_dim: 2 * (1 + rng.integer(9)),
    intermediate_size: 3 + rng.integer(60),
    vocab_size: 20 + rng.integer(100),
    max_position_embeddings: 64,
    rope_theta: rng.pick([10_000, 1_000_000, 100]),
    rms_norm_eps: rng.pick([1e-6, 1e-5]),
    tie_word_embeddings: rng.integer(2) === 0,
  };
}

function normals(rng: Random, n: number, scale: number, mean = 0): Float32Array {
  return Float32Array.from({ length: n }, () => mean + scale * rng.normal());
}

/** Writes a random checkpoint and reads it back by the naive reader. */
function writeModel(rng: Random, at: string): PlainModel {
  const config = randomConfig(rng);
  fs.mkdirSync(at, { recursive: true });
  fs.writeFileSync(
    path.join(at, "config.json"),
    JSON.stringify({ ...config, model_type: "qwen2", architectures: ["Qwen2ForCausalLM"], hidden_act: "silu" }),
  );
  const tensors: Parameters<typeof writeSafetensors>[1] = {};
  for (const { name, shape } of modelTensors(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const data =
      shape.length === 2
        ? normals(rng, count, 1 / Math.sqrt(shape[1]))
        : normals(rng, count, 0.2, name.endsWith("norm.weight") ? 1 : 0);
    tensors[name] = { dtype: "F32", shape, data };
  }
  writeSafetensors(path.join(at, "model.safetensors"), tensors);
  return readPlainModel(at);
}

function randomSteering(rng: Random, config: ModelConfig, length: number): Steering[] {
  return Array.from({ length: rng.integer(4) }, () => {
    const start = rng.integer(config.num_hidden_layers + 1);
    const from = rng.integer(length + 1);
    return {
      direction: normals(rng, config.hidden_size, 1 / Math.sqrt(config.hidden_size)),
      layers: [start, start + rng.integer(config.num_hidden_layers - start + 1)] as const,
      magnitude: rng.pick([0, 0.3, 2, -4]),
      ...(rng.integer(2) === 0 ? {} : { span: [from, from + rng.integer(length - from + 1)] as const }),
    };
  });
}

function randomAdapter(rng: Random, config: ModelConfig): AdapterPart[] {
  const r = rng.pick([1, 3, 8]);
  const modules = rng.shuffle(PROJECTIONS).slice(0, 1 + rng.integer(7));
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => layer).flatMap((layer) =>
    modules.map((module) => {
      const [out, input] = projectionShape(config, module);
      return {
        layer,
        module,
        r,
        scaling: 2 / r,
        a: normals(rng, r * input, 1 / Math.sqrt(input)),
        b: normals(rng, out * r, 0.5),
      };
    }),
  );
}

interface Case {
  context: number[];
  question: number[];
  steering: Steering[];
  adapter: AdapterPart[] | null;
}

function randomCases(rng: Random, config: ModelConfig): Case[] {
  const adapters = [null, randomAdapter(rng, config), randomAdapter(rng, config)];
  const tokens = (n: number): number[] => Array.from({ length: n }, () => rng.integer(config.vocab_size));
  // Some contexts repeat with other steering: the engine may share their lower layers, and must not be caught at it.
  const repeated = tokens(6);
  return Array.from({ length: 8 }, (_, i) => {
    const context = i % 2 === 0 ? repeated : tokens(1 + rng.integer(11));
    return {
      context,
      question: tokens(1 + rng.integer(5)),
      steering: randomSteering(rng, config, context.length),
      adapter: rng.pick(adapters),
    };
  });
}

/** (positions, layers, C) of the engine against layers of (T, C) of the twin. */
function expectCaptures(captures: Float32Array, hidden: Float64Array[], T: number, C: number): void {
  const theirs = new Float64Array(captures.length);
  for (const [layer, h] of hidden.entries())
    for (let t = 0; t < T; t++) theirs.set(row(h, t, C), (t * hidden.length + layer) * C);
  expect(relative(captures, theirs)).toBeLessThan(AS_F32);
}

async function check(engine: Engine, model: PlainModel, cases: Case[], wanted: number[]): Promise<void> {
  const { config } = model;
  const { hidden_size: C, vocab_size: V, num_hidden_layers: L } = config;
  const bound = new Map(
    cases.map(({ adapter }) => [
      adapter,
      adapter === null ? null : engine.bindAdapter(adapter, { name: "random", hash: "random" }),
    ]),
  );
  const contexts: Row[] = cases.map(({ context, steering, adapter }) => ({
    tokens: context,
    steering,
    adapter: bound.get(adapter),
    keepCache: true,
  }));
  const questions: Row[] = cases.map(({ question, adapter }, i) => ({
    tokens: question,
    parent: i,
    adapter: bound.get(adapter),
    wanted,
  }));
  const results = await engine.forward([...contexts, ...questions], {
    report: "all",
    fullVocabulary: true,
    capture: { layers: Array.from({ length: L }, (_, i) => i), positions: "all" },
  });
  for (const [i, { context, question, steering, adapter }] of cases.entries()) {
    const first = plainForward(model, { tokens: context, steering, adapter });
    const second = plainForward(model, { tokens: question, cache: first.cache, adapter });
    const [a, b] = [results[i], results[cases.length + i]];
    expectCaptures(a.captures as Float32Array, first.hidden, context.length, C);
    expectCaptures(b.captures as Float32Array, second.hidden, question.length, C);
    for (let t = 0; t < context.length; t++)
      expect(largest(a.positions[t].all as Float32Array, logSoftmax(row(first.logits, t, V)))).toBeLessThan(2 * AS_F32);
    for (let t = 0; t < question.length; t++) {
      const logp = logSoftmax(row(second.logits, t, V));
      expect(
        largest(
          b.positions[t].logprobs,
          wanted.map((id) => logp[id]),
        ),
      ).toBeLessThan(F64);
    }
    expectCache(a.cache, first.cache, L);
  }
}

function expectCache(cache: Parameters<typeof cacheOf>[0] | null, plain: PlainCache, layers: number): void {
  expect(cache?.length).toBe(plain.length);
  for (let layer = 0; layer < layers; layer++) {
    const { k, v } = cacheOf(cache as NonNullable<typeof cache>, layer);
    expect(relative(k, plain.keys[layer])).toBeLessThan(AS_F32);
    expect(relative(v, plain.values[layer])).toBeLessThan(AS_F32);
  }
  cache?.dispose();
}

describe.each(engineChoices("f64"))("f64 engine = plain twin, $label", (choice) => {
  it.each(SEEDS)("random model %i", async (seed) => {
    const rng = random(seed);
    const at = path.join(folder, `${choice.label.replaceAll(" ", "-")}-${seed}`);
    const model = writeModel(rng.fork("model"), at);
    const engine = await openFolder(at, choice);
    try {
      const wanted = Array.from({ length: 5 }, () => rng.integer(model.config.vocab_size));
      await check(engine, model, randomCases(rng.fork("cases"), model.config), wanted);
    } finally {
      engine.dispose();
    }
  });
});
