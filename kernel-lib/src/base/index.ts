/** The ground floor: errors with stable codes, counter-based randomness, secrets taken out of text, where the project lies. */
export { AbortedError, DataError, DeviceError, expected, InputError, SteerlabError } from "./errors";
export { say } from "./note";
export { philox4x32 } from "./philox";
export { DATA_FOLDER, LAB_MODEL, LIBRARY_FOLDER, LIBRARY_VERSION, PROJECT_FOLDER } from "./project";
export { random, type Random, type RandomState, restoreRandom } from "./random";
export { whatWasWanted } from "./schema-issue";
export { scrubSecrets } from "./secrets";
