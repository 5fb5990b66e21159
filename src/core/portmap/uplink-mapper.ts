/**
 * The port at one gateway, by whatever it speaks. All protocols are asked at once, to know what there is; the first in the order
 * PCP, NAT-PMP, UPnP that answers gets to map, and the next ones when it refuses.
 */
import type { Crypto } from '#core/crypto.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { decodeNatPmp } from '#wire/nat-pmp.ts';
import { decodePcp, pcpNonceBytes, pcpPort } from '#wire/pcp.ts';
import type { HttpRequest } from './http-exchange.ts';
import type {
  Channel,
  MappingReport,
  PortMapOutput,
  Protocol,
  ProtocolClient,
  Uplink,
  UplinkReport,
} from './io.ts';
import { NatPmpClient } from './nat-pmp-client.ts';
import { PcpClient } from './pcp-client.ts';
import { earliest } from './timing.ts';
import { UpnpClient } from './upnp-client.ts';

/** How long a protocol that has not answered yet holds up those behind it. */
const patienceMs: Readonly<Record<Protocol, number>> = { pcp: 400, 'nat-pmp': 700, upnp: 0 };
/** Nothing was given: the next attempt, unless the network changes before. */
const restMs = 300_000;

export interface UplinkOptions {
  readonly crypto: Crypto;
  readonly key: string;
  readonly uplink: Uplink;
  readonly port: number;
  /** 32 secret bytes of this device. */
  readonly nonceKey: Uint8Array;
  readonly emit: (output: PortMapOutput) => void;
  /** Numbers an HTTP request of this uplink. */
  readonly httpId: () => number;
  readonly fault: (name: string) => void;
}

export class UplinkMapper {
  readonly uplink: Uplink;
  readonly #options: UplinkOptions;
  readonly #pcp: PcpClient;
  readonly #natPmp: NatPmpClient | undefined;
  readonly #upnp: UpnpClient | undefined;
  readonly #clients: readonly ProtocolClient[];
  #startedAt = 0;
  /** When the protocols were last compared. */
  #chosenAt = 0;
  #wasMapped = false;
  /** Resting until then. */
  #restUntil: number | undefined;

  constructor(options: UplinkOptions, at: number) {
    const { uplink, port, fault } = options;
    this.#options = options;
    this.uplink = uplink;
    const { local, gateway } = uplink;
    const send = (bytes: Uint8Array) => this.#control(bytes);
    this.#pcp = new PcpClient({ local, port, nonce: this.#nonce(), send, fault });
    if (uplink.family === 4) {
      this.#natPmp = new NatPmpClient({ port, send, fault });
      this.#upnp = new UpnpClient({
        ...{ gateway, local, port, fault },
        search: (remote, bytes) => this.#send('search', remote, bytes),
        http: (request) => this.#http(request),
        random: () => {
          const [a = 0, b = 0] = options.crypto.random(2);
          return a * 256 + b;
        },
      });
    }
    this.#clients = [this.#pcp, this.#natPmp, this.#upnp].filter((client) => client !== undefined);
    this.#start(at);
  }

  /** The first is the one that others are told. */
  get mapped(): readonly Endpoint[] {
    return this.#clients.flatMap(({ state }) =>
      state.kind === 'mapped' ? [state.lease.external] : [],
    );
  }

  get isReleased(): boolean {
    return this.#clients.every((client) => client.isReleased);
  }

  /** The network changed: what there was may be gone. */
  changed(at: number): void {
    if (this.#isMapped) this.recheck(at);
    else this.#start(at);
  }

  recheck(at: number): void {
    for (const client of this.#clients) client.recheck(at);
  }

  release(at: number): void {
    this.#restUntil = undefined;
    for (const client of this.#clients) client.release(at);
  }

  datagram(channel: Channel, remote: Endpoint, bytes: Uint8Array, at: number): void {
    const { fault } = this.#options;
    if (channel === 'search') {
      this.#upnp?.found(remote, bytes, at);
      return;
    }
    if (remote.address !== this.uplink.gateway || remote.port !== pcpPort) {
      fault('not-the-gateway');
      return;
    }
    // Gateways tell of a restart in one tongue, perhaps not the one that they mapped in.
    if (channel === 'announcement') this.recheck(at);
    if (bytes[0] === 0) this.#natPmpDatagram(bytes, at);
    else this.#pcpDatagram(channel, bytes, at);
  }

  portClosed(): void {
    this.#pcp.absent('the port is closed');
    this.#natPmp?.absent('the port is closed');
  }

  httpAnswer(id: number, status: number, body: string, at: number): void {
    this.#upnp?.httpAnswer(id, status, body, at);
  }

  httpFailed(id: number, reason: string, at: number): void {
    this.#upnp?.httpFailed(id, reason, at);
  }

  wake(at: number, isEnding: boolean): void {
    if (this.#restUntil !== undefined && this.#restUntil <= at) this.#start(at);
    for (const client of this.#clients) client.wake(at);
    if (isEnding) return;
    this.#choose(at);
    for (const client of this.#clients) client.wake(at);
  }

  deadline(): number | undefined {
    const patience = this.#clients.flatMap(({ protocol, state }) =>
      state.kind === 'asking' ? [this.#startedAt + patienceMs[protocol]] : [],
    );
    const waiting = patience.filter((until) => until > this.#chosenAt);
    return earliest([
      this.#restUntil,
      ...waiting,
      ...this.#clients.map((client) => client.deadline()),
    ]);
  }

  report(at: number, isUsable: (external: Endpoint) => boolean): UplinkReport {
    const { local } = this.uplink;
    const mappings: MappingReport[] = [];
    const protocols: Partial<Record<Protocol, { state: string; reason?: string }>> = {};
    for (const { protocol, state } of this.#clients) {
      const reason = state.kind === 'absent' || state.kind === 'refused' ? state.reason : undefined;
      const product = protocol === 'upnp' ? this.#upnp?.product : undefined;
      protocols[protocol] = {
        state: state.kind,
        ...(reason === undefined ? {} : { reason }),
        ...(product === undefined ? {} : { product }),
      };
      if (state.kind !== 'mapped') continue;
      const { external, lifetimeSeconds, renewAt } = state.lease;
      mappings.push({
        ...{ protocol, external, lifetimeSeconds },
        internal: { address: local, port: this.#options.port },
        renewInSeconds: Math.max(0, Math.round((renewAt - at) / 1000)),
        usable: isUsable(external),
      });
    }
    return { ...this.uplink, protocols: protocols as UplinkReport['protocols'], mappings };
  }

  get #isMapped(): boolean {
    return this.#clients.some(({ state }) => state.kind === 'mapped');
  }

  #start(at: number): void {
    this.#startedAt = at;
    this.#restUntil = undefined;
    this.#wasMapped = false;
    for (const client of this.#clients) client.probe(at);
  }

  #choose(at: number): void {
    this.#chosenAt = at;
    if (this.#isMapped) {
      this.#wasMapped = true;
      this.#restUntil = undefined;
      return;
    }
    if (this.#wasMapped) this.#start(at);
    let isOver = true;
    for (const client of this.#clients) {
      const { protocol, state } = client;
      if (state.kind === 'found') {
        if (!state.mapping) client.map(at);
        return;
      }
      if (state.kind !== 'asking') continue;
      if (at < this.#startedAt + patienceMs[protocol]) return;
      isOver = false;
    }
    if (isOver) this.#restUntil ??= at + restMs;
  }

  #natPmpDatagram(bytes: Uint8Array, at: number): void {
    const response = decodeNatPmp(bytes);
    if (response === undefined) {
      this.#options.fault('nat-pmp-malformed');
      return;
    }
    // RFC 6886 §3.5: how a gateway of NAT-PMP alone answers PCP.
    if (response.result === 'unsupported-version')
      this.#pcp.absent('the gateway does not speak it');
    else this.#natPmp?.receive(response, at);
  }

  #pcpDatagram(channel: Channel, bytes: Uint8Array, at: number): void {
    const response = decodePcp(bytes);
    if (response === undefined) {
      this.#options.fault('pcp-malformed');
      return;
    }
    // And one of PCP alone NAT-PMP.
    if (response.result === 'unsupported-version') {
      this.#natPmp?.absent('the gateway does not speak it');
    } else if (channel === 'announcement') this.#pcp.announced(response, at);
    else this.#pcp.receive(response, at);
  }

  #control(bytes: Uint8Array): void {
    this.#send('control', { address: this.uplink.gateway, port: pcpPort }, bytes);
  }

  #send(channel: 'control' | 'search', remote: Endpoint, bytes: Uint8Array): void {
    const { key, emit } = this.#options;
    emit({ type: 'send', uplink: key, channel, remote, bytes });
  }

  #http(request: HttpRequest): number {
    const { key, emit, httpId } = this.#options;
    const id = httpId();
    emit({ type: 'http', id, uplink: key, ...request });
    return id;
  }

  /** Of device and port: known again after a crash, unknown to everybody else until it is used. */
  #nonce(): Uint8Array {
    const { crypto, nonceKey, port, uplink } = this.#options;
    const info = new TextEncoder().encode(`buri pcp nonce ${uplink.family} ${port}`);
    return crypto.hkdfSha256(nonceKey, new Uint8Array(), info, pcpNonceBytes);
  }
}
