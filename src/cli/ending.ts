/** Aborted by SIGTERM and SIGINT; whatever has not ended so long afterwards has failed to, and the process ends as it is. */
export function endingSignal(withinMs: number): AbortSignal {
  const ending = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!ending.signal.aborted) setTimeout(() => process.exit(1), withinMs).unref();
      ending.abort();
    });
  }
  return ending.signal;
}
