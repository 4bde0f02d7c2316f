/**
 * onnxruntime-node as a peer of the CPU engine: prefill, scoring and decode on one random bf16 checkpoint, both in f32, alternating
 * repetition by repetition through the same `Engine` interface. Needs `npm run build` (kernel-lib/dist).
 *
 * Part of `npm run bench`; alone: node gpu-native/bench/onnx.mjs [--shapes lab,0.5B] [--threads N] [--repeats N]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { writeRandomCheckpoint } from "./random-checkpoint.mjs";
import { median, printTable, spread } from "./table.mjs";
import { CONTEXT, QUESTION, ROWS, SHAPES } from "./workload.mjs";

const library = (name) => createRequire(import.meta.url)(`../../kernel-lib/dist/${name}/index.js`);
const PREFILL_TOKENS = 128;
const DECODE_TOKENS = 24;

/** Ids that differ from row to row and are the same every time. */
function ids(count, seed, vocabulary) {
  return Int32Array.from({ length: count }, (_, i) => (Math.imul(seed * 7919 + i, 2654435761) >>> 0) % vocabulary);
}

/** What is measured: name, units of one call, the call. */
function works(config) {
  const V = config.vocab_size;
  const third = Math.floor(config.num_hidden_layers / 3);
  const direction = new Float32Array(config.hidden_size).fill(1 / Math.sqrt(config.hidden_size));
  const steering = [{ direction, layers: [third, 2 * third], magnitude: 5 }];
  const rows = (count, length) => Array.from({ length: count }, (_, i) => ({ tokens: ids(length, i + 1, V) }));
  const contexts = rows(ROWS, CONTEXT).map((row, i) => ({
    ...row,
    report: false,
    steering: i % 2 === 0 ? steering : [],
  }));
  const questions = rows(ROWS, QUESTION).map((row, i) => ({ ...row, parent: i, wanted: [100, 101] }));
  const decode = (count) => ({
    what: `decode ${count} row${count === 1 ? "" : "s"}, tokens/s`,
    units: count * DECODE_TOKENS,
    run: (engine) => engine.generate(rows(count, 16), { maxTokens: DECODE_TOKENS, temperature: 0, seed: 1 }),
  });
  return [
    {
      what: `prefill ${PREFILL_TOKENS}, tokens/s`,
      units: PREFILL_TOKENS,
      run: async (engine) =>
        (await engine.forward([{ ...rows(1, PREFILL_TOKENS)[0], keepCache: true }]))[0].cache.dispose(),
    },
    {
      what: "scoring, trials/s",
      units: ROWS,
      run: (engine) => engine.forward([...contexts, ...questions], { report: "last" }),
    },
    decode(1),
    decode(ROWS),
  ];
}

async function seconds(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** Table rows [shape, who, what, median, spread, ratio]; `ratio` is how many times as fast steerlab is. */
export async function measureOnnx({ shape, threads, repeats }) {
  const folder = mkdtempSync(join(tmpdir(), "steerlab-bench-"));
  try {
    const checkpoint = library("checkpoint").readCheckpoint(
      writeRandomCheckpoint(join(folder, "model"), SHAPES[shape]),
    );
    const { config, tensors } = checkpoint;
    const ours = await library("engine").openNative({ backend: "cpu", dtype: "f32", threads, config, tensors });
    const theirs = await library("engine").openOnnx(checkpoint, {
      threads,
      cacheFolder: join(folder, "onnx"),
      notice: () => {},
    });
    const table = [];
    for (const { what, units, run } of works(config)) {
      const [mine, peer] = [[], []];
      await run(ours);
      await run(theirs);
      for (let i = 0; i < repeats; i++) {
        mine.push(await seconds(() => run(ours)));
        peer.push(await seconds(() => run(theirs)));
      }
      const line = (who, times, ratio) => [
        shape,
        who,
        what,
        (units / median(times)).toFixed(1),
        `${(100 * spread(times)).toFixed(0)} %`,
        ratio,
      ];
      table.push(line("steerlab", mine, ""), line("onnxruntime-node", peer, (median(peer) / median(mine)).toFixed(2)));
    }
    ours.dispose();
    theirs.dispose();
    return table;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Measures several shapes and prints the table. */
export async function printOnnxTable({ shapes, threads, repeats }) {
  const rows = [];
  for (const shape of shapes) rows.push(...(await measureOnnx({ shape, threads, repeats })));
  printTable(["shape", "who (f32, bf16 checkpoint)", "what", "median", "spread", "steerlab is x times as fast"], rows);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values } = parseArgs({
    options: {
      shapes: { type: "string", default: "lab" },
      threads: { type: "string", default: "0" },
      repeats: { type: "string", default: "5" },
    },
  });
  const threads = Number(values.threads) || availableParallelism();
  await printOnnxTable({ shapes: values.shapes.split(",").filter(Boolean), threads, repeats: Number(values.repeats) });
}
