/** PCP with one gateway for one port: asks for it, keeps it, gives it back. */
import { sameBytes } from '#core/bytes.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { encodePcpAnnounce, encodePcpMap, type PcpResponse } from '#wire/pcp.ts';
import { LeaseClient, type Purpose } from './lease-client.ts';
import { checkEveryMs, wantedLifetimeSeconds } from './timing.ts';

/** RFC 6887 §15: an error is not believed longer. */
const maxErrorSeconds = 1800;

export interface PcpOptions {
  readonly local: string;
  readonly port: number;
  /** 12 bytes, the same at every start: else a mapping that a killed program left could not be had again. */
  readonly nonce: Uint8Array;
  readonly send: (bytes: Uint8Array) => void;
  readonly fault: (name: string) => void;
}

export class PcpClient extends LeaseClient {
  readonly protocol = 'pcp';
  readonly #options: PcpOptions;
  /** The gateway said no, and how long that holds. */
  #refusedUntil = -Infinity;

  constructor(options: PcpOptions) {
    super(options.send);
    this.#options = options;
  }

  /** A request for the port is as good a question as any. */
  probe(at: number): void {
    if (at < this.#refusedUntil) return;
    if (this.held === undefined) this.become({ kind: 'asking' });
    this.ask('map', at);
  }

  map(at: number): void {
    this.probe(at);
  }

  receive(response: PcpResponse, at: number): void {
    const hasRestarted = this.hasRestarted(response.epochSeconds, at);
    if (this.purpose === 'check' && response.opcode === 'announce') {
      this.answered();
      this.checkAfter(checkEveryMs, at);
    }
    if (response.opcode === 'map') this.#mapped(response, at);
    else if (hasRestarted) this.renew(at);
  }

  /** The gateway tells everybody that it has restarted. */
  announced(response: PcpResponse, at: number): void {
    if (this.hasRestarted(response.epochSeconds, at)) this.renew(at);
    else this.recheck(at);
  }

  protected encode(purpose: Purpose, held: Endpoint | undefined): Uint8Array {
    const { local, port, nonce } = this.#options;
    if (purpose === 'check') return encodePcpAnnounce(local);
    const isRelease = purpose === 'release';
    const wanted = held ?? { address: undefined, port };
    return encodePcpMap({
      ...{ clientAddress: local, nonce, internalPort: port },
      suggested: isRelease ? { address: undefined, port: 0 } : wanted,
      lifetimeSeconds: isRelease ? 0 : wantedLifetimeSeconds,
    });
  }

  #mapped(response: PcpResponse, at: number): void {
    const { nonce, port, fault } = this.#options;
    const { map, result, lifetimeSeconds } = response;
    if (map !== undefined && (!sameBytes(map.nonce, nonce) || map.internalPort !== port)) {
      fault('pcp-not-ours');
      return;
    }
    // Else what nobody asked for, and answers to what has been answered.
    if (this.purpose !== 'map' && this.purpose !== 'release') return;
    if (this.answered() === 'release') return;
    if (result === 'success' && map !== undefined) {
      this.granted(map.external, lifetimeSeconds, at);
      return;
    }
    this.#refusedUntil = at + Math.min(lifetimeSeconds, maxErrorSeconds) * 1000;
    this.refused(result);
  }
}
