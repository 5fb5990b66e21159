import { loadAddon } from '#engine/addon.ts';

const firstAfterMs = 10_000;
const everyMs = 30_000;
/** What has grown by less is left alone. */
const growthBytes = 8 << 20;

/**
 * Gives back what starting, logging in and joining needed but running does not: garbage, what the C library keeps of
 * it (Argon2id alone takes 64 MiB), pages of the program that only the start used. Some 20 ms of the main thread, now and then;
 * packets do not wait for it.
 */
export class MemoryKeeper implements Disposable {
  readonly #addon = loadAddon();
  #residentBytes = 0;
  #timer = setTimeout(() => this.#check(), firstAfterMs).unref();

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #check(): void {
    if (process.memoryUsage.rss() > this.#residentBytes + growthBytes) {
      // There only when Node was started with --expose-gc, as bin/buri does.
      globalThis.gc?.({ type: 'major', flavor: 'last-resort' });
      this.#addon.releaseMemory();
      this.#residentBytes = process.memoryUsage.rss();
    }
    this.#timer = setTimeout(() => this.#check(), everyMs).unref();
  }
}
