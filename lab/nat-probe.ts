/**
 * Classifies a NAT by what it does to real packets, as RFC 5780 §4.3 and §4.4 do: from one host
 * inside, with two observers outside that have two ports each.
 *
 *   inside S ──NAT── Internet ──┬── observer A: a1, a2
 *                               └── observer B: b1
 *
 *   mapping:    S asks a1, a2 and b1 'who am I?'. All answers equal: endpoint-independent;
 *               those of a1 and a2 only: address-dependent; else address-and-port-dependent
 *   filtering:  S' has sent to a1 only. b1 gets in: endpoint-independent; only a2 gets in:
 *               address-dependent; neither: address-and-port-dependent. Without translation
 *               a socket that never sent is tried as well, and if that is reached: none
 */
import type { Host } from './host.ts';
import type { Filtering, Mapping } from './nat-kinds.ts';
import type { UdpAddress, UdpEndpoint } from './udp.ts';
import { waitFor } from './wait.ts';

export interface ObservedNat {
  readonly mapping: Mapping;
  readonly filtering: Filtering;
  /** The public port is the inside one. */
  readonly preservesPort: boolean;
  /** Public ports seen towards different endpoints. */
  readonly publicPorts: readonly number[];
}

const blocked: ObservedNat = {
  mapping: 'blocked',
  filtering: 'blocked',
  preservesPort: false,
  publicPorts: [],
};
/** An answer that is not there after this long, on links without delay, does not come. */
const noAnswerMs = 1_000;
const attempts = 3;
let tokens = 0;

export async function observeNat(
  inside: Host,
  observers: readonly [Host, Host],
): Promise<ObservedNat> {
  const [a, b] = observers;
  const at = { a1: await observer(a), a2: await observer(a), b1: await observer(b) };
  const socket = await inside.udp();
  try {
    const seen: UdpAddress[] = [];
    for (const target of [at.a1, at.a2, at.b1]) {
      const endpoint = await publicEndpoint(socket, target);
      if (endpoint === undefined) return blocked;
      seen.push(endpoint);
    }
    const [one, two, three] = seen as [UdpAddress, UdpAddress, UdpAddress];
    const translated = one.address !== inside.ipv4 || one.port !== socket.port;
    return {
      mapping: translated ? classifyMapping(one, two, three) : 'none',
      filtering: await observeFiltering(inside, at, translated),
      preservesPort: one.port === socket.port,
      publicPorts: [one.port, two.port, three.port],
    };
  } finally {
    socket.close();
    for (const { endpoint } of Object.values(at)) endpoint.close();
  }
}

export interface Observer {
  readonly host: Host;
  readonly endpoint: UdpEndpoint;
  readonly local: UdpAddress;
}

/** A socket that answers `who TOKEN` with `you TOKEN ADDRESS PORT`. */
export async function observer(host: Host, port = 0): Promise<Observer> {
  const endpoint = await host.udp({ port });
  endpoint.onDatagram = ({ data, from }) => {
    const token = /^who (\S+)$/.exec(data)?.[1];
    if (token !== undefined) endpoint.send(`you ${token} ${from.address} ${from.port}`, from);
  };
  return { host, endpoint, local: { address: host.ipv4, port: endpoint.port } };
}

/** How an observer sees a socket; undefined when no answer comes. */
export async function publicEndpoint(
  socket: UdpEndpoint,
  target: Observer,
): Promise<UdpAddress | undefined> {
  const token = `${process.pid}.${tokens++}`;
  for (let attempt = 0; attempt < attempts; attempt++) {
    socket.send(`who ${token}`, target.local);
    const answer = await waitFor(
      'an answer',
      () => socket.datagrams.find(({ data }) => data.startsWith(`you ${token} `)),
      { timeoutMs: noAnswerMs, intervalMs: 5 },
    ).catch(() => undefined);
    const [, , address, port] = answer?.data.split(' ') ?? [];
    if (address !== undefined) return { address, port: Number(port) };
  }
  return undefined;
}

/**
 * Which of the senders get a packet to `target`, the public endpoint of `socket`. Nothing is waited
 * for that may not come: each sender sends its probe and then a notice to `trusted`, which the
 * socket has sent to; when the notices are there, and a question and its answer have gone between
 * the socket and `trusted` after that, a probe that has not come was dropped.
 */
export async function whoGetsIn(
  socket: UdpEndpoint,
  target: UdpAddress,
  trusted: Observer,
  senders: Readonly<Record<string, Observer>>,
): Promise<string[]> {
  const probe = `probe ${tokens++}`;
  for (let round = 0; round < attempts; round++) {
    for (const [name, sender] of Object.entries(senders)) {
      sender.endpoint.send(`${probe} ${name}`, target);
      sender.endpoint.send(`sent ${probe} ${name} ${round}`, trusted.local);
    }
    for (const name of Object.keys(senders)) {
      await trusted.endpoint.received(`sent ${probe} ${name} ${round}`);
    }
    if ((await publicEndpoint(socket, trusted)) === undefined) {
      throw new Error('an allowed answer was lost while filtering was observed');
    }
  }
  return Object.keys(senders).filter((name) => socket.has(`${probe} ${name}`));
}

function classifyMapping(one: UdpAddress, two: UdpAddress, three: UdpAddress): Mapping {
  if (!same(one, two)) return 'address-and-port-dependent';
  return same(one, three) ? 'endpoint-independent' : 'address-dependent';
}

async function observeFiltering(
  inside: Host,
  { a1, a2, b1 }: Readonly<Record<'a1' | 'a2' | 'b1', Observer>>,
  translated: boolean,
): Promise<Filtering> {
  const socket = await inside.udp();
  const silent = await inside.udp();
  try {
    const target = await publicEndpoint(socket, a1);
    if (target === undefined) return 'blocked';
    const gotIn = await whoGetsIn(socket, target, a1, { a2, b1 });
    if (!gotIn.includes('b1')) {
      return gotIn.includes('a2') ? 'address-dependent' : 'address-and-port-dependent';
    }
    if (translated) return 'endpoint-independent';
    b1.endpoint.send('unasked', { address: inside.ipv4, port: silent.port });
    await whoGetsIn(socket, target, a1, { b1 });
    return silent.has('unasked') ? 'none' : 'endpoint-independent';
  } finally {
    socket.close();
    silent.close();
  }
}

function same(one: UdpAddress, other: UdpAddress): boolean {
  return one.address === other.address && one.port === other.port;
}
