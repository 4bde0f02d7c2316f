/**
 * What a batch says while it runs: which notebook and cell, what the work in it reports, and how much time is left.
 *
 * On a terminal one line is rewritten; elsewhere a line appears every LOG_MS. Time left of the whole batch is known
 * when each waiting notebook says how long it usually takes; otherwise only the work's own estimate is shown.
 */

import { formatDuration, progressText } from "../../notebook";
import type { RunningState } from "./papermill";
import type { NotebookRecord } from "./records";

const LOG_MS = 15_000;

/** Receives the events of a batch. */
export interface BatchReporter {
  start(index: number, name: string): void;
  running(state: RunningState): void;
  /** a notebook that an earlier batch made runs again, and why */
  again(why: string): void;
  end(record: NotebookRecord): void;
  finish(records: ReadonlyArray<NotebookRecord>, index: string): void;
}

/**
 * Seconds left of a batch: the rest of the running notebook plus the usual time of those after it.
 *
 * @param expected usual seconds of each notebook, null where unknown
 * @param index the running one   @param elapsed its seconds so far   @param workLeft what its work says, or null
 * @returns null if a waiting notebook's time is unknown and nothing better can be said
 */
export function batchSecondsLeft(
  expected: ReadonlyArray<number | null>,
  index: number,
  elapsed: number,
  workLeft: number | null,
): number | null {
  const usual = expected[index] ?? null;
  const current = usual === null ? workLeft : Math.max(usual - elapsed, workLeft ?? 0);
  const rest = expected.slice(index + 1);
  if (current === null || rest.some((seconds) => seconds === null)) return null;
  return rest.reduce<number>((sum, seconds) => sum + (seconds ?? 0), current);
}

function describe(record: NotebookRecord): string {
  const time = record.seconds === null ? "" : ` in ${formatDuration(record.seconds)}`;
  const state = record.reused ? "kept from before (unchanged)" : `${record.status}${time}`;
  const why = record.problems.map((problem) => `\n    ${problem.split("\n").join("\n    ")}`).join("");
  return `${record.name}: ${state}, ${record.valid ? "valid" : "NOT VALID"}${why}`;
}

/** A reporter that writes to `stream`. @param clock milliseconds, for tests */
export function batchReporter(
  stream: { write(text: string): unknown; isTTY?: boolean; columns?: number },
  expected: ReadonlyArray<number | null>,
  clock: () => number = () => performance.now(),
): BatchReporter {
  let index = 0;
  let name = "";
  let startedAt = 0;
  let loggedAt = 0;
  const prefix = (): string => `[${index + 1}/${expected.length}]`;
  const width = (): number => Math.max(20, (stream.columns ?? 100) - 1);
  const clear = (): string => (stream.isTTY === true ? `\r${" ".repeat(width())}\r` : "");

  const line = ({ cells, work }: RunningState, now: number): string => {
    const elapsed = (now - startedAt) / 1000;
    const cell = cells === null ? "starting" : `cell ${Math.min(cells.done + 1, cells.total)} of ${cells.total}`;
    const left = batchSecondsLeft(expected, index, elapsed, work?.leftSeconds ?? null);
    const all = left === null ? "" : ` | about ${formatDuration(left)} left in all`;
    const doing = work === null || work.finished ? "" : ` | ${progressText(work)}`;
    return `${prefix()} ${name}, ${cell}, ${formatDuration(elapsed)}${doing}${all}`;
  };

  return {
    start(position, title) {
      [index, name, startedAt] = [position, title, clock()];
      loggedAt = startedAt;
      if (stream.isTTY !== true) stream.write(`${prefix()} ${name}: starting\n`);
    },
    running(state) {
      const now = clock();
      if (stream.isTTY === true) {
        stream.write(`\r${line(state, now).slice(0, width()).padEnd(width())}`);
      } else if (now - loggedAt >= LOG_MS) {
        loggedAt = now;
        stream.write(`${line(state, now)}\n`);
      }
    },
    again(why) {
      stream.write(`${clear()}${prefix()} ${name}: running again, ${why}\n`);
    },
    end(record) {
      stream.write(`${clear()}${prefix()} ${describe(record)}\n`);
    },
    finish(records, path) {
      const valid = records.filter((record) => record.valid).length;
      stream.write(`${valid} of ${records.length} notebooks valid.\nReports: ${path}\n`);
    },
  };
}
