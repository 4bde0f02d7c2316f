/**
 * The same trials on a model's own engine and on onnxruntime, from one seed: how far apart are their log-probabilities?
 *
 * Two implementations that share no arithmetic (C++ of this project, and Microsoft's runtime on a graph) agree only if both are
 * right. Differences are of natural-log probabilities over the whole vocabulary, the largest and the mean absolute one.
 */
import { type Random, random } from "../../base";
import { type AdapterPart, type Checkpoint, type ModelConfig, PROJECTIONS, projectionShape } from "../../checkpoint";
import type { Engine, ForwardOptions, Row, RowResult, Steering } from "../types";
import { openOnnx, type OpenOnnxOptions } from "./open";

/** What is compared; an opened `Model` fits. */
export interface CrossCheckModel {
  engine: Engine;
  checkpoint: Checkpoint;
  hash?: string;
}

/** Options of `crossCheck`. */
export interface CrossCheckOptions
  extends Pick<OpenOnnxOptions, "threads" | "cacheFolder" | "notice" | "onProgress" | "signal"> {
  /** of tokens, directions and the adapter; default 1 */
  seed?: number;
  /** length of the contexts; default 24, at most the model's room */
  tokens?: number;
  /** an engine to compare with instead of a new one; stays open */
  onnx?: Engine;
}

/** One line of the table. */
export interface CrossCheckRow {
  trial: string;
  /** positions compared */
  positions: number;
  /** largest |log-probability here - onnxruntime's| over positions and vocabulary, nats */
  largest: number;
  /** mean of the same */
  mean: number;
  /** share of positions with the same most likely token */
  sameTop: number;
  /** largest |log-probability - that of the trial without treatment| here, for scale; 0 on those trials themselves */
  effect: number;
  milliseconds: number;
  onnxMilliseconds: number;
}

interface Trial {
  trial: string;
  rows: (engine: Engine) => Row[];
  /** row to compare: 0 the context, 1 the question under it; the first trial of each is the untreated one */
  compare: 0 | 1;
}

/**
 * Compares a model's engine with onnxruntime on plain, steered, cached, adapted and mixed trials of random tokens.
 * @param model an opened model, or its parts
 * @returns one record per kind of trial, differences in nats; f32 engines agree within 1e-4
 * @throws AbortedError when `options.signal` fires
 * @example
 * const { rows } = await crossCheck(model);
 * showTable(rows);
 */
export async function crossCheck(
  model: CrossCheckModel,
  options: CrossCheckOptions = {},
): Promise<{ engine: string; onnx: string; rows: CrossCheckRow[] }> {
  const other = options.onnx ?? (await openOnnx(model.checkpoint, { ...options, modelHash: model.hash }));
  try {
    const trials = trialsOf(model.engine.config, random(options.seed ?? 1), options.tokens ?? 24);
    const rows: CrossCheckRow[] = [];
    const untreated = new Map<number, Float32Array[]>();
    for (const trial of trials) {
      const ours = await measured(model.engine, trial, options.signal);
      const theirs = await measured(other, trial, options.signal);
      const plain = untreated.get(trial.compare) ?? ours.logprobs;
      untreated.set(trial.compare, plain);
      rows.push({
        trial: trial.trial,
        ...distance(ours.logprobs, theirs.logprobs),
        effect: distance(ours.logprobs, plain).largest,
        milliseconds: ours.milliseconds,
        onnxMilliseconds: theirs.milliseconds,
      });
    }
    return { engine: `${model.engine.backend}: ${model.engine.description}`, onnx: other.description, rows };
  } finally {
    if (options.onnx === undefined) other.dispose();
  }
}

function trialsOf(config: ModelConfig, rng: Random, tokens: number): Trial[] {
  const room = Math.min(tokens, Math.floor(config.max_position_embeddings / 2));
  const ids = (n: number): Int32Array => Int32Array.from({ length: n }, () => rng.integer(config.vocab_size));
  const [context, question] = [ids(room), ids(Math.max(1, Math.floor(room / 3)))];
  const depth = config.num_hidden_layers;
  const direction = unit(rng, config.hidden_size);
  const whole: Steering = { direction, layers: [0, depth], magnitude: 1 };
  const spans: Steering[] = [
    { direction, layers: [0, Math.ceil(depth / 2)], magnitude: 2, span: [0, Math.ceil(room / 2)] },
    {
      direction: unit(rng, config.hidden_size),
      layers: [Math.floor(depth / 2), depth],
      magnitude: -1,
      span: [Math.floor(room / 4), room],
    },
  ];
  const parts = randomAdapter(config, rng);
  const bound = (engine: Engine): Row["adapter"] => engine.bindAdapter(parts, { name: "random", hash: "random" });
  const asked = (row: Omit<Row, "tokens">): Row[] => [
    { tokens: context, ...row },
    { tokens: question, parent: 0, adapter: row.adapter },
  ];
  return [
    { trial: "plain", compare: 0, rows: () => [{ tokens: context }] },
    { trial: "steered", compare: 0, rows: () => [{ tokens: context, steering: [whole] }] },
    { trial: "steered in two spans", compare: 0, rows: () => [{ tokens: context, steering: spans }] },
    { trial: "adapter", compare: 0, rows: (engine) => [{ tokens: context, adapter: bound(engine) }] },
    { trial: "asked on a cache", compare: 1, rows: () => asked({}) },
    { trial: "steered, removed, asked", compare: 1, rows: () => asked({ steering: [whole] }) },
    {
      trial: "steered, removed, asked, with adapter",
      compare: 1,
      rows: (engine) => asked({ steering: spans, adapter: bound(engine) }),
    },
  ];
}

async function measured(
  engine: Engine,
  { rows, compare }: Trial,
  signal: AbortSignal | undefined,
): Promise<{ logprobs: Float32Array[]; milliseconds: number }> {
  const request = rows(engine).map((row, i) => ({ ...row, report: i === compare }));
  const options: ForwardOptions = { report: "all", fullVocabulary: true, signal };
  const start = performance.now();
  const results: RowResult[] = await engine.forward(request, options);
  const milliseconds = performance.now() - start;
  for (const adapter of new Set(request.map((row) => row.adapter))) adapter?.dispose();
  return { logprobs: results[compare].positions.map(({ all }) => all as Float32Array), milliseconds };
}

function distance(
  ours: readonly Float32Array[],
  theirs: readonly Float32Array[],
): Pick<CrossCheckRow, "positions" | "largest" | "mean" | "sameTop"> {
  let [largest, sum, count, same] = [0, 0, 0, 0];
  for (const [p, mine] of ours.entries()) {
    for (let id = 0; id < mine.length; id++) {
      const difference = Math.abs(mine[id] - theirs[p][id]);
      largest = Math.max(largest, difference); // NaN stays NaN
      sum += difference;
    }
    count += mine.length;
    if (argmax(mine) === argmax(theirs[p])) same++;
  }
  return { positions: ours.length, largest, mean: sum / count, sameTop: same / ours.length };
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function unit(rng: Random, width: number): Float32Array {
  const v = Float32Array.from({ length: width }, () => rng.normal());
  const norm = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
  return v.map((x) => x / norm);
}

/** Rank 4 on every projection, large enough to matter and small enough to leave a language model. */
function randomAdapter(config: ModelConfig, rng: Random): AdapterPart[] {
  const r = 4;
  const normals = (n: number, scale: number): Float32Array =>
    Float32Array.from({ length: n }, () => scale * rng.normal());
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => layer).flatMap((layer) =>
    PROJECTIONS.map((module) => {
      const [out, width] = projectionShape(config, module);
      return { layer, module, r, scaling: 2, a: normals(r * width, 1 / Math.sqrt(width)), b: normals(out * r, 0.02) };
    }),
  );
}
