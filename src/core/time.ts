import type { Brand } from './brand.ts';

/** Milliseconds of a clock that never goes back; its zero means nothing. Includes time spent asleep. */
export type MonotonicMs = Brand<number, 'MonotonicMs'>;

/** Milliseconds since 1970-01-01T00:00Z. May jump; only compared with other wall-clock times. */
export type WallMs = Brand<number, 'WallMs'>;

export const monotonicMs = (value: number): MonotonicMs => value as MonotonicMs;
export const wallMs = (value: number): WallMs => value as WallMs;

/** A moment as a sans-IO machine is told it: time is an argument, never read. */
export interface Now {
  readonly monotonic: MonotonicMs;
  readonly wall: WallMs;
}

/** The later moment, `delayMs` after `from`. */
export const after = (from: MonotonicMs, delayMs: number): MonotonicMs =>
  monotonicMs(from + delayMs);
