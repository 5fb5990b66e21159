/** NAT-PMP with one gateway for one port. */
import type { Endpoint } from '#wire/endpoint.ts';
import { encodeNatPmpAddress, encodeNatPmpMap, type NatPmpResponse } from '#wire/nat-pmp.ts';
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

type Purpose = 'address' | 'map' | 'release';

export interface NatPmpOptions {
  readonly port: number;
  readonly send: (bytes: Uint8Array) => void;
  readonly fault: (name: string) => void;
}

export class NatPmpClient implements ProtocolClient {
  readonly protocol = 'nat-pmp';
  readonly #options: NatPmpOptions;
  readonly #epoch = new Epoch();
  #state: ProtocolState = { kind: 'idle' };
  #request: { readonly purpose: Purpose; readonly attempt: Attempt } | undefined;
  #address: string | undefined;
  #checkAt: number | undefined;
  #checkedAt = -Infinity;
  #isReleased = false;

  constructor(options: NatPmpOptions) {
    this.#options = options;
  }

  get state(): ProtocolState {
    return this.#state;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  probe(at: number): void {
    if (this.#state.kind === 'mapped') {
      this.recheck(at);
      return;
    }
    this.#state = { kind: 'asking' };
    this.#begin('address', at);
  }

  map(at: number): void {
    if (this.#state.kind === 'found') this.#state = { kind: 'found', mapping: true };
    this.#begin('map', at);
  }

  recheck(at: number): void {
    if (this.#state.kind !== 'mapped' || this.#request !== undefined) return;
    if (at < this.#checkedAt + minRecheckMs) return;
    this.#checkedAt = at;
    this.#begin('address', at);
  }

  release(at: number): void {
    this.#checkAt = undefined;
    if (this.#state.kind !== 'mapped') this.#isReleased = true;
    else this.#begin('release', at);
  }

  absent(reason: string): void {
    if (this.#state.kind === 'mapped') return;
    this.#request = undefined;
    this.#state = { kind: 'absent', reason };
  }

  /** Also of what the gateway tells everybody. */
  receive(response: NatPmpResponse, at: number): void {
    const isLost = this.#epoch.isLost(response.epochSeconds, at);
    if (response.type === 'address') this.#addressIs(response.address, at);
    else if (response.type === 'map') this.#mapped(response, at);
    else this.#failed(response, at);
    const isIdle = this.#request === undefined || this.#request.purpose === 'address';
    if (isLost && this.#state.kind === 'mapped' && isIdle && response.type !== 'map') {
      this.#begin('map', at);
    }
  }

  wake(at: number): void {
    this.#expire(at);
    if (this.#request === undefined && this.#state.kind === 'mapped') {
      if (this.#state.lease.renewAt <= at) this.#begin('map', at);
      else if (this.#checkAt !== undefined && this.#checkAt <= at) this.#begin('address', at);
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

  #begin(purpose: Purpose, at: number): void {
    if (this.#isReleased || (this.#request?.purpose === 'release' && purpose !== 'release')) return;
    const delays = purpose === 'release' ? releaseDelaysMs : undefined;
    this.#request = { purpose, attempt: new Attempt(at, delays) };
  }

  #bytes(purpose: Purpose): Uint8Array {
    const internalPort = this.#options.port;
    if (purpose === 'address') return encodeNatPmpAddress();
    if (purpose === 'release') {
      return encodeNatPmpMap({ internalPort, suggestedPort: 0, lifetimeSeconds: 0 });
    }
    const held = this.#state.kind === 'mapped' ? this.#state.lease.external.port : internalPort;
    const lifetimeSeconds = wantedLifetimeSeconds;
    return encodeNatPmpMap({ internalPort, suggestedPort: held, lifetimeSeconds });
  }

  #addressIs(address: string, at: number): void {
    if (this.#request?.purpose === 'address') this.#request = undefined;
    if (!isExternal({ address, port: 1 })) {
      if (this.#state.kind === 'asking') this.#refused('no external address');
      return;
    }
    this.#address = address;
    if (this.#state.kind === 'asking') this.#state = { kind: 'found', mapping: false };
    if (this.#state.kind !== 'mapped') return;
    const { lease } = this.#state;
    this.#hold({ ...lease, external: { ...lease.external, address } }, at);
  }

  #mapped(response: NatPmpResponse & { readonly type: 'map' }, at: number): void {
    if (response.internalPort !== this.#options.port) {
      this.#options.fault('nat-pmp-not-ours');
      return;
    }
    const purpose = this.#request?.purpose;
    if (purpose === 'release') {
      this.#request = undefined;
      this.#isReleased = true;
      return;
    }
    if (purpose !== 'map' || this.#address === undefined) return;
    this.#request = undefined;
    const external: Endpoint = { address: this.#address, port: response.externalPort };
    const lease = leaseOf(external, response.lifetimeSeconds, at);
    if (!isExternal(external)) this.#refused('no external port');
    else if (lease === undefined) this.#refused('the lifetime is too short');
    else {
      this.#hold(lease, at);
      // The address may have changed with whatever made the mapping necessary.
      this.#checkAt = at + checkAgainMs;
    }
  }

  #failed(response: NatPmpResponse & { readonly type: 'error' }, at: number): void {
    const purpose = this.#request?.purpose;
    if (purpose === undefined || response.of !== (purpose === 'address' ? 'address' : 'map')) {
      return;
    }
    this.#request = undefined;
    if (purpose === 'release') this.#isReleased = true;
    else if (purpose === 'address' && this.#state.kind === 'mapped') {
      this.#checkAt = at + checkAgainMs;
    } else this.#refused(response.result);
  }

  #hold(lease: Lease, at: number): void {
    this.#state = { kind: 'mapped', lease };
    this.#checkAt = at + checkEveryMs;
  }

  #refused(reason: string): void {
    this.#state = { kind: 'refused', reason: reason.replaceAll('-', ' ') };
  }

  #silent(purpose: Purpose, at: number): void {
    this.#request = undefined;
    if (purpose === 'release') this.#isReleased = true;
    else if (this.#state.kind !== 'mapped') this.#state = { kind: 'absent', reason: 'no answer' };
    else if (purpose === 'address') this.#checkAt = at + checkAgainMs;
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
