/** Directions with their origin, their arithmetic, concepts by contrast, strengths relative to the residual stream. */
export {
  type Contrast,
  contrastDirection,
  cosine,
  cosineMatrix,
  dot,
  type Geometry,
  geometry,
  matchedRandom,
  norm,
  normalise,
  randomDirections,
  rootMeanSquare,
} from "./arithmetic";
export { type ConceptVectorOptions, conceptVectors } from "./concept-vectors";
export { type Concept, type ConceptContrast, readConceptContrast, readConcepts } from "./concepts";
export { readDirections, type ReadDirectionsOptions, writeDirections } from "./direction-files";
export {
  directionHash,
  type DirectionSet,
  directionSetHash,
  namedDirections,
  type NamedDirection,
  randomDirectionSet,
} from "./directions";
export {
  absoluteSteering,
  type LayerRange,
  layerThirds,
  relativeSteering,
  residualNorms,
  type ResidualNorms,
} from "./strength";
