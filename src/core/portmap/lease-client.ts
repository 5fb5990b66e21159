/**
 * A port that one gateway gives for a time, by requests and answers over UDP: what PCP and NAT-PMP have in common. Renewed at half its
 * life; in between the gateway is asked whether it has restarted.
 */
import type { Endpoint } from '#wire/endpoint.ts';
import type { Lease, Protocol, ProtocolClient, ProtocolState } from './io.ts';
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
} from './timing.ts';

/** `probe`: whether it speaks the protocol. `check`: whether it still knows the mapping. */
export type Purpose = 'probe' | 'map' | 'check' | 'release';

export abstract class LeaseClient implements ProtocolClient {
  abstract readonly protocol: Protocol;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #epoch = new Epoch();
  #state: ProtocolState = { kind: 'idle' };
  #request: { readonly purpose: Purpose; readonly attempt: Attempt } | undefined;
  #checkAt: number | undefined;
  #checkedAt = -Infinity;
  #isReleased = false;

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  get state(): ProtocolState {
    return this.#state;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  abstract probe(at: number): void;
  abstract map(at: number): void;
  /** The request for a purpose; `held` is what the gateway gave before. */
  protected abstract encode(purpose: Purpose, held: Endpoint | undefined): Uint8Array;

  recheck(at: number): void {
    if (this.#state.kind !== 'mapped' || this.#request !== undefined) return;
    if (at < this.#checkedAt + minRecheckMs) return;
    this.#checkedAt = at;
    this.ask('check', at);
  }

  release(at: number): void {
    this.#checkAt = undefined;
    if (this.#state.kind !== 'mapped') this.#isReleased = true;
    else this.ask('release', at);
  }

  /** The gateway speaks another version only, or nobody listens. */
  absent(reason: string): void {
    if (this.#state.kind === 'mapped') return;
    this.#request = undefined;
    this.#state = { kind: 'absent', reason };
  }

  wake(at: number): void {
    this.#expire(at);
    if (this.#request === undefined && this.#state.kind === 'mapped') {
      if (this.#state.lease.renewAt <= at) this.ask('map', at);
      else if (this.#checkAt !== undefined && this.#checkAt <= at) this.ask('check', at);
    }
    const request = this.#request;
    const due = request?.attempt.wake(at);
    if (request === undefined || due === undefined) return;
    if (due === 'send') this.#send(this.encode(request.purpose, this.held?.external));
    else this.#silent(request.purpose, at);
  }

  deadline(): number | undefined {
    if (this.#isReleased) return undefined;
    const lease = this.held;
    const idle = this.#request === undefined ? [lease?.renewAt, this.#checkAt] : [];
    return earliest([this.#request?.attempt.deadline, lease?.expiresAt, ...idle]);
  }

  protected get held(): Lease | undefined {
    return this.#state.kind === 'mapped' ? this.#state.lease : undefined;
  }

  /** What is being asked for now. */
  protected get purpose(): Purpose | undefined {
    return this.#request?.purpose;
  }

  protected become(state: ProtocolState & { readonly kind: 'asking' | 'found' }): void {
    this.#state = state;
  }

  /** Nothing interrupts a release. */
  protected ask(purpose: Purpose, at: number): void {
    if (this.#isReleased || (this.purpose === 'release' && purpose !== 'release')) return;
    const delays = purpose === 'release' ? releaseDelaysMs : undefined;
    this.#request = { purpose, attempt: new Attempt(at, delays) };
  }

  /** The request has its answer: what it was for. */
  protected answered(): Purpose | undefined {
    const { purpose } = this;
    this.#request = undefined;
    if (purpose === 'release') this.#isReleased = true;
    return purpose;
  }

  protected granted(external: Endpoint, lifetimeSeconds: number, at: number): void {
    const lease = leaseOf(external, lifetimeSeconds, at);
    if (!isExternal(external)) this.refused('no external address');
    else if (lease === undefined) this.refused('the lifetime is too short');
    else this.hold(lease, at);
  }

  protected hold(lease: Lease, at: number): void {
    this.#state = { kind: 'mapped', lease };
    this.checkAfter(checkEveryMs, at);
  }

  protected refused(reason: string): void {
    this.#state = { kind: 'refused', reason: reason.replaceAll('-', ' ') };
  }

  protected checkAfter(ms: number, at: number): void {
    this.#checkAt = at + ms;
  }

  /** Notes the gateway's clock; whether it has restarted since the last time. */
  protected hasRestarted(epochSeconds: number, at: number): boolean {
    return this.#epoch.isLost(epochSeconds, at);
  }

  protected renew(at: number): void {
    const isFree = this.purpose === undefined || this.purpose === 'check';
    if (isFree && this.#state.kind === 'mapped') this.ask('map', at);
  }

  #silent(purpose: Purpose, at: number): void {
    this.#request = undefined;
    if (purpose === 'release') this.#isReleased = true;
    else if (this.#state.kind !== 'mapped') this.#state = { kind: 'absent', reason: 'no answer' };
    else if (purpose === 'map') this.hold(renewLater(this.#state.lease, at), at);
    else this.checkAfter(checkAgainMs, at);
  }

  #expire(at: number): void {
    if (this.#state.kind !== 'mapped' || at < this.#state.lease.expiresAt) return;
    if (this.purpose === 'release') this.#isReleased = true;
    this.#request = undefined;
    this.#checkAt = undefined;
    this.#state = { kind: 'absent', reason: 'the gateway stopped answering' };
  }
}
