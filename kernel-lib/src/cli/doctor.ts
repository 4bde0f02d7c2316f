/** `steerlab doctor`: what this machine has, what is missing, and the command that mends it. */
import { diagnose, findingLine } from "../doctor";
import { flagsOf } from "./flags";

export const DOCTOR_HELP = `steerlab doctor

Prints one line per thing this project needs or can use, with a remedy where one is missing; exits with 1 if a needed one is.
`;

/** Prints findings as they are made. */
export function doctor(args: readonly string[]): void {
  flagsOf("doctor", args, []);
  const findings = diagnose((finding) => process.stdout.write(`${findingLine(finding)}\n`));
  if (findings.some(({ level }) => level === "bad")) process.exitCode = 1;
}
