/** GGUF files (llama.cpp): a strict reader, and a writer for control vectors. */
export { type GgufEntry, type GgufTable, type GgufValue, isGgufFile, readGguf } from "./read";
export { type GgufTensorToWrite, type GgufWritten, writeGguf } from "./write";
