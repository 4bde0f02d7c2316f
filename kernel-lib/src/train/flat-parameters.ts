/**
 * An adapter's parts <-> the trainer's flat array of parameters: one r and scaling for all, every target in every layer.
 */
import { expected, InputError } from "../base";
import type { AdapterPart, LoraConfig } from "../checkpoint";
import type { TrainerTensor } from "../engine";

/**
 * The trainer's flat parameters as parts.
 *
 * @param layout the trainer's tensors
 * @param params flat values; copied
 */
export function partsFromFlat(
  layout: readonly TrainerTensor[],
  params: ArrayLike<number>,
  lora: LoraConfig,
): AdapterPart[] {
  const parts = new Map<string, AdapterPart>();
  for (const tensor of layout) {
    const key = `${tensor.layer}.${tensor.module}`;
    const empty = new Float32Array(0);
    const part = parts.get(key) ?? {
      layer: tensor.layer,
      module: tensor.module,
      r: lora.r,
      scaling: lora.alpha / lora.r,
      a: empty,
      b: empty,
    };
    const values = Float32Array.from(
      { length: tensor.shape[0] * tensor.shape[1] },
      (_, i) => params[tensor.offset + i],
    );
    if (tensor.which === "A") part.a = values;
    else part.b = values;
    parts.set(key, part);
  }
  return [...parts.values()];
}

/**
 * Parts as the trainer's flat parameters: the inverse of `partsFromFlat`.
 *
 * @throws InputError "adapter-parts" if the layout asks for a part or shape that is not there
 */
export function flatFromParts(layout: readonly TrainerTensor[], parts: readonly AdapterPart[]): Float32Array {
  const byKey = new Map(parts.map((part) => [`${part.layer}.${part.module}`, part]));
  const end = layout.reduce((most, tensor) => Math.max(most, tensor.offset + tensor.shape[0] * tensor.shape[1]), 0);
  const out = new Float32Array(end);
  for (const tensor of layout) {
    const part = byKey.get(`${tensor.layer}.${tensor.module}`);
    const values = tensor.which === "A" ? part?.a : part?.b;
    if (values === undefined || values.length !== tensor.shape[0] * tensor.shape[1]) {
      throw new InputError(
        "adapter-parts",
        expected(`shape [${tensor.shape.join(", ")}]`, tensor.name, `${values?.length ?? 0} values`),
      );
    }
    out.set(values, tensor.offset);
  }
  return out;
}
