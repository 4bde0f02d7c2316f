/**
 * Concept directions by contrast: what the residual stream of a model adds for a concept.
 *
 * For every prompt template: h(template with the concept) - h(template with a filler about nothing in particular), last token,
 * residual stream after one block; the mean over templates and fillers, normalised. Raw prompts, no chat template, as in the
 * published study. Reads prompts/concept-contrast.yaml; gives a `DirectionSet` for the sweep. Steers nothing itself.
 */
import { expected, InputError } from "../base";
import type { StudyModel } from "../engine";
import { type Contrast, contrastDirection, norm, normalise } from "./arithmetic";
import { type Concept, type ConceptContrast, readConceptContrast, readConcepts } from "./concepts";
import type { DirectionSet } from "./directions";

/** Options of `conceptVectors`. */
export interface ConceptVectorOptions {
  /** default: the 102 names of data/concepts.json */
  concepts?: readonly Concept[];
  /** default: data/prompts/concept-contrast.yaml */
  contrast?: ConceptContrast;
  /** "centred" (default): minus the mean of all contrasts, so that what they share does not make them one; "raw": as the card has them */
  form?: "centred" | "raw";
  /** block after which states are read; default floor(L / 2) - 1, as in the published study */
  layer?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Prompts in one engine call. */
const ROWS_PER_PASS = 64;

/**
 * Unit directions of concepts, with the length of each raw difference. The same model gives the same bytes.
 * @param model only read: nothing is steered
 * @returns one direction per concept, in order; `norms` are lengths before normalising, in residual-stream units
 * @throws InputError "layer-range", "zero-vector"; AbortedError
 * @example
 * const concepts = await conceptVectors(model);
 * concepts.names.length; // 102
 */
export async function conceptVectors(model: StudyModel, options: ConceptVectorOptions = {}): Promise<DirectionSet> {
  const concepts = options.concepts ?? readConcepts();
  const contrast = options.contrast ?? readConceptContrast();
  const layers = model.engine.config.num_hidden_layers;
  const layer = options.layer ?? Math.max(0, Math.floor(layers / 2) - 1);
  if (!Number.isInteger(layer) || layer < 0 || layer >= layers) {
    throw new InputError(
      "layer-range",
      expected(`0 <= layer < ${layers}`, "conceptVectors", layer, `The model has ${layers} layers (0..${layers - 1}).`),
    );
  }
  const fill = (filler: string): string[] =>
    contrast.templates.map((template) => template.replaceAll("{concept}", filler));
  const prompts = [...concepts.map(({ name }) => fill(name)), ...contrast.neutral.map(fill)].flat();
  const states = await lastStates(model, prompts, layer, options);
  const width = contrast.templates.length;
  const neutral = states.slice(concepts.length * width);
  const form = options.form ?? "centred";
  const contrasts: Contrast[] = concepts.map((_, i) =>
    contrastDirection(states.slice(i * width, (i + 1) * width), neutral),
  );
  const found = form === "raw" ? contrasts : centred(contrasts);
  return {
    names: concepts.map(({ name }) => name),
    categories: concepts.map(({ category }) => category),
    directions: found.map(({ direction }) => direction),
    norms: found.map(({ norm }) => norm),
    method: form === "raw" ? "contrast" : "contrast, centred on the mean of all",
    seed: null,
    layers: concepts.map(() => layer),
    modelHash: model.hash,
  };
}

/** Each raw difference minus the mean of all, normalised. @throws InputError "zero-vector" where nothing is left */
function centred(contrasts: readonly Contrast[]): Contrast[] {
  if (contrasts.length < 2) return [...contrasts];
  const raw = contrasts.map(({ direction, norm: length }) => direction.map((value) => value * length));
  const mean = raw[0].map((_, c) => raw.reduce((sum, vector) => sum + vector[c], 0) / raw.length);
  return raw.map((vector) => {
    const rest = vector.map((value, c) => value - mean[c]);
    return { direction: normalise(rest), norm: norm(rest) };
  });
}

/** (C) residual stream after block `layer` at the last token of each prompt. */
async function lastStates(
  model: StudyModel,
  prompts: readonly string[],
  layer: number,
  options: ConceptVectorOptions,
): Promise<Float32Array[]> {
  const states: Float32Array[] = [];
  for (let at = 0; at < prompts.length; at += ROWS_PER_PASS) {
    const rows = prompts.slice(at, at + ROWS_PER_PASS).map((prompt) => ({ tokens: model.tokenizer.encode(prompt) }));
    const results = await model.engine.forward(rows, {
      capture: { layers: [layer], positions: "last" },
      signal: options.signal,
    });
    for (const { captures } of results) states.push(captures as Float32Array);
    options.onProgress?.(states.length, prompts.length);
  }
  return states;
}
