/**
 * "Stop, please" from the person at the keyboard, as an AbortSignal that long work listens to.
 *
 * In our notebook kernel the preload (jupyter/register.cjs) owns the registry: the signal is aborted at SIGINT and a
 * fresh one serves the next cell. In plain Node the first call installs a SIGINT listener: the first Ctrl-C aborts the
 * signal so that work can finish its step and save; a second one ends the process as Node would have.
 */

/** What stands at `globalThis[Symbol.for("steerlab.interrupt")]`. */
export interface InterruptRegistry {
  /** Aborted at SIGINT; replaced by a fresh one when the next cell starts. */
  readonly signal: AbortSignal;
}

const KEY = Symbol.for("steerlab.interrupt");

/**
 * The signal of the cell (or process) now running. Ask at the start of the work, not once per module.
 *
 * @returns an AbortSignal that fires at the interrupt button or Ctrl-C
 * @example
 * const run = await trainDetector(model, study, { seed: 1, signal: interruptSignal() });
 */
export function interruptSignal(): AbortSignal {
  const holder = globalThis as { [KEY]?: InterruptRegistry };
  holder[KEY] ??= processRegistry();
  return holder[KEY].signal;
}

/** Registry of a process without our kernel: one signal, a second Ctrl-C is final. */
function processRegistry(): InterruptRegistry {
  const controller = new AbortController();
  const onSignal = (): void => {
    controller.abort();
    process.off("SIGINT", onSignal);
  };
  process.on("SIGINT", onSignal);
  return { signal: controller.signal };
}
