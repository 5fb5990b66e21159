import { type Endpoint, familyOf, parseEndpoint, sameEndpoint } from '#wire/endpoint.ts';
import type { LocalSocket } from '../path/io.ts';
import { Leg } from './leg.ts';

/** The ways to one relay: one for each address family, and one over the bridge. */
export class Legs {
  #legs: readonly Leg[] = [];

  [Symbol.iterator](): Iterator<Leg> {
    return this.#legs[Symbol.iterator]();
  }

  /** Of the nearest way that answers. */
  get rttMs(): number | undefined {
    const known = this.#legs.map(({ rttMs }) => rttMs).filter((rttMs) => rttMs !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
  }

  at(socket: number, remote: Endpoint): Leg | undefined {
    return this.#legs.find((leg) => leg.socket === socket && sameEndpoint(leg.remote, remote));
  }

  has(leg: Leg): boolean {
    return this.#legs.includes(leg);
  }

  /** Those that allocate now. */
  get allocating(): readonly Leg[] {
    return this.#legs.filter(({ job }) => job?.kind === 'allocate');
  }

  /** Those that stay keep what they know. */
  make(
    sockets: readonly LocalSocket[],
    udp: readonly string[],
    bridge: Endpoint | undefined,
  ): void {
    const wanted: Leg[] = [];
    for (const { socket, family } of sockets) {
      const remote = udp
        .map(parseEndpoint)
        .find((endpoint) => endpoint !== undefined && familyOf(endpoint.address) === family);
      if (remote !== undefined) wanted.push(new Leg('udp', socket, remote));
      if (bridge !== undefined && familyOf(bridge.address) === family) {
        wanted.push(new Leg('tcp', socket, bridge));
      }
    }
    const known = new Map(this.#legs.map((leg) => [leg.key, leg]));
    this.#legs = wanted.map((leg) => known.get(leg.key) ?? leg);
  }
}
