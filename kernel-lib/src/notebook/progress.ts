/**
 * Progress of long work with the time left, shown in place, at most four times a second, and not at all under two seconds.
 *
 * In a notebook one display is updated; on a terminal one line is rewritten; elsewhere a line appears now and then.
 * Time left comes from progress/estimate.ts; the clock and the places shown are arguments, so tests need no waiting.
 * Does not stop work: for that listen to `interruptSignal()`.
 */

import { kernelHost, nextDisplayId } from "./host";
import { addSample, type ProgressSample, type ProgressState, secondsLeft, windowAfter } from "./progress/estimate";
import { fileSink, logSink, notebookSink, type ProgressSink, terminalSink } from "./progress/sinks";

/** Work shorter than this shows nothing. */
export const QUIET_MS = 2000;

/** Handle on one piece of work. */
export interface Progress {
  /** `done` units so far (absolute), with a short note such as "loss 0.31". */
  update(done: number, note?: string): void;
  /** The work ended well: the last line says how long it took. Further calls do nothing. */
  done(note?: string): void;
}

/** Options of `startProgress`; the defaults suit notebooks and terminals. */
export interface ProgressOptions {
  /** Milliseconds, monotonic. Default `performance.now`. */
  clock?: () => number;
  /** Where to show; default by surroundings. */
  sinks?: ReadonlyArray<ProgressSink>;
  /** Units done before this start (work that goes on where it stopped): they say nothing about speed. Default 0. */
  from?: number;
}

/**
 * Starts a progress line.
 *
 * @param label what is being done, such as "train"
 * @param total units of work, or null when not known
 * @example
 * const progress = startProgress("sweep", 6120);
 * for (const [i, trial] of trials.entries()) { await ask(trial); progress.update(i + 1); }
 * progress.done();
 */
export function startProgress(label: string, total: number | null, options: ProgressOptions = {}): Progress {
  const clock = options.clock ?? (() => performance.now());
  const sinks = options.sinks ?? defaultSinks();
  const lastShown = sinks.map(() => Number.NEGATIVE_INFINITY);
  const start = clock();
  let samples: ProgressSample[] = [{ at: start, done: options.from ?? 0 }];
  let latest = { done: options.from ?? 0, note: "" };
  let finished = false;

  const show = (now: number): void => {
    if (now - start < QUIET_MS) return;
    const state: ProgressState = {
      label,
      done: latest.done,
      total,
      elapsedSeconds: (now - start) / 1000,
      leftSeconds: secondsLeft(samples, total),
      note: latest.note,
      finished,
    };
    sinks.forEach((sink, i) => {
      if (!finished && now - lastShown[i] < sink.intervalMs) return;
      lastShown[i] = now;
      sink.show(state);
    });
  };

  return {
    update(done, note = "") {
      if (finished) return;
      const now = clock();
      latest = { done, note };
      samples = addSample(samples, { at: now, done }, windowAfter(now - start));
      show(now);
    },
    done(note) {
      if (finished) return;
      finished = true;
      latest = { done: total ?? latest.done, note: note ?? latest.note };
      show(clock());
    },
  };
}

/**
 * Runs `body` with a progress line; the line is finished when the body resolves and left as it is when it throws.
 *
 * @param label what is being done   @param total units of work, or null when not known
 * @param body receives `tick(done, note?)`, to be called with the absolute count
 * @returns what the body resolves to
 * @throws what the body throws
 * @example
 * const asked = ["Who are you?", "What do you want?"];
 * const texts = await withProgress("ask", asked.length, async (tick) => {
 *   const answers: string[] = [];
 *   for (const content of asked) {
 *     answers.push(...(await model.sample([{ role: "user", content }], { maxTokens: 40, seed: 1 })));
 *     tick(answers.length);
 *   }
 *   return answers;
 * });
 */
export async function withProgress<T>(
  label: string,
  total: number | null,
  body: (tick: (done: number, note?: string) => void) => Promise<T>,
  options: ProgressOptions = {},
): Promise<T> {
  const progress = startProgress(label, total, options);
  const result = await body((done, note) => progress.update(done, note));
  progress.done();
  return result;
}

function defaultSinks(): ProgressSink[] {
  const sinks: ProgressSink[] = [];
  const host = kernelHost();
  if (host !== null) sinks.push(notebookSink((bundle, options) => host.display(bundle, options), nextDisplayId()));
  else if (process.stderr.isTTY) sinks.push(terminalSink(process.stderr));
  else sinks.push(logSink(process.stderr));
  const file = process.env.STEERLAB_PROGRESS_FILE;
  if (file !== undefined && file !== "") sinks.push(fileSink(file));
  return sinks;
}

/**
 * A progress line as the `onProgress` callback that library functions take; it starts with the first call and ends at the total.
 * What was done before the first call (resumed work) does not count as speed.
 *
 * @param label what is being done
 * @returns the callback: units done so far, of all
 * @example
 * const result = await evaluateDetection(model, "strict", { adapter, onProgress: showProgress("sweep") });
 */
export function showProgress(label: string, options: ProgressOptions = {}): (done: number, total: number) => void {
  let progress: Progress | null = null;
  return (done, total) => {
    progress ??= startProgress(label, total, { from: done, ...options });
    progress.update(done);
    if (done >= total) progress.done();
  };
}
