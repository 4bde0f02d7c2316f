/** A model or adapter on disk: config, tensors, PEFT files, tokenizer, chat template, hub names. Loads no weights. */
export { type AdapterConfig, type LoraConfig, loraConfigJson, parseAdapterConfig } from "./adapter-config";
export {
  type AdapterBase,
  type AdapterFiles,
  adapterHash,
  readAdapter,
  sameBaseName,
  writeAdapter,
} from "./adapter-files";
export { type AdapterManifest, MANIFEST_NAME, parseManifest } from "./adapter-manifest";
export {
  type ChatRole,
  type ChatTemplate,
  chatTemplate,
  type ChatText,
  type ChatTurn,
  loadChatTemplate,
  renderChat,
  type TextPart,
  type TurnSpan,
} from "./chat";
export { configNotes, parseModelConfig } from "./config";
export { isBlockType } from "./gguf-model";
export { hubEnvironment, type HubEnvironment } from "./hub/environment";
export { checkRepository, uploadFolder, type UploadOptions, writable } from "./hub/upload";
export { resolveAdapter, resolveModel, type ResolveOptions } from "./hub/resolve";
export {
  conversationOf,
  finiteNumber,
  finiteProduct,
  idOf,
  objectOf,
  rangeOf,
  refuseLine,
  steeredContext,
  tokensOf,
} from "./line-fields";
export { pythonMatches } from "./python-pattern";
export { loraParameterCount, loraTensorName, moduleName, projectionShape } from "./projections";
export { rotaryFrequencies } from "./rope";
export { parameterCount, QWEN2_SHAPES, qwen2Shape } from "./shapes";
export {
  type EncodedChat,
  type EncodedText,
  type LabelTokens,
  loadTokenizer,
  parseTokenizer,
  type Tokenizer,
  vocabularyNote,
} from "./tokenizer";
export {
  type AdapterPart,
  type BlockType,
  type ModelConfig,
  type PlainType,
  type Projection,
  PROJECTIONS,
  type RopeScaling,
  type TensorLocation,
} from "./types";
export { type Checkpoint, checkpointHash, modelIdentity, modelTensors, readCheckpoint } from "./weights";
export { asTokenizersCompose } from "./nfc";
