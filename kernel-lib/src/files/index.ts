/** Files on disk: atomic writes, JSON and JSONL, hashes, confined paths, run folders. */
export { commitPartial, partialPath, writeFileAtomic, writeJsonAtomic } from "./atomic-write";
export { confinePath } from "./confine";
export { cannotWrite, makeFolder, removeIfEmpty } from "./folders";
export { contentHash, sha256, sha256File } from "./hash";
export { canonicalJson, finiteJson, parseJsonStrict } from "./json";
export { type JsonlContent, JsonlWriter, readJsonl, scanJsonl } from "./jsonl";
export {
  createRunFolder,
  listRunFolders,
  openRunFolder,
  type RunFolder,
  type RunStatus,
  runStamp,
  slugify,
} from "./run-folder";
