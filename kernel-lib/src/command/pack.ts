/** `steerlab pack`: finished runs without their weights, small enough to mail or to commit. */
import { packRun } from "../evaluate";
import { parseArguments } from "./flags";
import { reportRuns } from "./places";
import { PACK } from "./tables";

/** Packs the runs named and prints the place of each copy. @throws InputError "run-folder", "run-open", "out-folder" */
export function pack(args: readonly string[]): void {
  const { flags, operands } = parseArguments("pack", PACK, args);
  const { folders, left } = reportRuns(operands);
  for (const run of left)
    process.stderr.write(`steerlab: left out ${run.id}: it has not ended well (${run.status()})\n`);
  for (const folder of folders) process.stdout.write(`${packRun(folder, flags.out)}\n`);
}
