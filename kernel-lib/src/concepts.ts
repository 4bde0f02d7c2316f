/**
 * Concept directions of a model by contrast: prompts about the concept minus the same prompts about nothing in particular.
 *
 * Raw prompts (no chat template), last token, residual stream after block L/2 - 1; mean over templates of the concept's state,
 * minus the mean over templates and neutral fillers, normalised. Source of the recipe: the published card (STUDY facts);
 * templates are ours (data/prompts/concept-contrast.yaml). The raw length is kept: it says how strong the contrast was.
 */
import { contrastDirection } from "./direction-math";
import { AbortedError, expected, InputError } from "./errors";
import type { NamedDirection, StudyModel } from "./protocol/bind";
import { type Concept, type ConceptContrast, readConceptContrast, readConcepts } from "./study-data";
import type { DirectionSet } from "./vectors";

/** Concept directions and how they were made. */
export interface ConceptDirections {
  /** in the order of the concepts */
  directions: NamedDirection[];
  /** L2 length of each mean difference before normalising */
  norms: number[];
  /** block after which states were read */
  layer: number;
}

/** Options of `extractConcepts`; defaults are the shipped 102 concepts and templates. */
export interface ExtractOptions {
  concepts?: readonly Concept[];
  contrast?: ConceptContrast;
  /** default L/2 - 1, as in the card */
  layer?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

const ROWS = 64;

/**
 * Extracts a unit direction per concept.
 *
 * @throws InputError "layer-range", "zero-vector"; AbortedError when stopped
 * @example
 * const { directions } = await extractConcepts(model);
 */
export async function extractConcepts(model: StudyModel, options: ExtractOptions = {}): Promise<ConceptDirections> {
  const { concepts = readConcepts(), contrast = readConceptContrast(), signal, onProgress } = options;
  const L = model.engine.config.num_hidden_layers;
  const layer = options.layer ?? Math.floor(L / 2) - 1;
  if (!Number.isInteger(layer) || layer < 0 || layer >= L) {
    throw new InputError("layer-range", expected(`0 <= layer < ${L}`, "extractConcepts", layer, `The model has ${L} layers (0..${L - 1}).`));
  }
  const about = (subject: string): string[] => contrast.templates.map((template) => template.replaceAll("{concept}", () => subject));
  const prompts = [...contrast.neutral.flatMap(about), ...concepts.flatMap(({ name }) => about(name))];
  const states: Float32Array[] = [];
  for (let at = 0; at < prompts.length; at += ROWS) {
    if (signal?.aborted === true) throw new AbortedError();
    const rows = prompts.slice(at, at + ROWS).map((text) => ({ tokens: model.tokenizer.encode(text) }));
    const results = await model.engine.forward(rows, { capture: { layers: [layer], positions: "last" }, signal });
    states.push(...results.map(({ captures }) => captures as Float32Array));
    onProgress?.(Math.min(prompts.length, at + ROWS), prompts.length);
  }
  const perSubject = contrast.templates.length;
  const neutral = states.slice(0, contrast.neutral.length * perSubject);
  const found = concepts.map((_, i) => contrastDirection(states.slice(neutral.length + i * perSubject, neutral.length + (i + 1) * perSubject), neutral));
  return {
    directions: concepts.map(({ name, category }, i) => ({ id: name, category, direction: found[i].direction })),
    norms: found.map((contrastFound) => contrastFound.norm),
    layer,
  };
}

/** The directions as a set for `saveDirections`. */
export function conceptSet(model: StudyModel, concepts: ConceptDirections): DirectionSet {
  return {
    names: concepts.directions.map(({ id }) => id),
    directions: concepts.directions.map(({ direction }) => direction),
    norms: concepts.norms,
    method: "contrast",
    seed: null,
    layer: concepts.layer,
    modelHash: model.hash,
  };
}
