/** STUN over UDP on two ports, IPv4 and IPv6 (protocol §8). */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { addressBytes, type Endpoint, formatAddress } from '#wire/endpoint.ts';
import { looksLikeStun, maxStunBytes } from '#wire/stun.ts';
import { listenError } from './control/endpoint.ts';
import { canonicalAddress, prefixesOf } from './control/prefix.ts';
import { Limiter, type Rate } from './coordinator/limiter.ts';
import { isUnspecified, type ListenAddress } from './listen-address.ts';
import { answerStun, type StunSocketFacts } from './stun-answer.ts';

/** Requests of one address, or IPv6 /64: a home behind one NAT, or a whole carrier's. */
const requestsPerPrefix: Rate = { burst: 500, intervalMs: 5 };
const requestsPerWidePrefix: Rate = { burst: 4_000, intervalMs: 1 };
/** Answers that wait for the network; beyond, they are dropped. */
const maxQueuedBytes = 262_144;

type Family = 4 | 6;

interface StunSocket {
  readonly socket: Socket;
  readonly family: Family;
  readonly index: 0 | 1;
  readonly port: number;
  /** The address it is bound to, when that is one. */
  readonly address: string | undefined;
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
  #facts = new Map<
    Family,
    readonly [StunSocketFacts, StunSocketFacts] | readonly [StunSocketFacts]
  >();

  /** Binds one or two addresses. BuriError: port-in-use, port-forbidden, address-unavailable. */
  async listen(addresses: readonly ListenAddress[]): Promise<void> {
    for (const [index, address] of addresses.slice(0, 2).entries()) {
      const families = familiesOf(address);
      let port = address.port;
      let bound = 0;
      for (const family of families) {
        const optional = families.length > 1 && bound > 0;
        const opened = await this.#bind(family, index as 0 | 1, address, port, optional);
        if (opened === undefined) continue;
        bound++;
        port = opened.port;
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

  /** Where clients send requests, at most two a family. */
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
    index: 0 | 1,
    address: ListenAddress,
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
      index,
      port: socket.address().port,
      address: isUnspecified(host) ? undefined : canonicalAddress(socket.address().address),
    };
    socket.on('message', (bytes, remote) => this.#answer(opened, bytes, remote));
    this.#sockets.push(opened);
    return opened;
  }

  #answer(to: StunSocket, request: Buffer, remote: RemoteInfo): void {
    if (request.length > maxStunBytes || !looksLikeStun(request)) {
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
    const answer = answerStun(request, source, to.index, this.#facts.get(to.family) ?? [nobody]);
    const sender = this.#sockets.find(
      ({ family, index }) => family === to.family && index === answer?.from,
    );
    if (answer === undefined || sender === undefined) {
      this.counters.ignored++;
      return;
    }
    if (sender.socket.getSendQueueSize() > maxQueuedBytes) return;
    this.counters.answered++;
    sender.socket.send(answer.bytes, remote.port, remote.address, () => {});
  }

  #learn(): void {
    for (const family of [4, 6] as const) {
      const facts = this.#sockets
        .filter((socket) => socket.family === family)
        .sort((a, b) => a.index - b.index)
        .map((socket) => ({ public: this.#publicEndpoint(socket) }));
      const [first = nobody, second] = facts;
      this.#facts.set(family, second === undefined ? [first] : [first, second]);
    }
  }

  #publicEndpoint({ family, address, port }: StunSocket): Endpoint | undefined {
    const known = address ?? this.#publicAddresses[family];
    return known === undefined ? undefined : { address: known, port };
  }
}

const nobody: StunSocketFacts = { public: undefined };

function familiesOf({ host }: ListenAddress): readonly Family[] {
  if (host === undefined) return [4, 6];
  const bytes = addressBytes(host);
  if (bytes === undefined) return [4];
  return formatAddress(bytes).includes(':') ? [6] : [4];
}
