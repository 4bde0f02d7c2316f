/** Ctrl-C and a scheduler's SIGTERM, alike: an AbortSignal, so that a command cleans up or saves; a second one ends it at once. */
import { constants } from "node:os";

const NAMES = ["SIGINT", "SIGTERM"] as const;

/** A command's claim on the signals. */
export interface SignalWatch {
  signal: AbortSignal;
  /** 128 + the signal's number, as shells count; null while none came */
  status(): number | null;
  release(): void;
}

/** Listens until released. */
export function stopOnSignals(): SignalWatch {
  const stop = new AbortController();
  let status: number | null = null;
  const listeners = NAMES.map((name) => {
    const onSignal = (): void => {
      status ??= 128 + constants.signals[name];
      stop.abort();
    };
    process.once(name, onSignal);
    return { name, onSignal };
  });
  return {
    signal: stop.signal,
    status: () => status,
    release: () => {
      for (const { name, onSignal } of listeners) process.removeListener(name, onSignal);
    },
  };
}
