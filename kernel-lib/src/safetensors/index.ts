/** safetensors files: strict headers, tensor data by range, deterministic atomic writing. */
export {
  bfloatToFloat,
  decodeFloat32,
  elementBytes,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
  type SafetensorsDType,
} from "./element";
export {
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsTable,
} from "./header";
export { readTensor, streamTensorBytes, tensorEntry } from "./read";
export { type TensorToWrite, writeSafetensors } from "./write";
