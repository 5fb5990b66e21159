/** PCP with one gateway for one port: asks for it, keeps it, gives it back. */
import { sameBytes } from '#core/bytes.ts';
import { encodePcpAnnounce, encodePcpMap, type PcpResponse } from '#wire/pcp.ts';
import type { Lease, ProtocolClient, ProtocolState } from './io.ts';
import {
  Attempt,
  checkAgainMs,
  checkEveryMs,
  Epoch,
  earliest,
  isExternal,
  leaseOf,
  minRecheckMs,
  releaseDelaysMs,
  renewLater,
  wantedLifetimeSeconds,
} from './timing.ts';

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

export class PcpClient implements ProtocolClient {
  readonly protocol = 'pcp';
  readonly #options: PcpOptions;
  readonly #epoch = new Epoch();
  #state: ProtocolState = { kind: 'idle' };
  #request:
    | { readonly purpose: 'map' | 'check' | 'release'; readonly attempt: Attempt }
    | undefined;
  #checkAt: number | undefined;
  #checkedAt = -Infinity;
  /** The gateway said no, and how long that holds. */
  #refusedUntil = -Infinity;
  #isReleased = false;

  constructor(options: PcpOptions) {
    this.#options = options;
  }

  get state(): ProtocolState {
    return this.#state;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** A request for the port is as good a question as any. */
  probe(at: number): void {
    if (at < this.#refusedUntil) return;
    if (this.#state.kind !== 'mapped') this.#state = { kind: 'asking' };
    this.#begin('map', at);
  }

  map(at: number): void {
    this.probe(at);
  }

  recheck(at: number): void {
    if (this.#state.kind !== 'mapped' || this.#request !== undefined) return;
    if (at < this.#checkedAt + minRecheckMs) return;
    this.#checkedAt = at;
    this.#begin('check', at);
  }

  release(at: number): void {
    this.#checkAt = undefined;
    if (this.#state.kind !== 'mapped') this.#isReleased = true;
    else this.#begin('release', at);
  }

  /** The gateway speaks another version only, or nobody listens. */
  absent(reason: string): void {
    if (this.#state.kind === 'mapped') return;
    this.#request = undefined;
    this.#state = { kind: 'absent', reason };
  }

  receive(response: PcpResponse, at: number): void {
    const isLost = this.#epoch.isLost(response.epochSeconds, at);
    if (this.#request?.purpose === 'check' && response.opcode === 'announce') {
      this.#request = undefined;
      this.#checkAt = at + checkEveryMs;
    }
    if (response.opcode === 'map') this.#mapped(response, at);
    else if (isLost) this.#renew(at);
  }

  /** The gateway tells everybody that it has restarted. */
  announced(response: PcpResponse, at: number): void {
    if (this.#epoch.isLost(response.epochSeconds, at)) this.#renew(at);
    else this.recheck(at);
  }

  wake(at: number): void {
    this.#expire(at);
    if (this.#request === undefined && this.#state.kind === 'mapped') {
      if (this.#state.lease.renewAt <= at) this.#begin('map', at);
      else if (this.#checkAt !== undefined && this.#checkAt <= at) this.#begin('check', at);
    }
    const request = this.#request;
    const due = request?.attempt.wake(at);
    if (request === undefined || due === undefined) return;
    if (due === 'send') this.#options.send(this.#bytes(request.purpose));
    else this.#silent(request.purpose, at);
  }

  deadline(): number | undefined {
    if (this.#isReleased) return undefined;
    const lease = this.#state.kind === 'mapped' ? this.#state.lease : undefined;
    const idle = this.#request === undefined ? [lease?.renewAt, this.#checkAt] : [];
    return earliest([this.#request?.attempt.deadline, lease?.expiresAt, ...idle]);
  }

  #begin(purpose: 'map' | 'check' | 'release', at: number): void {
    if (this.#isReleased || (this.#request?.purpose === 'release' && purpose !== 'release')) return;
    const delays = purpose === 'release' ? releaseDelaysMs : undefined;
    this.#request = { purpose, attempt: new Attempt(at, delays) };
  }

  #renew(at: number): void {
    if (this.#state.kind !== 'mapped') return;
    if (this.#request === undefined || this.#request.purpose === 'check') this.#begin('map', at);
  }

  #bytes(purpose: 'map' | 'check' | 'release'): Uint8Array {
    const { local, port, nonce } = this.#options;
    if (purpose === 'check') return encodePcpAnnounce(local);
    const held = this.#state.kind === 'mapped' ? this.#state.lease.external : undefined;
    const isRelease = purpose === 'release';
    return encodePcpMap({
      ...{ clientAddress: local, nonce, internalPort: port },
      suggested: isRelease
        ? { address: undefined, port: 0 }
        : (held ?? { address: undefined, port }),
      lifetimeSeconds: isRelease ? 0 : wantedLifetimeSeconds,
    });
  }

  #mapped(response: PcpResponse, at: number): void {
    const { nonce, port, fault } = this.#options;
    const { map, result } = response;
    if (map !== undefined && (!sameBytes(map.nonce, nonce) || map.internalPort !== port)) {
      fault('pcp-not-ours');
      return;
    }
    const purpose = this.#request?.purpose;
    if (purpose === 'release') {
      this.#request = undefined;
      this.#isReleased = true;
      return;
    }
    // What nobody asked for, and answers to what has been answered.
    if (purpose !== 'map') return;
    this.#request = undefined;
    if (result !== 'success' || map === undefined) {
      const seconds = Math.min(response.lifetimeSeconds, maxErrorSeconds);
      this.#refused(result, at + seconds * 1000);
      return;
    }
    const lease = leaseOf(map.external, response.lifetimeSeconds, at);
    if (!isExternal(map.external)) this.#refused('no external address', at);
    else if (lease === undefined) this.#refused('the lifetime is too short', at);
    else this.#hold(lease, at);
  }

  #hold(lease: Lease, at: number): void {
    this.#state = { kind: 'mapped', lease };
    this.#checkAt = at + checkEveryMs;
  }

  #refused(reason: string, until: number): void {
    this.#refusedUntil = until;
    this.#state = { kind: 'refused', reason: reason.replaceAll('-', ' ') };
  }

  #silent(purpose: 'map' | 'check' | 'release', at: number): void {
    this.#request = undefined;
    if (purpose === 'release') this.#isReleased = true;
    else if (purpose === 'check') this.#checkAt = at + checkAgainMs;
    else if (this.#state.kind !== 'mapped') this.#state = { kind: 'absent', reason: 'no answer' };
    else this.#hold(renewLater(this.#state.lease, at), at);
  }

  #expire(at: number): void {
    if (this.#state.kind !== 'mapped' || at < this.#state.lease.expiresAt) return;
    if (this.#request?.purpose === 'release') this.#isReleased = true;
    this.#request = undefined;
    this.#checkAt = undefined;
    this.#state = { kind: 'absent', reason: 'the gateway stopped answering' };
  }
}
