/** Waiting for a condition: the only way in which laboratory and level 5 tests wait. */
import { inspect } from 'node:util';

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal;
}

const expired = Symbol('expired');
const longestValueText = 2_000;

/**
 * Evaluates `condition` until it is truthy and returns its value. A condition that throws is not
 * fulfilled yet; its error counts as its value, so that assertions can be awaited.
 * @param description what is awaited, for the failure: 'a direct tunnel from alice to bob'
 * @throws Error with the description, the last value and the time waited; or the reason of
 * `signal`.
 */
export async function waitFor<T>(
  description: string,
  condition: () => T | Promise<T>,
  { timeoutMs = 10_000, intervalMs = 50, signal }: WaitOptions = {},
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const started = performance.now();
  const over = deadline(timeoutMs, signal);
  let last: unknown = 'never evaluated to the end';
  try {
    for (;;) {
      const value = await Promise.race([attempt(condition), over.promise]);
      if (value === expired) break;
      if (!(value instanceof Failure)) {
        if (value) return value as Exclude<T, undefined | null | false | 0 | ''>;
        last = value;
      } else last = value.error;
      if ((await Promise.race([pause(intervalMs), over.promise])) === expired) break;
    }
  } finally {
    over.clear();
  }
  const elapsed = ((performance.now() - started) / 1000).toFixed(1);
  const text = last instanceof Error ? last.message : inspect(last, { depth: 6 });
  throw new Error(
    `waited ${elapsed} s in vain for ${description}; last seen: ${text.slice(0, longestValueText)}`,
    last instanceof Error ? { cause: last } : undefined,
  );
}

/**
 * Bounds a promise. Its rejection after the bound is not lost on the process: it is handled here.
 */
export async function withinMs<T>(
  description: string,
  timeoutMs: number,
  promise: Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const over = deadline(timeoutMs, signal);
  try {
    const value = await Promise.race([promise, over.promise]);
    if (value === expired) throw new Error(`${description}: not within ${timeoutMs / 1000} s`);
    return value as T;
  } finally {
    over.clear();
  }
}

class Failure {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

async function attempt<T>(condition: () => T | Promise<T>): Promise<T | Failure> {
  try {
    return await condition();
  } catch (error) {
    return new Failure(error);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function deadline(timeoutMs: number, signal: AbortSignal | undefined) {
  const { promise, resolve, reject } = Promise.withResolvers<typeof expired>();
  promise.catch(() => {});
  const timer = setTimeout(() => resolve(expired), timeoutMs);
  const aborted = () => reject(signal?.reason);
  if (signal?.aborted) aborted();
  signal?.addEventListener('abort', aborted, { once: true });
  const clear = () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  };
  return { promise, clear };
}
