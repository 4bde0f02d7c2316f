/**
 * A finished run made small enough to share: its records, protocol, events and origin, without weights, checkpoints and figures.
 *
 * What is left out can be made again or is not needed to check a figure: `loadRun` and `steerlab report` read the copy as they read the
 * run. The summary is made anew from the records, so that packing a copy again brings it up to date. The same run gives the same bytes.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import { expected, InputError } from "../base";
import { makeFolder, packedOr, readBytes, writeFileAtomic } from "../files";
import { openRunFolder, writeSummary } from "../runs";
import { loadProtocol } from "../study";
import { EVALUATION_KINDS, readRecords, RECORD_FILES } from "./records";
import { summarise } from "./summaries";

/** Taken over as they are, where there. DONE is written last, so that a copy that was cut off does not pass for a whole one. */
const PLAIN = ["meta.json", "events.jsonl"];
/** Packed by gzip, where there. */
const PACKED = ["protocol.yaml", ...Object.values(RECORD_FILES)];

/**
 * Copies a finished run to `root`, packed.
 *
 * @param folder the run
 * @param root folder for packed runs; the copy keeps the run's name
 * @returns folder of the copy
 * @throws DataError "run-folder-missing"; InputError "run-open" unless the run is done, "run-folder" where the copy would fall on the run
 *   itself, "out-folder"; DeviceError "disk-full"
 * @example
 * const copy = packRun(sweep.folder, "shared-runs");
 */
export function packRun(folder: string, root: string): string {
  const run = openRunFolder(folder);
  if (run.status() !== "done")
    throw new InputError("run-open", expected("a finished run", "RUN", `${run.id} (${run.status()})`));
  const copy = path.resolve(root, run.id);
  if (copy === run.path)
    throw new InputError("run-folder", expected("another folder than the run's own", "--out", root));
  makeFolder(copy, "--out");
  for (const name of PLAIN.filter((file) => fs.existsSync(run.file(file))))
    writeFileAtomic(path.join(copy, name), fs.readFileSync(run.file(name)));
  for (const name of PACKED) {
    const file = packedOr(run.file(name));
    if (fs.existsSync(file)) writeFileAtomic(path.join(copy, `${name}.gz`), gzipped(readBytes(file)));
  }
  summariseCopy(copy);
  writeFileAtomic(path.join(copy, "DONE"), fs.readFileSync(run.file("DONE")));
  return copy;
}

const gzipped = (bytes: Buffer): Buffer => gzipSync(bytes, { level: 9 });

function summariseCopy(copy: string): void {
  const protocol = packedOr(path.join(copy, "protocol.yaml"));
  if (!fs.existsSync(protocol)) return;
  const read = loadProtocol(protocol);
  const parts = EVALUATION_KINDS.map((kind) => summarise(kind, readRecords(copy, kind), read));
  const metrics = parts.flatMap((part) => part.metrics);
  if (metrics.length === 0) return;
  const file = path.join(copy, "summary.json");
  writeSummary(
    file,
    metrics,
    parts.flatMap(({ aims }) => aims),
  );
  writeFileAtomic(`${file}.gz`, gzipped(fs.readFileSync(file)));
  fs.rmSync(file);
}
