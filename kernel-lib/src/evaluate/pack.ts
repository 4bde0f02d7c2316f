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
import { makeFolder, writeFileAtomic } from "../files";
import { openRunFolder, writeSummary } from "../runs";
import { loadProtocol } from "../study";
import { EVALUATION_KINDS, readRecords, RECORD_FILES } from "./records";
import { summarise } from "./summaries";

/** Taken over as they are, where there. DONE is written last, so that a copy that was cut off does not pass for a whole one. */
const PLAIN = ["meta.json", "protocol.yaml", "events.jsonl"];

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
  const records = Object.values(RECORD_FILES);
  for (const name of [...PLAIN, ...records.map((file) => `${file}.gz`)])
    if (fs.existsSync(run.file(name))) writeFileAtomic(path.join(copy, name), fs.readFileSync(run.file(name)));
  for (const name of records.filter((file) => fs.existsSync(run.file(file))))
    writeFileAtomic(path.join(copy, `${name}.gz`), gzipSync(fs.readFileSync(run.file(name)), { level: 9 }));
  summariseCopy(copy);
  writeFileAtomic(path.join(copy, "DONE"), fs.readFileSync(run.file("DONE")));
  return copy;
}

function summariseCopy(copy: string): void {
  const protocol = path.join(copy, "protocol.yaml");
  if (!fs.existsSync(protocol)) return;
  const read = loadProtocol(protocol);
  const parts = EVALUATION_KINDS.map((kind) => summarise(kind, readRecords(copy, kind), read));
  const metrics = parts.flatMap((part) => part.metrics);
  if (metrics.length === 0) return;
  const file = path.join(copy, "summary.json");
  fs.rmSync(file, { force: true });
  writeSummary(
    file,
    metrics,
    parts.flatMap(({ aims }) => aims),
  );
}
