/**
 * The concepts of data/concepts.json and the prompts that contrast them (data/prompts/concept-contrast.yaml), checked before use.
 */
import * as path from "node:path";
import { z } from "zod";
import { DATA_FOLDER, DataError, expected } from "../base";
import { parseJsonStrict, readText, readYaml } from "../files";

/** Templates of the concept contrast: h(template with concept) - h(template with filler). */
export interface ConceptContrast {
  templates: string[];
  neutral: string[];
  dosePrompts: string[];
}

/** A named concept of data/concepts.json. */
export interface Concept {
  name: string;
  category: string;
}

const text = z.string().min(1);
const contrastFile = z.strictObject({
  templates: z.array(text).min(1),
  neutral: z.array(text).min(1),
  dosePrompts: z.array(text),
});

/** Templates from which concept directions are extracted. */
export function readConceptContrast(
  file: string = path.join(DATA_FOLDER, "prompts", "concept-contrast.yaml"),
): ConceptContrast {
  return readYaml(file, contrastFile);
}

/** The 102 concepts in file order with their category. @throws DataError "concept-count" if the stated count does not hold */
export function readConcepts(file: string = path.join(DATA_FOLDER, "concepts.json")): Concept[] {
  const read = parseJsonStrict(readText(file), file) as Record<string, unknown>;
  const concepts = Object.entries(read)
    .filter((entry): entry is [string, string[]] => Array.isArray(entry[1]))
    .flatMap(([category, names]) => names.map((name) => ({ name, category })));
  if (concepts.length !== read.count)
    throw new DataError("concept-count", expected(`${String(read.count)} concepts`, file, concepts.length));
  return concepts;
}
