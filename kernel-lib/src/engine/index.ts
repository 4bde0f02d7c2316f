/** Tokens and steering in, logprobs and caches out: the Engine interface, its native and ONNX implementations, opening a model. */
export { answer, type Answer, totalProbability } from "./answers";
export {
  adapterFor,
  type AttachOptions,
  type EngineOptions,
  Model,
  type ModelOptions,
  type OpenedEngine,
  openEngine,
  openModel,
  readModelConfig,
} from "./model";
export { estimateMemory, type NativeInfo, nativeInfo, type NativeOptions, openNative } from "./native";
export { loadBinding } from "./native/binding";
export { NativeEngine, type NativeWork } from "./native/engine";
export { NativeCache } from "./native/handles";
export { describeEstimate, type EstimateSubject, type MemoryEstimate } from "./native/memory";
export { NativeTrainer } from "./native/trainer";
export { crossCheck, type CrossCheckModel, type CrossCheckOptions, type CrossCheckRow } from "./onnx/cross-check";
export { OnnxEngine } from "./onnx/engine";
export { type ExportedOnnx, exportOnnx, type ExportOnnxOptions } from "./onnx/export";
export { type OnnxFile, readOnnxFile } from "./onnx/file";
export { logSumExp } from "./onnx/logits";
export type { OnnxMetadata } from "./onnx/metadata";
export { onnxCacheFolder, openOnnx, openOnnxFile, type OpenOnnxOptions } from "./onnx/open";
export { decodeModel, encodeModel, type ModelProto } from "./onnx/schema";
export type {
  Adapter,
  BackendName,
  BatchResult,
  Cache,
  DTypeName,
  Engine,
  Example,
  ForwardOptions,
  Generated,
  GenerateOptions,
  MatchExample,
  PositionReport,
  Row,
  RowResult,
  Steering,
  StudyModel,
  Trainer,
  TrainerOptions,
  TrainerState,
  TrainingExample,
  TrainerTensor,
  TrainRun,
  WorkShape,
} from "./types";
