/** `steerlab report`: the HTML page of run folders, rebuilt from records on any machine, without a model. */
import { existsSync } from "node:fs";
import * as path from "node:path";
import { expected, InputError } from "../base";
import { writeReport } from "../report";
import { flagsOf } from "./flags";

export const REPORT_HELP = `steerlab report RUN [RUN ...] [--out FILE]

Writes one self-contained HTML page over run folders, most important first (training, detection, side effects of one adapter).

  --out FILE  default: report.html in the first folder
`;

/** Writes the page and prints its place. @throws InputError "no-runs", "run-folder" */
export function report(args: readonly string[]): void {
  const at = args.findIndex((arg) => arg.startsWith("--"));
  const folders = at === -1 ? [...args] : args.slice(0, at);
  const flags = flagsOf("report", at === -1 ? [] : args.slice(at), ["out"]);
  if (folders.length === 0)
    throw new InputError("no-runs", 'Expected at least one run folder for "steerlab report" but received none.');
  for (const folder of folders) {
    if (!existsSync(path.join(folder, "meta.json")))
      throw new InputError("run-folder", expected("a run folder with meta.json", "RUN", folder));
  }
  process.stdout.write(`${writeReport(folders, { file: flags.out })}\n`);
}
