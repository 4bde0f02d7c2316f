/**
 * Opens an exported file for running: proves that it is ours, of the pinned operator set, whole, and beside its own data.
 *
 * Reads the graph (some MB) and the first line of the data; the weights themselves are mapped later by the runtime.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, expected } from "../../base";
import { confinePath, sha256File } from "../../files";
import { checkRawConfig } from "../checks";
import { identityLine } from "./data-file";
import { dataIdentity, type OnnxMetadata, parseMetadata } from "./metadata";
import { decodeModel, type ModelProto, OPSET } from "./schema";

/** Larger graph files are not ours: matrices stand in the data file, and vectors of 64 layers of 5120 are 8 MB. */
const MAX_GRAPH_BYTES = 2 ** 28;

/** A checked export. */
export interface OnnxFile {
  file: string;
  dataFile: string;
  metadata: OnnxMetadata;
}

/**
 * Checks an exported file and its data.
 * @param expect.modelHash refuses an export of another model
 * @param expect.verify reads all data and compares its sha256 (default false: size and first line only)
 * @throws DataError "onnx-missing-file", "onnx-foreign", "onnx-opset", "onnx-version", "onnx-damaged", "onnx-data-missing",
 *   "onnx-data-size", "onnx-data-mismatch", "onnx-model-mismatch", "path-escape"
 * @example
 * const { metadata } = await readOnnxFile("lab.onnx");
 */
export async function readOnnxFile(
  file: string,
  expect: { modelHash?: string; verify?: boolean } = {},
): Promise<OnnxFile> {
  const graphFile = path.resolve(file);
  const stat = fs.statSync(graphFile, { throwIfNoEntry: false });
  if (!stat?.isFile())
    throw new DataError("onnx-missing-file", `Expected an ONNX file at ${graphFile} but there is none.`);
  if (stat.size === 0 || stat.size > MAX_GRAPH_BYTES) {
    throw new DataError(
      "onnx-foreign",
      expected(
        "1 byte to 256 MiB",
        `the size of ${graphFile}`,
        stat.size,
        'Export the model with "steerlab export-onnx".',
      ),
    );
  }
  const model = decodeModel(fs.readFileSync(graphFile), graphFile);
  const metadata = parseMetadata(model.metadataProps, graphFile);
  checkOpset(model, graphFile);
  checkRawConfig(metadata.config);
  const dataFile = checkedData(model, metadata, graphFile);
  if (expect.modelHash !== undefined && expect.modelHash !== metadata.modelHash) {
    throw new DataError(
      "onnx-model-mismatch",
      `Expected an export of the model with hash ${expect.modelHash.slice(0, 12)} at ${graphFile} but it was made from ${metadata.modelHash.slice(0, 12)}. Export the model again.`,
    );
  }
  if (expect.verify === true && (await sha256File(dataFile)) !== metadata.dataSha256) {
    throw new DataError(
      "onnx-data-mismatch",
      `Expected the sha256 in ${graphFile} for ${dataFile} but its bytes differ. Export the model again.`,
    );
  }
  return { file: graphFile, dataFile, metadata };
}

function checkOpset(model: ModelProto, file: string): void {
  const sets = model.opsetImport.map(({ domain, version }) => `${domain === "" ? "ai.onnx" : domain} ${version}`);
  if (sets.length !== 1 || sets[0] !== `ai.onnx ${OPSET}`) {
    throw new DataError(
      "onnx-opset",
      expected(
        `operator set ai.onnx ${OPSET}`,
        file,
        sets.join(", ") || "none",
        "Converted files are not run; export the model again.",
      ),
    );
  }
}

/** Path of the data file, proven complete and made with this graph. */
function checkedData(model: ModelProto, metadata: OnnxMetadata, file: string): string {
  const external = model.graph.initializer.filter((tensor) => tensor.dataLocation === 1);
  const entries = external.map((tensor) =>
    Object.fromEntries((tensor.externalData ?? []).map(({ key, value }) => [key, value])),
  );
  const locations = [...new Set(entries.map((entry) => entry.location))];
  if (locations.length !== 1 || locations[0] === undefined) {
    throw new DataError(
      "onnx-damaged",
      expected("one data file", `the weights of ${file}`, locations.join(", ") || "none", "Export it again."),
    );
  }
  const dataFile = confinePath(path.dirname(file), locations[0], `data file of ${file}`);
  const size = fs.statSync(dataFile, { throwIfNoEntry: false })?.size;
  if (size === undefined) {
    throw new DataError(
      "onnx-data-missing",
      `Expected the weights of ${file} in ${dataFile} but there is no such file. Keep the two files together.`,
    );
  }
  if (size !== metadata.dataBytes || entries.some(({ offset, length }) => !(Number(offset) + Number(length) <= size))) {
    throw new DataError(
      "onnx-data-size",
      expected(`${metadata.dataBytes} bytes`, dataFile, size, "The copy is incomplete; copy or export it again."),
    );
  }
  const line = identityLine(dataIdentity(metadata));
  const found = Buffer.alloc(line.length);
  const handle = fs.openSync(dataFile, "r");
  try {
    fs.readSync(handle, found, 0, found.length, 0);
  } finally {
    fs.closeSync(handle);
  }
  if (!found.equals(line)) {
    throw new DataError(
      "onnx-data-mismatch",
      `Expected the data of ${file} in ${dataFile} but it belongs to another export. Keep the two files of one export together.`,
    );
  }
  return dataFile;
}
