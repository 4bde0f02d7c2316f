/**
 * `steerlab doctor`: what this machine has, what is missing and the command that mends it, one line each.
 *
 * doctor/checks.ts looks; this file orders and prints. Needs no browser and no network, changes nothing.
 */

import { AbortedError } from "../base";
import { parseArguments } from "./flags";
import {
  checkCompiler,
  checkCuda,
  checkDisk,
  checkEngine,
  checkEnvironment,
  checkFonts,
  checkKernelRuns,
  checkKernelspec,
  checkLabModel,
  checkMemory,
  checkNode,
  checkPython,
  type Finding,
} from "./doctor/checks";
import { DOCTOR } from "./tables";

const CHECKS: ReadonlyArray<() => Finding> = [
  checkNode,
  checkCompiler,
  checkEngine,
  checkCuda,
  checkPython,
  checkEnvironment,
  checkKernelspec,
  checkKernelRuns,
  checkLabModel,
  checkFonts,
  checkDisk,
  checkMemory,
];

/**
 * Looks at everything; takes a few seconds because one check starts a kernel.
 *
 * @param onFinding called as soon as each finding is known
 * @returns all findings, in the order in which things depend on each other
 * @example
 * const healthy = diagnose(({ name, fact }) => console.log(name, fact)).every(({ level }) => level !== "bad");
 */
export function diagnose(onFinding: (finding: Finding) => void = () => {}): Finding[] {
  return CHECKS.map((check) => {
    const found = check();
    onFinding(found);
    return found;
  });
}

const MARKS = { good: "ok  ", note: "note", bad: "BAD " } as const;

/** One line: mark, name, fact, remedy. */
export function findingLine({ name, level, fact, remedy }: Finding): string {
  return `${MARKS[level]}  ${name.padEnd(11)} ${fact}${remedy === "" ? "" : `. Mend: ${remedy}`}`;
}

/** The command: prints findings as they are made. */
export async function doctor(args: readonly string[], signal?: AbortSignal): Promise<void> {
  parseArguments("doctor", DOCTOR, args);
  for (const check of CHECKS) {
    const finding = check();
    process.stdout.write(`${findingLine(finding)}\n`);
    if (finding.level === "bad") process.exitCode = 1;
    await new Promise(setImmediate); // a signal that came meanwhile is heard
    if (signal?.aborted === true) throw new AbortedError();
  }
}
