/**
 * steerlab: steer, remove, ask. One entry point; everything a notebook uses is exported from here.
 *
 * Data flows one way: text, tokens, steered cache, logits, trials, tables, plots, report. See levels.json for who may use whom.
 */
export * from "./adapter-files";
export * from "./adapter-manifest";
export * from "./answers";
export * from "./batch";
export * from "./chat";
export * from "./card";
export * from "./checkpoint";
export * from "./concept-vectors";
export * from "./detection";
export * from "./direction-math";
export * from "./display";
export * from "./doctor";
export * from "./errors";
export type { EvaluationPlace } from "./evaluation-folder";
export * from "./files";
export * from "./first-look";
export * from "./hub";
export * from "./identity";
export * from "./interrupt";
export * from "./kernel";
export * from "./model";
export * from "./native";
export * from "./notebook-html";
export * from "./onnx";
export * from "./page";
export * from "./parquet";
export * from "./plots";
export * from "./png";
export * from "./progress";
export * from "./protocol";
export { bindStudy, type BoundStudy, type NamedDirection, type StudyModel } from "./protocol/bind";
export * from "./published";
export * from "./random";
export * from "./report";
export * from "./run-meta";
export * from "./runs";
export * from "./safetensors";
export * from "./self-prediction";
export * from "./shapes";
export * from "./side-effects";
export * from "./stats";
export * from "./steering";
export * from "./study-data";
export * from "./summary";
export * from "./tables";
export * from "./tokenizer";
export * from "./train";
export * from "./trials";
export * from "./types";
export * from "./vectors";
