import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import { classOf } from '../path/address-class.ts';
import type { FamilyQuestion, Question } from './question.ts';
import type { Ask, StunClient, StunResult } from './stun-client.ts';

/** Mappings are kept open while nothing is known of their lifetime: 30 s are common. */
export const mappingKeepaliveMs = 25_000;
/** When no server answers. */
const retryMs = 30_000;
const recheckMs = 500;

/** A mapping is asked for when this share of its measured lifetime has passed, and at the latest then. */
const lifetimeShare = 0.8;
const mostKeepaliveMs = 100_000;
/** Filters are tested with so many requests: silence is one of the answers, and has to be waited for. */
const filterRequests = 4;
/** Of the first question: then another server is asked, and UDP counts as blocked when so many have been silent. */
const firstRequests = 3;
const mostSilent = 4;

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
 *        first ──► filters ──► other port, other address ──► settled ◄──┐
 *          │          (before the others are sent to,          │        │ same mapping
 *   silent │           which would open the filter for them)   └ 25 s ► refresh
 *          ▼                                                            │ another mapping
 *       the next server                              first ◄────────────┘
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
  #otherAddressGetsIn: boolean | undefined;
  /** As the server that was asked last announced it (RFC 5780 §7.4). */
  #announced: Endpoint | undefined;
  #filtersAsked = 0;
  /** The first token of a server that gave one is renewed with each refresh. */
  #token: Uint8Array | undefined;
  #lifetimeMs: number | undefined;
  #isRefreshed = false;
  #rttMs: number | undefined;
  #refreshAt: MonotonicMs | undefined;
  #askedAt: MonotonicMs | undefined;
  #isRechecking = false;
  /** The network is another one: what was seen before counts only until the servers stay silent. */
  #moved = false;

  constructor(options: FamilyOptions) {
    this.#options = options;
  }

  get seen(): Endpoint | undefined {
    return this.#seen;
  }

  /** The server that answers now. */
  get server(): Endpoint {
    return this.#asked;
  }

  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  /** Proves to the server that this machine receives at `seen` (protocol §8). */
  get token(): Uint8Array | undefined {
    return this.#token;
  }

  /** Counts the runs: another number, another set of answers. */
  get run(): number {
    return this.#run;
  }

  /** How long mappings were found to live: refreshed in time from then on. */
  mappingLives(lifetimeMs: number | undefined): void {
    this.#lifetimeMs = lifetimeMs;
  }

  get observations() {
    return {
      otherAddressGetsIn: this.#otherAddressGetsIn,
      seen: this.#seen,
      seenByOtherPort: this.#seenByOtherPort,
      seenByOtherAddress: this.#seenByOtherAddress,
      otherPortGetsIn: this.#otherPortGetsIn,
    };
  }

  /** Servers were asked and none answered. */
  get blocked(): boolean {
    return this.#silent >= Math.min(mostSilent, this.#options.servers.length);
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
    this.#isRechecking = true;
    this.#ask('refresh', now);
  }

  /** From `recheck` until it is known whether `seen` still holds. */
  get isRechecking(): boolean {
    return this.#isRechecking;
  }

  start(now: MonotonicMs): void {
    this.#run += 1;
    this.#silent = 0;
    this.#refreshAt = undefined;
    this.#isRefreshed = false;
    const { stun, family } = this.#options;
    stun.cancel((question) => question.part === 'family' && question.family === family);
    this.#ask('first', now);
  }

  result(question: FamilyQuestion, result: StunResult, now: MonotonicMs): void {
    if (question.run !== this.#run) return;
    switch (question.kind) {
      case 'first':
        this.#first(result, now);
        break;
      case 'refresh':
        this.#refreshed(result, now);
        break;
      case 'filter-port':
      case 'filter-address':
        this.#filtered(question.kind, result, now);
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
    this.#isRechecking = false;
    this.#rttMs = result.rttMs;
    this.#refreshAt = after(now, this.#keepaliveMs);
    this.#announced = result.otherAddress;
    this.#token = result.token;
    const before = this.#seen;
    this.#seen = mapped;
    this.#test(before, mapped, now);
  }

  #giveUp(now: MonotonicMs): void {
    this.#refreshAt = after(now, retryMs);
    this.#isRechecking = false;
    // A server that is down takes nothing away that works; another network does.
    if (!this.#moved) return;
    this.#seen = undefined;
    this.#token = undefined;
    this.#forgetTests();
  }

  /** At first as if nothing were known: only a mapping that was used both ways for a while lives as long as was measured. */
  get #keepaliveMs(): number {
    const lifetimeMs = this.#lifetimeMs;
    if (lifetimeMs === undefined) return mappingKeepaliveMs;
    const wanted = Math.min(mostKeepaliveMs, lifetimeShare * lifetimeMs);
    return this.#isRefreshed ? wanted : Math.min(mappingKeepaliveMs, wanted);
  }

  #forgetTests(): void {
    this.#otherPortGetsIn = undefined;
    this.#otherAddressGetsIn = undefined;
    this.#seenByOtherPort = undefined;
    this.#seenByOtherAddress = undefined;
  }

  #test(before: Endpoint | undefined, mapped: Endpoint, now: MonotonicMs): void {
    const { testSocket } = this.#options;
    // The same mapping as before is the same NAT, whose filter the earlier questions may have opened.
    const isStale =
      testSocket === undefined && before !== undefined && sameEndpoint(before, mapped);
    if (!isStale) this.#forgetTests();
    this.#filtersAsked = 0;
    if (!isStale && this.#answersFrom('port').length > 0) this.#askFilter('filter-port', now);
    if (!isStale && this.#answersFrom('address').length > 0) this.#askFilter('filter-address', now);
    if (this.#filtersAsked === 0 || testSocket !== undefined) this.#askOthers(now);
  }

  #askFilter(kind: 'filter-port' | 'filter-address', now: MonotonicMs): void {
    this.#filtersAsked += 1;
    this.#ask(kind, now);
  }

  #filtered(kind: 'filter-port' | 'filter-address', result: StunResult, now: MonotonicMs): void {
    // Refused: the server cannot do it, so nothing was learnt.
    if (result.type !== 'refused') {
      const getsIn = result.type === 'answered';
      if (kind === 'filter-port') this.#otherPortGetsIn = getsIn;
      else this.#otherAddressGetsIn = getsIn;
    }
    this.#filtersAsked -= 1;
    if (this.#filtersAsked === 0 && this.#options.testSocket === undefined) this.#askOthers(now);
  }

  #refreshed(result: StunResult, now: MonotonicMs): void {
    const mapped = mappedOf(result);
    const isSame =
      mapped !== undefined && this.#seen !== undefined && sameEndpoint(mapped, this.#seen);
    // Another mapping is another NAT; silence may be the server's, and the next one is asked.
    if (!isSame || result.type !== 'answered') {
      this.start(now);
      return;
    }
    this.#isRefreshed = true;
    this.#isRechecking = false;
    this.#token = result.token ?? this.#token;
    this.#refreshAt = after(now, this.#keepaliveMs);
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

  /** Where the answer to a change request comes from: as the list of servers or OTHER-ADDRESS says. */
  #answersFrom(change: 'port' | 'address'): readonly Endpoint[] {
    const asked = this.#asked;
    const announced = this.#announced;
    if (change === 'address') {
      // Other nodes have other addresses too: only the server itself knows whether it has a second one.
      const differs = announced !== undefined && announced.address !== asked.address;
      return differs && announced.port !== asked.port ? [announced] : [];
    }
    const listed = this.#options.servers.filter(({ address }) => address === asked.address);
    const other = announced === undefined ? [] : [{ ...announced, address: asked.address }];
    return [...listed, ...other].filter(({ port }) => port !== asked.port);
  }

  #ask(kind: FamilyQuestion['kind'], now: MonotonicMs, server = this.#asked): void {
    const { family, socket, testSocket, stun } = this.#options;
    const change = kind === 'filter-port' ? 'port' : kind === 'filter-address' ? 'address' : false;
    const isOwn = kind === 'first' || kind === 'refresh';
    if (isOwn) this.#askedAt = now;
    const requests = kind === 'first' ? { requests: firstRequests } : {};
    const plain: Ask = { socket, server, wantsToken: isOwn, ...requests };
    const ask: Ask = change
      ? {
          ...{ socket: testSocket ?? socket, server, change },
          ...{ requests: filterRequests, isSteady: true },
          answerFrom: this.#answersFrom(change),
        }
      : plain;
    const rttMs = kind === 'first' ? undefined : this.#rttMs;
    stun.ask({ part: 'family', family, run: this.#run, kind }, ask, now, rttMs);
  }
}

function mappedOf(result: StunResult): Endpoint | undefined {
  if (result.type !== 'answered' || result.mapped.port === 0) return undefined;
  return classOf(result.mapped.address) === 'unusable' ? undefined : result.mapped;
}
