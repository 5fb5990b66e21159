/**
 * A NAT or firewall after RFC 4787: mapping × filtering × port allocation × timeout × hairpinning, and mappings of others, for
 * the rows of `lab/nat-kinds.ts`. It translates packets and knows nothing of networks.
 */
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { type NatBox, type NatKindRow, portBlock } from '../lab/nat-kinds.ts';
import type { Random } from './random.ts';

export interface Packet {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly bytes: Uint8Array;
  readonly ttl: number;
  /** Routers may not fragment it. */
  readonly dontFragment?: boolean;
}

export interface NatOptions {
  readonly kind: NatBox & Pick<NatKindRow, 'step' | 'unsolicited'>;
  /** Undefined where nothing is translated. */
  readonly publicAddress: string;
  /** RFC 4787 REQ-5 asks for at least 2 minutes. */
  readonly timeoutMs: number;
  /** Hosts inside reach each other by their public endpoints (RFC 4787 §6). */
  readonly hairpin: boolean;
  /** Forwarded by hand: public port to an inside endpoint. */
  readonly forwards?: ReadonlyMap<number, Endpoint>;
  /** Mappings that others behind it make. */
  readonly foreignPerSecond?: number;
  readonly random: Random;
}

interface Mapping {
  readonly key: string;
  readonly inside: Endpoint;
  readonly publicPort: number;
  usedAt: number;
  /** Whom it sent to, and when last. */
  readonly sentTo: Map<string, number>;
}

const firstDynamicPort = 1024;
const maximumAccepted = 10_000;
const maximumForeign = 10_000;
/** No packet comes from there. */
const nobody: Endpoint = { address: '0.0.0.0', port: 0 };

export class Nat {
  readonly options: NatOptions;
  readonly #byKey = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  /** Conversations that came in by a forwarded port, and leave by it too: when last used. */
  readonly #forwarded = new Map<string, { readonly port: number; usedAt: number }>();
  /** Unsolicited packets that were let in as far as the router: `inside public source`, and when the last came. */
  readonly #accepted = new Map<string, number>();
  readonly #foreign: Foreign;
  #nextPort: number;
  /** Unsolicited packets that were dropped. */
  unsolicited = 0;

  constructor(options: NatOptions) {
    this.options = options;
    this.#nextPort = 20_000 + options.random.below(20_000);
    this.#foreign = new Foreign(options.foreignPerSecond ?? 0, options.random.fork('foreign'));
  }

  /** Mappings that are alive. */
  get size(): number {
    return this.#byKey.size;
  }

  /** Power off and on: every mapping is gone. */
  reboot(): void {
    this.#byKey.clear();
    this.#byPort.clear();
    this.#forwarded.clear();
    this.#accepted.clear();
    this.#nextPort = 20_000 + this.options.random.below(20_000);
  }

  /** From the inside; undefined when it is dropped. */
  outbound(packet: Packet, now: number): Packet | undefined {
    const { kind, publicAddress } = this.options;
    if (kind.mapping === 'blocked') return undefined;
    const { source, destination } = packet;
    this.#makeForeign(now);
    const flow = this.#forwarded.get(flowKey(source, destination));
    if (flow !== undefined && now - flow.usedAt < this.options.timeoutMs) {
      flow.usedAt = now;
      return { ...packet, source: { address: publicAddress, port: flow.port } };
    }
    const mapping = this.#mappingFor(source, destination, now);
    if (mapping === undefined) return undefined;
    mapping.usedAt = now;
    mapping.sentTo.set(formatEndpoint(destination), now);
    mapping.sentTo.set(destination.address, now);
    if (kind.mapping === 'none') return packet;
    return { ...packet, source: { address: publicAddress, port: mapping.publicPort } };
  }

  /** From the outside; undefined when it is dropped. */
  inbound(packet: Packet, now: number): Packet | undefined {
    const { kind, forwards } = this.options;
    const { source, destination } = packet;
    if (kind.mapping === 'blocked') return undefined;
    const isTranslated = kind.mapping !== 'none';
    const forwarded = isTranslated ? forwards?.get(destination.port) : undefined;
    if (forwarded !== undefined) {
      const port = destination.port;
      this.#forwarded.set(flowKey(forwarded, source), { port, usedAt: now });
      return { ...packet, destination: forwarded };
    }
    if (!isTranslated && kind.filtering === 'none') return packet;
    const found = isTranslated
      ? this.#byPort.get(destination.port)
      : this.#byKey.get(formatEndpoint(destination));
    const mapping = found !== undefined && this.#isAlive(found, now) ? found : undefined;
    if (mapping === undefined || !this.#letsIn(mapping, source, now)) {
      this.unsolicited += 1;
      if (kind.unsolicited === 'accepted') this.#accept(source, destination.port, now);
      return undefined;
    }
    mapping.usedAt = now;
    return isTranslated ? { ...packet, destination: mapping.inside } : packet;
  }

  #letsIn(mapping: Mapping, source: Endpoint, now: number): boolean {
    const { filtering } = this.options.kind;
    // Conversations are refreshed from both sides, as Linux does it.
    const sentTo = (key: string) => {
      const at = mapping.sentTo.get(key);
      return at !== undefined && now - at < this.options.timeoutMs;
    };
    switch (filtering) {
      case 'none':
      case 'endpoint-independent':
        return true;
      case 'address-dependent':
        if (!sentTo(source.address)) return false;
        mapping.sentTo.set(source.address, now);
        return true;
      case 'address-and-port-dependent':
        if (!sentTo(formatEndpoint(source))) return false;
        mapping.sentTo.set(formatEndpoint(source), now);
        return true;
      case 'blocked':
        return false;
      default:
        return filtering satisfies never;
    }
  }

  #mappingFor(source: Endpoint, destination: Endpoint, now: number): Mapping | undefined {
    const { kind } = this.options;
    const inside = formatEndpoint(source);
    const moved = this.#movedMapping(source, destination, now);
    if (moved !== undefined) return moved;
    const key = {
      none: inside,
      'endpoint-independent': inside,
      'address-dependent': `${inside} ${destination.address}`,
      'address-and-port-dependent': `${inside} ${formatEndpoint(destination)}`,
      blocked: inside,
    }[kind.mapping];
    const known = this.#byKey.get(key);
    if (known !== undefined && this.#isAlive(known, now)) return known;
    if (known !== undefined) this.#forget(known);
    const publicPort = kind.mapping === 'none' ? source.port : this.#allocate(source.port, now);
    return publicPort === undefined ? undefined : this.#add(key, source, publicPort, now);
  }

  #add(key: string, inside: Endpoint, publicPort: number, now: number): Mapping {
    const mapping = { key, inside, publicPort, usedAt: now, sentTo: new Map() };
    this.#byKey.set(key, mapping);
    if (this.options.kind.mapping !== 'none') this.#byPort.set(publicPort, mapping);
    return mapping;
  }

  /** Linux keeps a flow of whatever its input lets in; the one of an inside host from the same port gets another one. */
  #movedMapping(source: Endpoint, destination: Endpoint, now: number): Mapping | undefined {
    if (this.options.kind.unsolicited !== 'accepted') return undefined;
    const key = flowKey(source, destination);
    const known = this.#byKey.get(key);
    if (known !== undefined && this.#isAlive(known, now)) return known;
    const acceptedAt = this.#accepted.get(`${source.port} ${formatEndpoint(destination)}`);
    if (acceptedAt === undefined || now - acceptedAt >= this.options.timeoutMs) return undefined;
    if (this.#hasSentTo(formatEndpoint(source), destination, now)) return undefined;
    const publicPort = this.#allocate(undefined, now);
    return publicPort === undefined ? undefined : this.#add(key, source, publicPort, now);
  }

  #hasSentTo(key: string, destination: Endpoint, now: number): boolean {
    const sentAt = this.#byKey.get(key)?.sentTo.get(formatEndpoint(destination));
    return sentAt !== undefined && now - sentAt < this.options.timeoutMs;
  }

  #accept(source: Endpoint, publicPort: number, now: number): void {
    const key = `${publicPort} ${formatEndpoint(source)}`;
    this.#accepted.delete(key);
    this.#accepted.set(key, now);
    for (const [oldest, at] of this.#accepted) {
      if (this.#accepted.size <= maximumAccepted && now - at < this.options.timeoutMs) break;
      this.#accepted.delete(oldest);
    }
  }

  #makeForeign(now: number): void {
    const { timeoutMs, random } = this.options;
    for (const [key, at] of this.#foreign.dueBy(now)) {
      const old = this.#byKey.get(key);
      if (old !== undefined) this.#forget(old);
      const port = this.#allocate(random.between(firstDynamicPort, 65_535), at);
      if (port !== undefined && now - at < timeoutMs) this.#add(key, nobody, port, at);
    }
  }

  /** A free public port; undefined when the block is used up. */
  #allocate(wanted: number | undefined, now: number): number | undefined {
    const { random, kind } = this.options;
    const isFree = (port: number) => {
      const holder = this.#byPort.get(port);
      if (holder !== undefined && !this.#isAlive(holder, now)) this.#forget(holder);
      return !this.#byPort.has(port) && this.options.forwards?.has(port) !== true;
    };
    if (kind.allocation === 'preserving' && wanted !== undefined && isFree(wanted)) return wanted;
    for (let attempt = 0; attempt < 4096; attempt++) {
      const port =
        kind.allocation === 'sequential'
          ? this.#countUp(kind.step ?? 1)
          : kind.allocation === 'random-in-block'
            ? portBlock.first + random.below(portBlock.size)
            : random.between(firstDynamicPort, 65_535);
      if (isFree(port)) return port;
    }
    return undefined;
  }

  #countUp(step: number): number {
    const port = this.#nextPort;
    this.#nextPort = port + step > 65_535 ? firstDynamicPort : port + step;
    return port;
  }

  #isAlive(mapping: Mapping, now: number): boolean {
    return now - mapping.usedAt < this.options.timeoutMs;
  }

  #forget(mapping: Mapping): void {
    this.#byKey.delete(mapping.key);
    if (this.#byPort.get(mapping.publicPort) === mapping) this.#byPort.delete(mapping.publicPort);
  }
}

const flowKey = (inside: Endpoint, outside: Endpoint) =>
  `${formatEndpoint(inside)} ${formatEndpoint(outside)}`;

/** Mappings that others make: at random moments, so many a second on average. */
class Foreign {
  readonly #perSecond: number;
  readonly #random: Random;
  #nextAt: number | undefined;
  #count = 0;

  constructor(perSecond: number, random: Random) {
    this.#perSecond = perSecond;
    this.#random = random;
  }

  /** Keys, used again after many, and moments; it begins with the first call. */
  *dueBy(now: number): Generator<readonly [key: string, at: number]> {
    if (this.#perSecond === 0) return;
    this.#nextAt ??= now + this.#gapMs();
    while (this.#nextAt <= now) {
      yield [`foreign ${this.#count++ % maximumForeign}`, this.#nextAt];
      this.#nextAt += this.#gapMs();
    }
  }

  #gapMs(): number {
    return (-Math.log(1 - this.#random.float()) * 1000) / this.#perSecond;
  }
}
