/** `steerlab report`: the HTML page of run folders, rebuilt from records on any machine, without a model. */
import * as path from "node:path";
import { AbortedError } from "../base";
import { prepareFile, removeIfEmpty } from "../files";
import { writeReport } from "../report";
import { parseArguments } from "./flags";
import { reportRuns } from "./places";
import { REPORT } from "./tables";

/** Writes the page and prints its place. @throws InputError "run-folder", "out-folder", "out-kind" */
export async function report(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags, operands } = parseArguments("report", REPORT, args);
  const { folders, left, inner } = reportRuns(operands);
  const file = flags.out ?? path.join(operands[0], "report.html");
  const made = prepareFile(file, "--out");
  try {
    for (const run of left)
      process.stderr.write(`steerlab: left out ${run.id}: it has not ended well (${run.status()})\n`);
    for (const place of new Set(inner.map((run) => path.dirname(run.path))))
      process.stderr.write(`steerlab: left out the runs in ${place}: name that folder for a report of them\n`);
    await new Promise(setImmediate); // a signal that came by now is heard
    if (signal?.aborted === true) throw new AbortedError();
    process.stdout.write(`${writeReport(folders, { file })}\n`);
  } finally {
    removeIfEmpty(made);
  }
}
