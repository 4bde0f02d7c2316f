/** Ctrl-C and a scheduler's SIGTERM as an AbortSignal, so that a command cleans up or saves; a second one ends it at once. */
const NAMES = ["SIGINT", "SIGTERM"] as const;

/** Listens until released. */
export function stopOnSignals(): { signal: AbortSignal; release(): void } {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  for (const name of NAMES) process.once(name, onSignal);
  return {
    signal: stop.signal,
    release: () => {
      for (const name of NAMES) process.removeListener(name, onSignal);
    },
  };
}
