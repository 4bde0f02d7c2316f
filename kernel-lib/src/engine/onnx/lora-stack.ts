/**
 * LoRA parts of any layers, projections and ranks -> one pair of stacks per projection, as the graph takes them.
 *
 * a[l] = A^T (in, r), b[l] = scaling B^T (r, out); r is the largest rank of the projection, absent parts are zeros.
 */
import { expected, InputError } from "../../base";
import { type AdapterPart, type ModelConfig, type Projection, PROJECTIONS, projectionShape } from "../../checkpoint";

/** a (L, in, r) and b (L, r, out). */
export interface LoraStack {
  rank: number;
  width: number;
  out: number;
  a: Float32Array;
  b: Float32Array;
}

/** @throws InputError "bad-layer", "adapter-shape", "duplicate-part": the codes of the native engine; "adapter-bias" (lora_bias) */
export function checkParts(parts: readonly AdapterPart[], config: ModelConfig): void {
  const seen = new Set<string>();
  for (const { layer, module, r, a, b, bias } of parts) {
    const where = `layer ${layer} ${module}`;
    const foreign = "The adapter belongs to another model.";
    if (!Number.isInteger(layer) || layer < 0 || layer >= config.num_hidden_layers) {
      throw new InputError(
        "bad-layer",
        expected(`layer in [0, ${config.num_hidden_layers})`, "adapter part", layer, foreign),
      );
    }
    const [out, width] = projectionShape(config, module);
    if (!Number.isInteger(r) || r < 1 || a.length !== r * width || b.length !== out * r) {
      throw new InputError(
        "adapter-shape",
        expected(`A of ${r * width} and B of ${out * r} numbers`, where, `${a.length} and ${b.length}`, foreign),
      );
    }
    if (bias !== undefined)
      throw new InputError(
        "adapter-bias",
        expected(
          "an adapter without lora_bias on onnx",
          where,
          "a bias",
          "The native engine takes it: run npm run build.",
        ),
      );
    if (seen.has(where)) throw new InputError("duplicate-part", expected("one adapter part", where, "two"));
    seen.add(where);
  }
}

/** Stacks of every projection. @throws as `checkParts` */
export function stackParts(parts: readonly AdapterPart[], config: ModelConfig): Record<Projection, LoraStack> {
  checkParts(parts, config);
  return Object.fromEntries(
    PROJECTIONS.map((module) => [
      module,
      stackOf(
        parts.filter((part) => part.module === module),
        module,
        config,
      ),
    ]),
  ) as Record<Projection, LoraStack>;
}

function stackOf(parts: readonly AdapterPart[], module: Projection, config: ModelConfig): LoraStack {
  const [out, width] = projectionShape(config, module);
  const rank = Math.max(1, ...parts.map((part) => part.r));
  const layers = config.num_hidden_layers;
  const a = new Float32Array(layers * width * rank);
  const b = new Float32Array(layers * rank * out);
  for (const part of parts) {
    const [atA, atB] = [part.layer * width * rank, part.layer * rank * out];
    for (let k = 0; k < part.r; k++) {
      for (let i = 0; i < width; i++) a[atA + i * rank + k] = part.a[k * width + i];
      for (let o = 0; o < out; o++) b[atB + k * out + o] = part.scaling * part.b[o * part.r + k];
    }
  }
  return { rank, width, out, a, b };
}
