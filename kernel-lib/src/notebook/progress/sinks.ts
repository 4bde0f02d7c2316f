/**
 * Where a progress line is shown: one notebook display updated in place, one terminal line, or a few log lines.
 *
 * Besides, when `STEERLAB_PROGRESS_FILE` names a file, each state is written there as one JSON object, so that the
 * batch runner can show what happens inside a notebook it runs in another process.
 */

import { writeFileSync } from "node:fs";
import { escapeHtml } from "../../page";
import { type ProgressState, progressText } from "./estimate";

/** Receives states, at most as often as `intervalMs` says, and the last one always. */
export interface ProgressSink {
  intervalMs: number;
  show(state: ProgressState): void;
}

/** Four updates a second: more floods the notebook's websocket. */
export const NOTEBOOK_INTERVAL_MS = 250;
/** A log file wants few lines. */
export const LOG_INTERVAL_MS = 15_000;

/** Shows one output area that is updated in place; `display` is the kernel host's. */
export function notebookSink(
  display: (bundle: Record<string, unknown>, options: { id: string; update: boolean }) => void,
  id: string,
): ProgressSink {
  let shown = false;
  return {
    intervalMs: NOTEBOOK_INTERVAL_MS,
    show(state) {
      const text = progressText(state);
      const max = state.total === null ? "" : ` value="${state.done}" max="${state.total}"`;
      const bar = state.finished ? "" : `<progress${max}></progress> `;
      display({ "text/html": `<div>${bar}${escapeHtml(text)}</div>`, "text/plain": text }, { id, update: shown });
      shown = true;
    },
  };
}

/** Rewrites one line of a terminal, cut to its width. */
export function terminalSink(stream: { write(text: string): unknown; columns?: number }): ProgressSink {
  return {
    intervalMs: NOTEBOOK_INTERVAL_MS,
    show(state) {
      const width = Math.max(20, (stream.columns ?? 80) - 1);
      const text = progressText(state).slice(0, width);
      stream.write(`\r${text.padEnd(width)}${state.finished ? "\n" : ""}`);
    },
  };
}

/** A line now and then, for logs and pipes. */
export function logSink(stream: { write(text: string): unknown }): ProgressSink {
  return {
    intervalMs: LOG_INTERVAL_MS,
    show(state) {
      stream.write(`${progressText(state)}\n`);
    },
  };
}

/** Tells another process, through a small file that is rewritten; a failure to write is not the work's failure. */
export function fileSink(path: string): ProgressSink {
  return {
    intervalMs: 1000,
    show(state) {
      try {
        writeFileSync(path, JSON.stringify(state));
      } catch {
        // The batch runner may have removed its folder; the work goes on.
      }
    },
  };
}
