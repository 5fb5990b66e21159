import { after, type MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { bridgeAfterMs, bridgeLingerMs } from './limits.ts';

/** Whether a bridge to a relay's WebSocket is wanted: when UDP has not served for a while, and a little longer. */
export class BridgeWish {
  endpoint: Endpoint | undefined;
  #isAsked = false;
  #idleSince: MonotonicMs | undefined;

  set(endpoint: Endpoint | undefined): void {
    // One that comes when nobody wants it any more is on its way out.
    this.endpoint = this.#isAsked ? endpoint : undefined;
  }

  /** @param since since when UDP does not serve; undefined while it does. */
  wake(since: MonotonicMs | undefined, now: MonotonicMs): 'wanted' | 'unwanted' | undefined {
    if (since !== undefined) {
      this.#idleSince = undefined;
      if (this.#isAsked || now < after(since, bridgeAfterMs)) return undefined;
      this.#isAsked = true;
      return 'wanted';
    }
    if (!this.#isAsked) return undefined;
    this.#idleSince ??= now;
    if (now < after(this.#idleSince, bridgeLingerMs)) return undefined;
    this.drop();
    return 'unwanted';
  }

  /** True when one was asked for. */
  drop(): boolean {
    const wasAsked = this.#isAsked;
    this.#isAsked = false;
    this.#idleSince = undefined;
    this.endpoint = undefined;
    return wasAsked;
  }

  dueAt(since: MonotonicMs | undefined): MonotonicMs | undefined {
    if (since !== undefined) return this.#isAsked ? undefined : after(since, bridgeAfterMs);
    return this.#idleSince === undefined ? undefined : after(this.#idleSince, bridgeLingerMs);
  }
}
