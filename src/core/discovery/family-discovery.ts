import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import { classOf } from '../path/address-class.ts';
import type { Ask, StunClient, StunResult } from './stun-client.ts';

/** Mappings are kept open while nothing is known of their lifetime: 30 s are common. */
export const mappingKeepaliveMs = 25_000;
/** When no server answers. */
const retryMs = 30_000;
const recheckMs = 2000;

/** Which question a transaction asks, of which run. */
export interface Question {
  readonly family: 4 | 6;
  readonly run: number;
  readonly kind: 'first' | 'filter' | 'other-port' | 'other-address' | 'refresh';
}

export interface FamilyOptions {
  readonly family: 4 | 6;
  /** The socket whose mapping is wanted. */
  readonly socket: number;
  /** A socket that never sent to the server's other port; without one the order of the tests has to do. */
  readonly testSocket: number | undefined;
  /** Of this family, at least one. */
  readonly servers: readonly Endpoint[];
  readonly stun: StunClient<Question>;
}

/**
 * Discovery over one address family:
 *
 * ```
 *        first ──► filter ──► other port, other address ──► settled ◄──┐
 *          │          (before the other port is sent to,      │        │ same mapping
 *   silent │           which would open the filter for it)    └ 25 s ► refresh
 *          ▼                                                           │ another mapping
 *       the next server                             first ◄────────────┘
 * ```
 */
export class FamilyDiscovery {
  readonly #options: FamilyOptions;
  #run = 0;
  /** Index of the server that is asked first. */
  #server = 0;
  /** Servers that stayed silent in this run. */
  #silent = 0;
  #seen: Endpoint | undefined;
  #seenByOtherPort: Endpoint | undefined;
  #seenByOtherAddress: Endpoint | undefined;
  #otherPortGetsIn: boolean | undefined;
  #announcedPorts: readonly number[] = [];
  #rttMs: number | undefined;
  #refreshAt: MonotonicMs | undefined;
  #askedAt: MonotonicMs | undefined;
  /** The network is another one: what was seen before counts only until the servers stay silent. */
  #moved = false;

  constructor(options: FamilyOptions) {
    this.#options = options;
  }

  get seen(): Endpoint | undefined {
    return this.#seen;
  }

  get observations() {
    return {
      seen: this.#seen,
      seenByOtherPort: this.#seenByOtherPort,
      seenByOtherAddress: this.#seenByOtherAddress,
      otherPortGetsIn: this.#otherPortGetsIn,
    };
  }

  /** Every server was asked and none answered. */
  get blocked(): boolean {
    return this.#silent >= this.#options.servers.length;
  }

  /** The first question has its answer, or never will. */
  get known(): boolean {
    return this.#seen !== undefined || this.blocked;
  }

  networkChanged(now: MonotonicMs): void {
    this.#moved = true;
    this.start(now);
  }

  /** Asks at once whether the mapping is still the same, unless it was asked just now. */
  recheck(now: MonotonicMs): void {
    const isSettled = this.#seen !== undefined && this.#refreshAt !== undefined;
    if (!isSettled || (this.#askedAt !== undefined && now - this.#askedAt < recheckMs)) return;
    this.#refreshAt = undefined;
    this.#ask('refresh', now);
  }

  start(now: MonotonicMs): void {
    this.#run += 1;
    this.#silent = 0;
    this.#refreshAt = undefined;
    this.#options.stun.cancel((question) => question.family === this.#options.family);
    this.#ask('first', now);
  }

  result(question: Question, result: StunResult, now: MonotonicMs): void {
    if (question.run !== this.#run) return;
    switch (question.kind) {
      case 'first':
        this.#first(result, now);
        break;
      case 'refresh':
        this.#refreshed(result, now);
        break;
      case 'filter':
        // Refused: the server cannot do it, so nothing was learnt.
        if (result.type !== 'refused') this.#otherPortGetsIn = result.type === 'answered';
        if (this.#options.testSocket === undefined) this.#askOthers(now);
        break;
      case 'other-port':
        this.#seenByOtherPort = mappedOf(result);
        break;
      case 'other-address':
        this.#seenByOtherAddress = mappedOf(result);
        break;
      default:
        question.kind satisfies never;
    }
  }

  wake(now: MonotonicMs): void {
    if (this.#refreshAt === undefined || this.#refreshAt > now) return;
    this.#refreshAt = undefined;
    if (this.#seen === undefined) this.start(now);
    else this.#ask('refresh', now);
  }

  deadline(): MonotonicMs | undefined {
    return this.#refreshAt;
  }

  #first(result: StunResult, now: MonotonicMs): void {
    const mapped = mappedOf(result);
    if (mapped === undefined || result.type !== 'answered') {
      this.#silent += 1;
      this.#server = (this.#server + 1) % this.#options.servers.length;
      if (!this.blocked) this.#ask('first', now);
      else this.#giveUp(now);
      return;
    }
    this.#moved = false;
    this.#rttMs = result.rttMs;
    this.#refreshAt = after(now, mappingKeepaliveMs);
    const { otherAddress } = result;
    const isSame = otherAddress?.address === this.#asked.address;
    this.#announcedPorts = isSame && otherAddress !== undefined ? [otherAddress.port] : [];
    const before = this.#seen;
    this.#seen = mapped;
    this.#test(before, mapped, now);
  }

  #giveUp(now: MonotonicMs): void {
    this.#refreshAt = after(now, retryMs);
    // A server that is down takes nothing away that works; another network does.
    if (!this.#moved) return;
    this.#seen = undefined;
    this.#forgetTests();
  }

  #forgetTests(): void {
    this.#otherPortGetsIn = undefined;
    this.#seenByOtherPort = undefined;
    this.#seenByOtherAddress = undefined;
  }

  #test(before: Endpoint | undefined, mapped: Endpoint, now: MonotonicMs): void {
    const { testSocket } = this.#options;
    // The same mapping as before is the same NAT, whose filter the earlier questions may have opened.
    const isStale =
      testSocket === undefined && before !== undefined && sameEndpoint(before, mapped);
    if (!isStale) this.#forgetTests();
    const canTest = this.#otherPorts().length > 0 && !isStale;
    if (canTest) this.#ask('filter', now);
    if (!canTest || testSocket !== undefined) this.#askOthers(now);
  }

  #refreshed(result: StunResult, now: MonotonicMs): void {
    const mapped = mappedOf(result);
    const isSame =
      mapped !== undefined && this.#seen !== undefined && sameEndpoint(mapped, this.#seen);
    // Another mapping is another NAT; silence may be the server's, and the next one is asked.
    if (isSame) this.#refreshAt = after(now, mappingKeepaliveMs);
    else this.start(now);
  }

  #askOthers(now: MonotonicMs): void {
    const { servers } = this.#options;
    const asked = this.#asked;
    const isPort = (server: Endpoint) =>
      server.address === asked.address && server.port !== asked.port;
    const otherPort = servers.find(isPort);
    const otherAddress = servers.find(({ address }) => address !== asked.address);
    if (otherPort !== undefined) this.#ask('other-port', now, otherPort);
    if (otherAddress !== undefined) this.#ask('other-address', now, otherAddress);
  }

  get #asked(): Endpoint {
    return this.#options.servers[this.#server]!;
  }

  #otherPorts(): readonly number[] {
    const { address, port } = this.#asked;
    const listed = this.#options.servers.filter((server) => server.address === address);
    const ports = [...listed.map((server) => server.port), ...this.#announcedPorts];
    return ports.filter((other) => other !== port);
  }

  #ask(kind: Question['kind'], now: MonotonicMs, server = this.#asked): void {
    const { family, socket, testSocket, stun } = this.#options;
    if (kind === 'first' || kind === 'refresh') this.#askedAt = now;
    const isFilter = kind === 'filter';
    const ask: Ask = {
      socket: isFilter ? (testSocket ?? socket) : socket,
      server,
      changePort: isFilter,
      otherPorts: isFilter ? this.#otherPorts() : [],
    };
    const rttMs = kind === 'first' ? undefined : this.#rttMs;
    stun.ask({ family, run: this.#run, kind }, ask, now, rttMs);
  }
}

function mappedOf(result: StunResult): Endpoint | undefined {
  if (result.type !== 'answered' || result.mapped.port === 0) return undefined;
  return classOf(result.mapped.address) === 'unusable' ? undefined : result.mapped;
}
