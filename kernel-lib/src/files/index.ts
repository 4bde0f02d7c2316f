/** Files of every kind, read strictly and written atomically: JSON, JSONL, YAML, safetensors, GGUF, Parquet, hashes, confined paths. */
export { commitPartial, partialPath, writeFileAtomic, writeJsonAtomic } from "./atomic-write";
export { confinePath } from "./confine";
export { cannotWrite, type Destination, destinationOf, writeFailure, writeFully, writing } from "./destination";
export { makeFolder, prepareFile, removeIfEmpty } from "./folders";
export { type GgufEntry, type GgufTable, type GgufValue, isGgufFile, readGguf } from "./gguf/read";
export { type GgufTensorToWrite, type GgufWritten, writeGguf } from "./gguf/write";
export { contentHash, sha256, sha256File } from "./hash";
export { checkReadable, readText } from "./input";
export { canonicalJson, finiteJson, parseJsonStrict } from "./json";
export { packedOr, readBytes } from "./packed";
export { type JsonlContent, JsonlWriter, readJsonl, scanJsonl } from "./jsonl";
export { type LockAttempt, tryLock } from "./lock";
export { writeParquet } from "./parquet";
export {
  bfloatToFloat,
  decodeFloat32,
  elementBytes,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
  type SafetensorsDType,
} from "./safetensors/element";
export {
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsTable,
} from "./safetensors/header";
export { readTensor, streamTensorBytes, tensorEntry } from "./safetensors/read";
export { type TensorToWrite, writeSafetensors } from "./safetensors/write";
export { checkShape, parseYaml, readYaml } from "./yaml";
