/** STUN over UDP on two ports of one or two addresses, IPv4 and IPv6 (protocol §8). */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { Limiter, type Rate } from '#core/limiter.ts';
import { canonicalAddress, prefixesOf } from '#core/prefixes.ts';
import { addressBytes, type Endpoint, formatAddress } from '#wire/endpoint.ts';
import { maxStunBytes, stunHeaderBytes } from '#wire/stun.ts';
import { listenError } from './control/endpoint.ts';
import { isUnspecified, type ListenAddress } from './listen-address.ts';
import { answerStun, type StunFacts, type StunSocketFacts } from './stun-answer.ts';

/** Requests of one address, or IPv6 /64: a home behind one NAT, or a whole carrier's. */
const requestsPerPrefix: Rate = { burst: 500, intervalMs: 5 };
const requestsPerWidePrefix: Rate = { burst: 4_000, intervalMs: 1 };
/** Answers that wait for the network; beyond, they are dropped. */
const maxQueuedBytes = 262_144;

type Family = 4 | 6;

interface StunSocket {
  readonly socket: Socket;
  readonly family: Family;
  /** Numbers of its address and its port among those of the server. */
  readonly addressIndex: number;
  readonly portIndex: number;
  readonly port: number;
  /** The address it is bound to, when that is one. */
  readonly address: string | undefined;
}

/** A socket to be bound. */
interface Wanted {
  readonly at: ListenAddress;
  readonly addressIndex: number;
  readonly portIndex: number;
}

export interface StunCounters {
  answered: number;
  ignored: number;
  limited: number;
}

export class StunServer {
  readonly counters: StunCounters = { answered: 0, ignored: 0, limited: 0 };
  readonly #sockets: StunSocket[] = [];
  readonly #narrow = new Limiter(requestsPerPrefix);
  readonly #wide = new Limiter(requestsPerWidePrefix);
  /** How clients reach this machine, by family. */
  #publicAddresses: { readonly [family in Family]?: string } = {};
  readonly #facts = new Map<Family, StunFacts>();
  #token: ((address: string) => Uint8Array) | undefined;

  /** @param token what proves that somebody receives at an address; without it none is given. */
  setToken(token: (address: string) => Uint8Array): void {
    this.#token = token;
    this.#learn();
  }

  /**
   * Binds one or two addresses; two that differ in host and port give four sockets, so that answers can come from another
   * port, another address, or both (RFC 5780). BuriError: port-in-use, port-forbidden, address-unavailable.
   */
  async listen(addresses: readonly ListenAddress[]): Promise<void> {
    const ports: number[] = [];
    for (const { at, addressIndex, portIndex } of socketsOf(addresses.slice(0, 2))) {
      const families = familiesOf(at);
      // A port that the system chose is the same for both families, and for both addresses.
      let port = at.port === 0 ? (ports[portIndex] ?? 0) : at.port;
      let bound = 0;
      for (const family of families) {
        const optional = families.length > 1 && bound > 0;
        const wanted = { at, addressIndex, portIndex };
        const opened = await this.#bind(family, wanted, port, optional);
        if (opened === undefined) continue;
        bound++;
        port = opened.port;
        ports[portIndex] = port;
      }
    }
    this.#learn();
  }

  /** Which ports it has, in order. */
  get ports(): number[] {
    return [...new Set(this.#sockets.map(({ port }) => port))];
  }

  /** Tells how clients reach this machine, so that answers can name where they come from. */
  setPublicAddresses(addresses: readonly string[]): void {
    const family = (wanted: Family) =>
      addresses.find((address) => (address.includes(':') ? 6 : 4) === wanted);
    const v4 = family(4);
    const v6 = family(6);
    this.#publicAddresses = {
      ...(v4 === undefined ? {} : { 4: v4 }),
      ...(v6 === undefined ? {} : { 6: v6 }),
    };
    this.#learn();
  }

  /** Where clients send requests, at most four a family. */
  get publicEndpoints(): Endpoint[] {
    return this.#sockets.flatMap((socket) => {
      const endpoint = this.#publicEndpoint(socket);
      return endpoint === undefined ? [] : [endpoint];
    });
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#sockets
        .splice(0)
        .map(({ socket }) => new Promise<void>((resolve) => socket.close(() => resolve()))),
    );
  }

  async #bind(
    family: Family,
    { at: address, addressIndex, portIndex }: Wanted,
    port: number,
    optional: boolean,
  ): Promise<StunSocket | undefined> {
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
    const host = address.host ?? (family === 4 ? '0.0.0.0' : '::');
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind({ address: host, port }, resolve);
      });
    } catch (error) {
      socket.close();
      const { code } = error as NodeJS.ErrnoException;
      // A machine without IPv6 serves IPv4.
      if (optional && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) return undefined;
      throw listenError(error, address, '--stun');
    }
    socket.on('error', () => {});
    const opened: StunSocket = {
      socket,
      family,
      addressIndex,
      portIndex,
      port: socket.address().port,
      address: isUnspecified(host) ? undefined : canonicalAddress(socket.address().address),
    };
    socket.on('message', (bytes, remote) => this.#answer(opened, bytes, remote));
    this.#sockets.push(opened);
    return opened;
  }

  #answer(to: StunSocket, request: Buffer, remote: RemoteInfo): void {
    if (!mayBeRequest(request)) {
      this.counters.ignored++;
      return;
    }
    const { narrow, wide } = prefixesOf(remote.address);
    const nowMs = performance.now();
    if (this.#narrow.tryTake(narrow, nowMs) > 0 || this.#wide.tryTake(wide, nowMs) > 0) {
      this.counters.limited++;
      return;
    }
    const source = { address: canonicalAddress(remote.address), port: remote.port };
    const ofFamily = this.#ofFamily(to.family);
    const facts = this.#facts.get(to.family) ?? { sockets: [] };
    const answer = answerStun(request, source, ofFamily.indexOf(to), facts);
    const sender = answer === undefined ? undefined : ofFamily[answer.from];
    if (answer === undefined || sender === undefined) {
      this.counters.ignored++;
      return;
    }
    if (sender.socket.getSendQueueSize() > maxQueuedBytes) return;
    this.counters.answered++;
    sender.socket.send(answer.bytes, answer.toPort, remote.address, () => {});
  }

  #ofFamily(wanted: Family): StunSocket[] {
    return this.#sockets.filter(({ family }) => family === wanted);
  }

  #learn(): void {
    for (const family of [4, 6] as const) {
      const sockets = this.#ofFamily(family).map(
        (socket): StunSocketFacts => ({
          address: socket.addressIndex,
          port: socket.portIndex,
          public: this.#publicEndpoint(socket),
        }),
      );
      this.#facts.set(family, { sockets, token: this.#token });
    }
  }

  #publicEndpoint({ family, address, port }: StunSocket): Endpoint | undefined {
    const known = address ?? this.#publicAddresses[family];
    return known === undefined ? undefined : { address: known, port };
  }
}

/** A Binding request by its first bytes: with the magic cookie, or as RFC 3489 had it. */
const mayBeRequest = (bytes: Uint8Array): boolean =>
  bytes.length >= stunHeaderBytes &&
  bytes.length <= maxStunBytes &&
  bytes[0] === 0 &&
  bytes[1] === 1;

/** Two addresses that differ in host and port are all four combinations; others are themselves. */
function socketsOf(addresses: readonly ListenAddress[]): readonly Wanted[] {
  const [first, second] = addresses;
  if (first === undefined) return [];
  const own = { at: first, addressIndex: 0, portIndex: 0 };
  if (second === undefined) return [own];
  const isOneHost = first.host === second.host;
  if (isOneHost) return [own, { at: second, addressIndex: 0, portIndex: 1 }];
  const isOneFamily = familiesOf(first).join() === familiesOf(second).join();
  const isSpecific = !isUnspecified(first.host) && !isUnspecified(second.host);
  const isOnePort = first.port === second.port && first.port !== 0;
  if (!isOneFamily || !isSpecific) return [own, { at: second, addressIndex: 0, portIndex: 1 }];
  if (isOnePort) return [own, { at: second, addressIndex: 1, portIndex: 0 }];
  return [
    own,
    { at: { ...first, port: second.port }, addressIndex: 0, portIndex: 1 },
    { at: { ...second, port: first.port }, addressIndex: 1, portIndex: 0 },
    { at: second, addressIndex: 1, portIndex: 1 },
  ];
}

function familiesOf({ host }: ListenAddress): readonly Family[] {
  if (host === undefined) return [4, 6];
  const bytes = addressBytes(host);
  if (bytes === undefined) return [4];
  return formatAddress(bytes).includes(':') ? [6] : [4];
}
