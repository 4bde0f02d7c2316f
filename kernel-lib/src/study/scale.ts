/**
 * How strong a push a protocol's strengths are on one model: L2 length and share of the residual stream, range by range.
 *
 * An absolute magnitude is another push on every model, and another one in every layer; without this table "magnitude 5" of two
 * models would look like one condition.
 */
import { type LayerRange, layerThirds, rootMeanSquare } from "../steering";
import type { Protocol } from "./types";

/** One layer range and strength on one model. */
export interface StrengthScale {
  range: string;
  /** blocks steered, half-open */
  start: number;
  end: number;
  /** mean over the range of the mean L2 norm of the residual stream after each block, on clean training contexts */
  residualNorm: number;
  /** as the protocol says it */
  strength: number;
  /** L2 length added at each layer and token, root mean square over the range */
  magnitude: number;
  /** that length over the layer's residual norm, root mean square over the range */
  relative: number;
}

/**
 * Every trained range x trained strength of a protocol on a model.
 * @returns one row per range and strength; lengths in residual-stream units, shares as fractions
 * @param norms (L) residual norms, as `BoundStudy.norms` and `residualNorms` of meta.json hold them
 * @example
 * strengthScale(loadProtocol("card"), study.norms).map(({ range, strength, relative }) => [range, strength, relative]);
 */
export function strengthScale(protocol: Protocol, norms: ArrayLike<number>): StrengthScale[] {
  const { ranges, unit, magnitudes } = protocol.steering;
  const chosen: readonly LayerRange[] = ranges === "thirds" ? layerThirds(norms.length) : ranges;
  return chosen.flatMap(({ name, start, end }) => {
    const of = Array.from({ length: end - start }, (_, i) => norms[start + i]);
    return magnitudes.map((strength) => ({
      range: name,
      start,
      end,
      residualNorm: of.reduce((sum, norm) => sum + norm, 0) / of.length,
      strength,
      magnitude: unit === "absolute" ? strength : strength * rootMeanSquare(of),
      relative: unit === "relative" ? strength : strength * rootMeanSquare(of.map((norm) => 1 / norm)),
    }));
  });
}
