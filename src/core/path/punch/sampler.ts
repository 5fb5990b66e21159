/** Fresh mappings, seen by STUN right before a punch: each sample leaves by a socket that has sent nothing yet. */
import type { Crypto } from '#core/crypto.ts';
import { StunClient } from '#core/discovery/stun-client.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { sampleGapMs } from './limits.ts';
import type { PortSample } from './prediction.ts';

interface Mapped extends PortSample {
  readonly address: string;
}

export class Sampler {
  readonly #stun: StunClient<number>;
  readonly #servers: readonly Endpoint[];
  readonly #wanted: number;
  readonly #gapMs: number;
  readonly #sentAt: MonotonicMs[] = [];
  readonly #samples: (Mapped | undefined)[] = [];
  #settled = 0;
  #nextAt: MonotonicMs;

  constructor(
    crypto: Crypto,
    send: (index: number, remote: Endpoint, bytes: Uint8Array) => void,
    options: {
      readonly servers: readonly Endpoint[];
      readonly wanted: number;
      /** One after the other, so that what comes in between can be counted. */
      readonly inOrder: boolean;
      readonly now: MonotonicMs;
    },
  ) {
    this.#stun = new StunClient(crypto, send);
    this.#servers = options.servers;
    this.#wanted = options.servers.length === 0 ? 0 : options.wanted;
    this.#gapMs = options.inOrder ? sampleGapMs : 0;
    this.#nextAt = options.now;
  }

  /** All samples have come, or never will. */
  get done(): boolean {
    return this.#settled >= this.#wanted;
  }

  /** In the order they were taken. */
  get samples(): readonly Mapped[] {
    return this.#samples.filter((sample) => sample !== undefined);
  }

  /** @param opened sockets there are. */
  wake(opened: number, now: MonotonicMs): void {
    while (this.#sentAt.length < Math.min(this.#wanted, opened) && this.#nextAt <= now) {
      const index = this.#sentAt.length;
      const server = this.#servers[index % this.#servers.length]!;
      this.#sentAt.push(now);
      this.#nextAt = after(now, this.#gapMs);
      const ask = { socket: index, server, changePort: false, otherPorts: [] };
      this.#stun.ask(index, ask, now);
    }
    this.#settled += this.#stun.wake(now).length;
  }

  receive(bytes: Uint8Array, index: number, remote: Endpoint, now: MonotonicMs): void {
    const arrived = this.#stun.receive(bytes, index, remote, now);
    if (arrived === undefined) return;
    this.#settled += 1;
    if (arrived.result.type !== 'answered') return;
    const { address, port } = arrived.result.mapped;
    this.#samples[arrived.tag] = { address, port, at: this.#sentAt[arrived.tag] ?? now };
  }

  deadline(opened: number): MonotonicMs | undefined {
    if (this.done) return Number.NEGATIVE_INFINITY as MonotonicMs;
    const mayAsk = this.#sentAt.length < Math.min(this.#wanted, opened);
    const asked = this.#stun.deadline();
    if (!mayAsk) return asked;
    return asked === undefined || this.#nextAt < asked ? this.#nextAt : asked;
  }
}
