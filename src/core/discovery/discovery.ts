/**
 * Discovery: what this machine's addresses are, as it sees them itself and as servers see them, and how the NAT on the
 * way behaves (RFC 5780). Sans-IO: `handle`, `poll`, `deadline`.
 */

import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import { forgetOldest } from '#core/forget-oldest.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { AddressProof } from '#wire/control.ts';
import { type AddressFamily, type Endpoint, familyOf, formatEndpoint } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import { classOf, type Prefix, parsePrefix, virtualPrefixes } from '../path/address-class.ts';
import { unknownNat } from '../path/io.ts';
import { gatherCandidates, hostAddresses, type LocalAddress } from './candidates.ts';
import { FamilyDiscovery } from './family-discovery.ts';
import {
  type Discovered,
  type DiscoveryInput,
  type DiscoveryOptions,
  type DiscoveryOutput,
  type DiscoverySocket,
  type FamilyReport,
  isMain,
} from './io.ts';
import { classifyNat } from './nat-behaviour.ts';
import { NatTests } from './nat-tests.ts';
import type { Question } from './question.ts';
import { StunClient, type StunResult } from './stun-client.ts';

/** Peers are told the first candidates after this long even when a server has not answered yet. */
const firstReportMs = 1000;
/** One address family has its answer: so much longer the other one has. */
const graceMs = 150;
const maxServers = 16;
const maxAddresses = 64;
/** Peers whose word counts while no server answers: the last ones. */
const maxObservers = 4;

export class Discovery {
  readonly #crypto: Crypto;
  readonly #stun: StunClient<Question>;
  readonly #virtual: readonly Prefix[];
  readonly #families = new Map<AddressFamily, FamilyDiscovery>();
  #outputs: DiscoveryOutput[] = [];
  #tests: NatTests | undefined;
  #sockets: readonly DiscoverySocket[] = [];
  #addresses: readonly LocalAddress[] = [];
  #servers: readonly Endpoint[] = [];
  /** Where peers saw us last; the latest last. */
  readonly #observed = new Map<number, Endpoint>();
  #configuredPort: number | undefined;
  #mapped: readonly Endpoint[] = [];
  /** Nothing is reported before then, unless every server has answered. */
  #reportAt: MonotonicMs | undefined;
  /** `#reportAt` was brought forward, because one address family is known. */
  #isGrace = false;
  #reported: string | undefined;

  constructor(options: DiscoveryOptions) {
    this.#crypto = options.crypto;
    this.#stun = new StunClient(options.crypto, this.#send);
    this.#virtual = (options.virtualPrefixes ?? virtualPrefixes).map((text) => {
      const prefix = parsePrefix(text);
      assert(prefix !== undefined, `a prefix is address/length, not ${text}`);
      return prefix;
    });
  }

  handle(input: DiscoveryInput, now: Now): void {
    const at = now.monotonic;
    switch (input.type) {
      case 'sockets':
        if (isSame(this.#sockets, input.sockets)) break;
        this.#sockets = input.sockets;
        this.#restart(at);
        break;
      case 'servers':
        if (isSame(this.#servers, input.servers)) break;
        this.#servers = input.servers.slice(0, maxServers);
        this.#restart(at);
        break;
      case 'local-addresses':
        this.#addresses = input.addresses.slice(0, maxAddresses);
        break;
      case 'configured-port':
        this.#configuredPort = input.port;
        break;
      case 'mapped':
        this.#mapped = input.endpoints;
        break;
      case 'observed':
        this.#observe(input.peer, input.socket, input.endpoint);
        break;
      case 'network-changed':
        this.#observed.clear();
        for (const family of this.#families.values()) family.networkChanged(at);
        this.#tests?.networkChanged();
        break;
      case 'check':
        for (const family of this.#families.values()) family.start(at);
        this.#tests?.check();
        break;
      case 'recheck':
        for (const family of this.#families.values()) family.recheck(at);
        break;
      case 'datagram':
        this.#datagram(input.bytes, input.socket, input.remote, at);
        break;
      case 'tick':
        break;
      default:
        input satisfies never;
    }
    this.#wake(at);
    this.#report(at);
  }

  poll(): DiscoveryOutput | undefined {
    return this.#outputs.shift();
  }

  deadline(): MonotonicMs | undefined {
    const all = [
      this.#reportAt,
      this.#stun.deadline(),
      this.#tests?.deadline(),
      ...[...this.#families.values()].map((family) => family.deadline()),
    ].filter((at) => at !== undefined);
    return all.length === 0 ? undefined : (Math.min(...all) as MonotonicMs);
  }

  /** As it is known now. */
  get discovered(): Discovered {
    const reflexive = [...this.#families.values()].flatMap((family) => {
      const { seen, seenByOtherAddress, seenByOtherPort } = family.observations;
      // A NAT with several public addresses may show any of them to a peer; more ports of one address help nobody.
      const others = [seenByOtherPort, seenByOtherAddress].filter(
        (other) => other !== undefined && other.address !== seen?.address,
      );
      return [seen, ...others].filter((endpoint) => endpoint !== undefined);
    });
    // A peer may lie: what it says is a candidate like any other, which nobody uses who is not answered there.
    for (const endpoint of this.#observed.values()) {
      if (this.#families.get(familyOf(endpoint.address))?.seen === undefined) {
        reflexive.push(endpoint);
      }
    }
    const mains = this.#sockets.filter(isMain);
    const candidates = gatherCandidates({
      addresses: this.#addresses,
      ports: new Map(mains.map(({ family, localPort }) => [family, localPort])),
      reflexive,
      configuredPort: this.#configuredPort,
      mapped: this.#mapped,
      virtual: this.#virtual,
    });
    const publicEndpoints = [...this.#families.values()]
      .map((family) => family.seen)
      .filter((seen) => seen !== undefined);
    const mappingLifetimeMs = this.#tests?.lifetimeMs;
    return {
      ...{ candidates, nat: this.#nat(mains), publicEndpoints, udp: this.#udp() },
      ...(mappingLifetimeMs === undefined ? {} : { mappingLifetimeMs }),
    };
  }

  /** Nothing but the lifetime of mappings is being found out now, which takes minutes. */
  get isSettled(): boolean {
    const families = [...this.#families.values()];
    const isKnown = families.every((family) => family.known);
    return isKnown && !this.#stun.isAsking(isOfFamily) && this.#tests?.isDone !== false;
  }

  /** A mapping is being asked for again that would have another port if the NAT had forgotten it. */
  get isRechecking(): boolean {
    return [...this.#families].some(
      ([family, { isRechecking }]) => isRechecking && this.report(family)?.portPreserved === false,
    );
  }

  /** Tokens that prove to the server that this machine receives where servers saw it (protocol §8). */
  get proofs(): AddressProof[] {
    return [...this.#families.values()].flatMap(({ token, seen }) =>
      token === undefined || seen === undefined ? [] : [{ address: seen.address, token }],
    );
  }

  /** Undefined where there is no socket of that family, or no server. */
  report(wanted: AddressFamily): FamilyReport | undefined {
    const family = this.#families.get(wanted);
    const main = this.#sockets.find((socket) => socket.family === wanted && isMain(socket));
    if (family === undefined || main === undefined) return undefined;
    const { seen, blocked, rttMs } = family;
    return {
      udp: blocked ? 'blocked' : seen === undefined ? 'unknown' : 'works',
      publicEndpoint: seen,
      portPreserved: seen && seen.port === main.localPort,
      rttMs,
    };
  }

  #nat(mains: readonly DiscoverySocket[]): NatBehaviour {
    const family = this.#families.has(4) ? 4 : 6;
    const discovery = this.#families.get(family);
    const port = mains.find((socket) => socket.family === family)?.localPort;
    if (discovery === undefined || port === undefined) return unknownNat;
    const local = hostAddresses(this.#addresses, []).map((address) => ({ address, port }));
    const behaviour = classifyNat({ ...discovery.observations, local });
    return { ...behaviour, ...(family === 4 ? this.#tests?.facts : {}) };
  }

  #udp(): Discovered['udp'] {
    const families = [...this.#families.values()];
    if (families.some((family) => family.seen !== undefined && !family.blocked)) return 'works';
    return families.length > 0 && families.every((family) => family.blocked)
      ? 'blocked'
      : 'unknown';
  }

  #restart(at: MonotonicMs): void {
    this.#stun.cancel(() => true);
    this.#families.clear();
    this.#tests = undefined;
    for (const family of [4, 6] as const) {
      const ofFamily = this.#sockets.filter((socket) => socket.family === family);
      const main = ofFamily.find(isMain);
      const test = ofFamily.find(({ purpose }) => purpose === 'test');
      const servers = this.#servers.filter(({ address }) => familyOf(address) === family);
      if (main === undefined || servers.length === 0) continue;
      const discovery = new FamilyDiscovery({
        ...{ family, servers, stun: this.#stun },
        socket: main.socket,
        testSocket: test?.socket,
      });
      this.#families.set(family, discovery);
      discovery.start(at);
      if (family === 4 && test !== undefined) {
        const samples = ofFamily.filter(({ purpose }) => purpose === 'sample');
        const { crypto, stun, send } = { crypto: this.#crypto, stun: this.#stun, send: this.#send };
        this.#tests = new NatTests({ crypto, stun, send, main, test, samples, servers });
      }
    }
    this.#reportAt = after(at, firstReportMs);
    this.#isGrace = false;
  }

  #observe(peer: number, socket: number, endpoint: Endpoint): void {
    const isOurs = this.#sockets.some((one) => one.socket === socket && isMain(one));
    if (!isOurs || endpoint.port === 0 || classOf(endpoint.address) !== 'public') return;
    this.#observed.delete(peer);
    this.#observed.set(peer, endpoint);
    forgetOldest(this.#observed, maxObservers);
  }

  #datagram(bytes: Uint8Array, socket: number, remote: Endpoint, at: MonotonicMs): void {
    const arrived = this.#stun.receive(bytes, socket, remote, at);
    if (arrived === undefined) this.#tests?.receive(bytes, socket);
    else this.#result(arrived.tag, arrived.result, at);
  }

  #result(question: Question, result: StunResult, at: MonotonicMs): void {
    if (question.part !== 'family') this.#tests?.result(question, result, at);
    else this.#families.get(question.family)?.result(question, result, at);
  }

  #wake(at: MonotonicMs): void {
    for (const question of this.#stun.wake(at)) this.#result(question, { type: 'silent' }, at);
    for (const family of this.#families.values()) family.wake(at);
    const family = this.#families.get(4);
    if (family === undefined || this.#tests === undefined) return;
    this.#tests.wake(family, this.#stun.isAsking(isOfIpv4), at);
    if (family.known && !this.#stun.isAsking(isOfMapping)) {
      this.#tests.follow(family, this.discovered.nat.mapping !== 'none', at);
    }
  }

  readonly #send = (socket: number, remote: Endpoint, bytes: Uint8Array): void => {
    this.#outputs.push({ type: 'send', socket, remote, bytes });
  };

  /** Tells what is known, if it is news; at first only when the servers have answered, or had time to. */
  #report(at: MonotonicMs): void {
    if (this.#sockets.length === 0) return;
    if (this.#reportAt !== undefined && at < this.#reportAt && !this.#isWorthTelling(at)) return;
    this.#reportAt = undefined;
    this.#isGrace = false;
    const discovered = this.discovered;
    const text = describe(discovered);
    if (text === this.#reported) return;
    this.#reported = text;
    this.#outputs.push({ type: 'changed', ...discovered });
  }

  /** All families have their answers that can have any; or one has, and the other has had a little longer. */
  #isWorthTelling(at: MonotonicMs): boolean {
    const own = new Set(
      hostAddresses(this.#addresses, this.#virtual).map((address) => familyOf(address)),
    );
    const families = [...this.#families].filter(([family]) => own.size === 0 || own.has(family));
    if (families.length === 0) return false;
    if (families.every(([, { known }]) => known)) return true;
    if (!this.#isGrace && families.some(([, { seen }]) => seen !== undefined)) {
      this.#isGrace = true;
      const until = after(at, graceMs);
      if (until < this.#reportAt!) this.#reportAt = until;
    }
    return false;
  }
}

const isOfFamily = ({ part }: Question) => part === 'family';

const isOfIpv4 = (question: Question) => question.part === 'family' && question.family === 4;

/** Filters take longer, and their test socket is another one. */
const isOfMapping = (question: Question) =>
  question.part === 'family' && question.family === 4 && !question.kind.startsWith('filter-');

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

const describe = ({ publicEndpoints, ...rest }: Discovered) =>
  JSON.stringify([rest, publicEndpoints.map(formatEndpoint)]);
