/** When to ask again, how long an answer is believed. */
import type { Endpoint } from '#wire/endpoint.ts';
import { classOf } from '../path/address-class.ts';
import type { Lease } from './io.ts';

/** What is asked for (RFC 6886 §3.3 recommends it). */
export const wantedLifetimeSeconds = 7200;
/** A mapping of less is not worth announcing to anybody. */
const minLifetimeSeconds = 20;
/** RFC 6887 §15: more is not believed. */
const maxLifetimeSeconds = 86_400;
/** How often the gateway is asked, on the LAN, whether it has restarted; and when it did not answer. */
export const checkEveryMs = 60_000;
export const checkAgainMs = 10_000;
/** After a refusal or silence. */
export const minRetryMs = 5_000;
/** Hints of a restart are followed at most this often. */
export const minRecheckMs = 5_000;

/** 250 ms and doubling: a gateway is a millisecond away, but may be slow. */
export const requestDelaysMs: readonly number[] = [250, 500, 1000, 2000, 4000];
/** The end of the program waits for it. */
export const releaseDelaysMs: readonly number[] = [250, 500];

/** One request, sent again until it is answered or enough is enough. */
export class Attempt {
  readonly #delaysMs: readonly number[];
  #sent = 0;
  #nextAt: number;

  constructor(at: number, delaysMs: readonly number[] = requestDelaysMs) {
    this.#delaysMs = delaysMs;
    this.#nextAt = at;
  }

  get deadline(): number {
    return this.#nextAt;
  }

  /** Whether to send now, or nobody answers. */
  wake(at: number): 'send' | 'silent' | undefined {
    if (at < this.#nextAt) return undefined;
    const delayMs = this.#delaysMs[this.#sent];
    if (delayMs === undefined) return 'silent';
    this.#sent += 1;
    this.#nextAt = at + delayMs;
    return 'send';
  }
}

/** The lease of a grant; undefined when it is too short to be of use. Renewed at half its life. */
export function leaseOf(external: Endpoint, seconds: number, at: number): Lease | undefined {
  if (seconds < minLifetimeSeconds) return undefined;
  const lifetimeSeconds = Math.min(seconds, maxLifetimeSeconds);
  const lifetimeMs = lifetimeSeconds * 1000;
  const renewAt = at + lifetimeMs / 2;
  return { external, lifetimeSeconds, renewAt, expiresAt: at + lifetimeMs };
}

/** A renewal failed: again after half of what is left. */
export const renewLater = (lease: Lease, at: number): Lease => ({
  ...lease,
  renewAt: at + Math.max(minRetryMs, (lease.expiresAt - at) / 2),
});

/** Whether an address that a gateway names as its outer one can be one at all. */
export const isExternal = ({ address, port }: Endpoint): boolean =>
  port > 0 && classOf(address) !== 'unusable';

/** The earliest of some moments. */
export function earliest(moments: readonly (number | undefined)[]): number | undefined {
  const known = moments.filter((at) => at !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** A gateway's clock of its own memory: one that runs behind ours has lost its mappings. */
export class Epoch {
  #last: { readonly seconds: number; readonly at: number } | undefined;

  /** Notes an epoch; whether it shows that the gateway has restarted (RFC 6887 §8.5). */
  isLost(seconds: number, at: number): boolean {
    const last = this.#last;
    this.#last = { seconds, at };
    if (last === undefined) return false;
    if (seconds < last.seconds - 1) return true;
    const server = seconds - last.seconds;
    const client = (at - last.at) / 1000;
    return client + 2 < server - server / 16 || server + 2 < client - client / 16;
  }
}
