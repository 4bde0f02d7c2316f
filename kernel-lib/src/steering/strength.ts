/**
 * Where and how strongly to steer: layer ranges in words, strengths relative to the residual stream.
 *
 * Gives plans (`Steering`) to the engine. A strength s adds, at each layer of the range, s times the mean L2 norm of the
 * residual stream after that block, measured on clean text, so that "0.1" is as loud in a late layer as in an early one.
 * Absolute magnitudes (as in the published card) pass through untouched.
 */
import { expected, InputError } from "../base";
import type { Engine, Steering } from "../engine";

/** A half-open block range with the name that tables and plots use. */
export interface LayerRange {
  name: string;
  /** first block steered */
  start: number;
  /** one past the last block steered */
  end: number;
}

/**
 * The card's three ranges, in thirds of the depth: early [0, t), middle [t, 2t), late [2t, 3t) with t = floor(L / 3), the last
 * range clipped so that the final block is never steered (steering it changes no cache). 64 layers: [0,21), [21,42), [42,63).
 * @param layers num_hidden_layers, at least 4
 * @throws InputError "too-few-layers"
 * @example
 * layerThirds(64).map((r) => [r.start, r.end]); // [[0, 21], [21, 42], [42, 63]]
 */
export function layerThirds(layers: number): LayerRange[] {
  if (!Number.isInteger(layers) || layers < 4) {
    throw new InputError(
      "too-few-layers",
      expected("at least 4 layers", "layerThirds", layers, "Give explicit layer ranges for smaller models."),
    );
  }
  const third = Math.floor(layers / 3);
  return [
    { name: "early", start: 0, end: third },
    { name: "middle", start: third, end: 2 * third },
    { name: "late", start: 2 * third, end: Math.min(3 * third, layers - 1) },
  ];
}

/** Mean L2 norm of the residual stream after each block, over every token of some clean text. */
export interface ResidualNorms {
  /** (L) mean over tokens of the L2 norm after block i */
  norms: Float64Array;
  /** tokens averaged over */
  tokens: number;
}

/**
 * Measures the residual norm after each block on clean sequences. The first token of each sequence is left out: its norm is
 * an outlier in trained transformers (attention sink) and would set the scale alone.
 * @param sequences token ids, each at least 2 long
 * @throws InputError "short-sequence"
 * @example
 * const { norms } = await residualNorms(model.engine, [model.tokenizer.encode("The weather is mild today.")]);
 */
export async function residualNorms(engine: Engine, sequences: readonly ArrayLike<number>[]): Promise<ResidualNorms> {
  const layers = engine.config.num_hidden_layers;
  const width = engine.config.hidden_size;
  const norms = new Float64Array(layers);
  let tokens = 0;
  for (const sequence of sequences) {
    if (sequence.length < 2) {
      throw new InputError(
        "short-sequence",
        expected("at least 2 tokens", "residualNorms", sequence.length, "Give longer clean text."),
      );
    }
    const [row] = await engine.forward([{ tokens: sequence }], {
      capture: { layers: Array.from({ length: layers }, (_, i) => i), positions: "all" },
    });
    const captured = row.captures as Float32Array;
    for (let t = 1; t < sequence.length; t++) {
      for (let layer = 0; layer < layers; layer++) {
        norms[layer] += l2(captured.subarray((t * layers + layer) * width, (t * layers + layer + 1) * width));
      }
    }
    tokens += sequence.length - 1;
  }
  for (let layer = 0; layer < layers; layer++) norms[layer] /= tokens;
  return { norms, tokens };
}

function l2(x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return Math.sqrt(sum);
}

/**
 * The plan for one relative strength: one entry per layer of the range, each of magnitude strength * norm of that layer.
 * @param direction (C) unit vector   @param strength fraction of the mean residual norm, >= 0
 * @param norms (L) mean L2 norm of the residual stream after each block, as `BoundStudy.norms` holds it
 * @returns the steering of `Model.prefill`: one entry per layer
 * @throws InputError "layer-range" if the range does not fit
 * @example
 * const plan = relativeSteering(direction, { name: "early", start: 0, end: 4 }, 0.1, norms);
 */
export function relativeSteering(
  direction: Float32Array,
  range: LayerRange,
  strength: number,
  norms: ArrayLike<number>,
): Steering[] {
  checkRange(range, norms.length);
  const plan: Steering[] = [];
  for (let layer = range.start; layer < range.end; layer++) {
    plan.push({ direction, layers: [layer, layer + 1], magnitude: strength * norms[layer] });
  }
  return plan;
}

/**
 * The plan for one absolute magnitude, as in the published card: the same L2 length at every layer of the range.
 * @param direction (C) unit vector   @param magnitude L2 length in residual-stream units   @param layers of the model
 * @returns the steering of `Model.prefill`: one entry
 * @throws InputError "layer-range" if the range does not fit
 * @example
 * const plan = absoluteSteering(direction, { name: "middle", start: 21, end: 42 }, 20, 64);
 */
export function absoluteSteering(
  direction: Float32Array,
  range: LayerRange,
  magnitude: number,
  layers: number,
): Steering[] {
  checkRange(range, layers);
  return [{ direction, layers: [range.start, range.end], magnitude }];
}

function checkRange(range: LayerRange, layers: number): void {
  if (!(range.start >= 0 && range.start < range.end && range.end <= layers)) {
    throw new InputError(
      "layer-range",
      expected(
        `0 <= start < end <= ${layers}`,
        `layer range "${range.name}"`,
        `[${range.start}, ${range.end})`,
        `The model has ${layers} layers (0..${layers - 1}).`,
      ),
    );
  }
}
