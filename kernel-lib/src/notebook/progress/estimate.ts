/**
 * How long is left, and how to say it: pure functions from counts and clock readings to text.
 *
 * rate = (units done since the oldest sample kept) / (time since then); left = (total - done) / rate.
 * A sliding window forgets a slow start (loading, first compilation) without jumping at every step. It grows with the work, so that
 * hours made of unlike parts (train, ask, train) are judged by several of them.
 */

/** One reading: `done` units at clock time `at` (milliseconds). */
export interface ProgressSample {
  at: number;
  done: number;
}

/** The window at first. */
export const WINDOW_MS = 30_000;
/** Samples in a window; of those that come faster only the latest stays. */
const WINDOW_SAMPLES = 200;

/** Milliseconds that count after so many of work: half a minute, later a third of the time so far. */
export function windowAfter(elapsedMs: number): number {
  return Math.max(WINDOW_MS, elapsedMs / 3);
}

/** `samples` with the new one added and those outside the window dropped; never fewer than two if two were given. */
export function addSample(
  samples: ReadonlyArray<ProgressSample>,
  sample: ProgressSample,
  windowMs = WINDOW_MS,
): ProgressSample[] {
  const before = samples.at(-2);
  const isClose = before !== undefined && sample.at - before.at < windowMs / WINDOW_SAMPLES;
  const kept = [...(isClose ? samples.slice(0, -1) : samples), sample];
  const firstInside = kept.findIndex(({ at }) => sample.at - at <= windowMs);
  return kept.slice(Math.min(firstInside, Math.max(0, kept.length - 2)));
}

/**
 * Seconds until `total` at the rate of the window, or null while that is unknown (no progress seen, no total).
 *
 * @example
 * secondsLeft([{ at: 0, done: 0 }, { at: 10_000, done: 5 }], 20); // 30
 */
export function secondsLeft(samples: ReadonlyArray<ProgressSample>, total: number | null): number | null {
  if (total === null || samples.length < 2) return null;
  const first = samples[0];
  const last = samples[samples.length - 1];
  const units = last.done - first.done;
  const milliseconds = last.at - first.at;
  if (last.done >= total) return 0;
  if (units <= 0 || milliseconds <= 0) return null;
  return ((total - last.done) * milliseconds) / units / 1000;
}

/**
 * A duration for people: "0.4 s", "45 s", "3 min 20 s", "2 h 05 min".
 *
 * @param seconds zero or more
 */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Everything one progress line says. */
export interface ProgressState {
  label: string;
  done: number;
  /** null: the total is not known. */
  total: number | null;
  elapsedSeconds: number;
  /** null: not known yet. */
  leftSeconds: number | null;
  note: string;
  finished: boolean;
}

/**
 * The progress line, such as `train 120/400 (30 %), 1 min 05 s, about 2 min 31 s left, loss 0.31`.
 */
export function progressText(state: ProgressState): string {
  const { label, done, total, elapsedSeconds, leftSeconds, note, finished } = state;
  const count = total === null ? `${done}` : `${done}/${total}`;
  const share = total === null || total === 0 || finished ? "" : ` (${Math.floor((100 * done) / total)} %)`;
  const left = leftSeconds === null || finished ? "" : `, about ${formatDuration(leftSeconds)} left`;
  return `${label} ${count}${share}, ${formatDuration(elapsedSeconds)}${left}${note === "" ? "" : `, ${note}`}`;
}
