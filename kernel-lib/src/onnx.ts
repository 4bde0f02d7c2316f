/**
 * ONNX: a steerable export of any model that opens here, and onnxruntime-node as second engine.
 *
 * Three uses: a machine without a compiler still runs every inference notebook; the native engine has an independent oracle in
 * the same process; a steerable model can be taken elsewhere (Python, browser, mobile). Training is refused by name.
 */
export { type CrossCheckModel, type CrossCheckOptions, type CrossCheckRow, crossCheck } from "./onnx/cross-check";
export { OnnxEngine } from "./onnx/engine";
export { type ExportedOnnx, exportOnnx, type ExportOnnxOptions } from "./onnx/export";
export { type OnnxFile, readOnnxFile } from "./onnx/file";
export type { OnnxMetadata } from "./onnx/metadata";
export { onnxCacheFolder, openOnnx, openOnnxFile, type OpenOnnxOptions } from "./onnx/open";
