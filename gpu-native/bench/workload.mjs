/**
 * The measured work, on the compiled engine: one optimizer step of 8 examples and one batch of 8 trials (42 context + 25 question
 * tokens, half of the rows steered), on random weights of a given shape in a bf16 checkpoint, as the Qwen2.5
 * family is published. Numbers are deterministic, so every run does the same work.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeRandomCheckpoint } from "./random-checkpoint.mjs";

const require = createRequire(import.meta.url);
const { loadNative } = require("../index.cjs");
const { readCheckpoint } = require("../../kernel-lib/dist/checkpoint/index.js");

export const SHAPES = {
  lab: {
    hidden_size: 256,
    num_hidden_layers: 12,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 32,
    intermediate_size: 704,
    vocab_size: 4096,
    max_position_embeddings: 1024,
    rope_theta: 10000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
  },
  "0.5B": {
    hidden_size: 896,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    head_dim: 64,
    intermediate_size: 4864,
    vocab_size: 151936,
    max_position_embeddings: 32768,
    rope_theta: 1000000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
  },
};
export const ROWS = 8;
export const CONTEXT = 42;
export const QUESTION = 25;
const TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"];

/** A small multiplicative generator: the values do not matter, only that they are the same every time. */
function numbers(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

function tokens(count, vocabulary, next) {
  return Int32Array.from({ length: count }, () => Math.floor(next() * vocabulary));
}

function offsets(rows, length) {
  return Int32Array.from({ length: rows + 1 }, (_, i) => i * length);
}

/** Every second row steered over its whole context, at the middle third of the layers, magnitude 5. */
function steering(config, next) {
  const rows = Array.from({ length: ROWS / 2 }, (_, i) => 2 * i);
  const third = Math.floor(config.num_hidden_layers / 3);
  const vectors = Float32Array.from(
    { length: rows.length * config.hidden_size },
    () => (next() - 0.5) * Math.sqrt(12 / config.hidden_size),
  );
  const all = (value) => Int32Array.from(rows, () => value);
  return {
    vectors,
    row: Int32Array.from(rows),
    vector: Int32Array.from(rows, (_, i) => i),
    layerStart: all(third),
    layerEnd: all(2 * third),
    spanStart: all(0),
    spanEnd: all(CONTEXT),
    magnitude: Float32Array.from(rows, () => 5),
  };
}

function trainBatch(config) {
  const next = numbers(7);
  return {
    contextTokens: tokens(ROWS * CONTEXT, config.vocab_size, next),
    contextOffsets: offsets(ROWS, CONTEXT),
    questionTokens: tokens(ROWS * QUESTION, config.vocab_size, next),
    questionOffsets: offsets(ROWS, QUESTION),
    labels: Int32Array.from({ length: 2 * ROWS }, (_, i) => 100 + (i % 2)),
    targets: Int32Array.from({ length: ROWS }, (_, i) => (i + 1) % 2),
    matchPositions: new Int32Array(ROWS),
    weights: new Float64Array(ROWS).fill(1),
    steering: steering(config, next),
    microBatch: ROWS,
  };
}

/** Rows 0..7 are steered contexts, rows 8..15 the questions that continue them. */
function trialBatch(config) {
  const next = numbers(9);
  const rowOffsets = Int32Array.from({ length: 2 * ROWS + 1 }, (_, i) =>
    i <= ROWS ? i * CONTEXT : ROWS * CONTEXT + (i - ROWS) * QUESTION,
  );
  return {
    tokens: tokens(rowOffsets[2 * ROWS], config.vocab_size, next),
    rowOffsets,
    parentRow: Int32Array.from({ length: 2 * ROWS }, (_, i) => (i < ROWS ? -1 : i - ROWS)),
    parentCache: Array.from({ length: 2 * ROWS }, () => null),
    adapters: [],
    rowAdapter: new Int32Array(2 * ROWS).fill(-1),
    steering: steering(config, next),
    report: {
      rows: Int32Array.from({ length: ROWS }, (_, i) => ROWS + i),
      positions: "last",
      tokenIds: Int32Array.from({ length: 2 * ROWS }, (_, i) => 100 + (i % 2)),
      tokenOffsets: offsets(ROWS, 2),
      topK: 0,
      all: false,
    },
    capture: null,
    keepCache: new Uint8Array(2 * ROWS),
    shareLayers: false,
  };
}

/** The files are mapped, so they may lose their names once the model is open. */
async function openRandom(native, engine, config) {
  const folder = mkdtempSync(join(tmpdir(), "steerlab-bench-"));
  try {
    const { tensors } = readCheckpoint(writeRandomCheckpoint(folder, config));
    return await native.openModel(engine, config, tensors, 0, {});
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Opens a random model and returns `train()` and `trial()`, each one batch; both resolve when the numbers are there. */
export async function openWork(shape, dtype, threads, isa = "") {
  const native = loadNative();
  const config = SHAPES[shape];
  const engine = native.createEngine({ backend: "cpu", dtype, threads, isa });
  const model = await openRandom(native, engine, config);
  const r = 16;
  const layout = native.trainerLayout(config, r, TARGETS);
  const count = Math.max(...layout.map((t) => t.offset + t.shape[0] * t.shape[1]));
  const next = numbers(3);
  const initial = Float32Array.from({ length: count }, () => (next() - 0.5) * 0.04);
  const trainer = native.createTrainer(
    model,
    {
      r,
      alpha: 32,
      dropout: 0.05,
      targets: TARGETS,
      massWeight: 0,
      seed: 1,
      beta1: 0.9,
      beta2: 0.999,
      eps: 1e-8,
      weightDecay: 0.01,
      maxGradNorm: 1,
    },
    initial,
  );
  const batch = trainBatch(config);
  const trials = trialBatch(config);
  let step = 0;
  return {
    description: native.engineDescription(engine),
    train: async () => {
      const result = await native.trainStep(trainer, batch, ++step, 1e-5, {});
      if (!result.loss.every(Number.isFinite)) throw new Error(`Expected finite losses but received ${result.loss}.`);
    },
    trial: async () => {
      const result = await native.forward(model, trials, {});
      if (!result.logprobs.every(Number.isFinite))
        throw new Error(`Expected finite logprobs but received ${result.logprobs}.`);
    },
    close: () => native.disposeModel(model),
  };
}
