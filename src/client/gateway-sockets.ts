import { createSocket, type Socket } from 'node:dgram';
import { type IncomingMessage, request } from 'node:http';
import type { Channel, PortMapInput, PortMapOutput, Uplink } from '#core/portmap/io.ts';
import { uplinkKey } from '#core/portmap/port-mapper.ts';
import { announcementPort, pcpPort } from '#wire/pcp.ts';

/** Descriptions of common routers have 5 to 30 KB. */
const maxBodyBytes = 65_536;
const maxHeaderBytes = 8192;
const httpTimeoutMs = 4000;
/** RFC 6886 §3.2.1, RFC 6887 §14.1.1. */
const announcementGroups = { 4: '224.0.0.1', 6: 'ff02::1' } as const;
/** UPnP Device Architecture 1.1 §1.3.2. */
const searchTtl = 2;

type Feed = (input: PortMapInput) => void;

/**
 * The sockets and requests towards one gateway, bound to the own address on its interface. The one of PCP and NAT-PMP is connected,
 * so that the system drops what others send and tells when the port is closed.
 */
export class GatewaySockets implements Disposable {
  readonly #uplink: Uplink;
  readonly #key: string;
  readonly #feed: Feed;
  readonly #sockets = new Set<Socket>();
  readonly #ending = new AbortController();
  #control: Socket | undefined;
  #search: Socket | undefined;
  #waiting: Uint8Array[] = [];
  #isConnected = false;

  constructor(uplink: Uplink, feed: Feed) {
    this.#uplink = uplink;
    this.#key = uplinkKey(uplink);
    this.#feed = (input) => {
      if (!this.#ending.signal.aborted) feed(input);
    };
    this.#openControl();
    this.#openAnnouncements();
    if (uplink.family === 4) this.#openSearch();
  }

  send(output: PortMapOutput & { readonly type: 'send' }): void {
    const { channel, bytes, remote } = output;
    if (channel === 'search') {
      this.#search?.send(bytes, remote.port, remote.address, ignore);
    } else if (this.#isConnected) this.#control?.send(bytes, this.#sent);
    else if (this.#waiting.length < 8) this.#waiting.push(bytes);
  }

  /** To the gateway itself and nobody else, whatever the machine above says: no redirects, no proxy, bounded in size and time. */
  http(output: PortMapOutput & { readonly type: 'http' }): void {
    const { id, target, headers, body } = output;
    const failed = (reason: string) => this.#feed({ type: 'http-failed', id, reason });
    if (target.address !== this.#uplink.gateway) {
      queueMicrotask(() => failed('another machine'));
      return;
    }
    const signal = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(httpTimeoutMs)]);
    const outgoing = request({
      ...{ host: target.address, port: target.port, path: target.path },
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...headers,
        ...(body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }),
        Connection: 'close',
      },
      ...{ agent: false, maxHeaderSize: maxHeaderBytes, signal },
      localAddress: this.#uplink.local,
    });
    outgoing.on('error', () => failed('the HTTP request failed'));
    outgoing.on('response', (response) => this.#read(id, response));
    outgoing.end(body);
  }

  [Symbol.dispose](): void {
    this.#ending.abort();
    for (const socket of this.#sockets) socket.close();
    this.#sockets.clear();
  }

  /** An answer that is too long or breaks off is none. */
  #read(id: number, response: IncomingMessage): void {
    const chunks: Buffer[] = [];
    let length = 0;
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBodyBytes) response.destroy(new Error('too long'));
      else chunks.push(chunk);
    });
    response.on('error', () => {
      this.#feed({ type: 'http-failed', id, reason: 'the HTTP answer is too long or broke off' });
    });
    response.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      this.#feed({ type: 'http-answer', id, status: response.statusCode ?? 0, body });
    });
  }

  /** A connected socket tells of ICMP's 'port unreachable', when it receives or sends the next time. */
  readonly #sent = (error: NodeJS.ErrnoException | null): void => {
    if (error?.code === 'ECONNREFUSED') this.#feed({ type: 'port-closed', uplink: this.#key });
  };

  #openControl(): void {
    const { local, family } = this.#uplink;
    const socket = this.#open('control', false);
    this.#control = socket;
    socket.bind({ address: local, exclusive: true }, () => {
      const gateway = family === 6 ? this.#scoped(this.#uplink.gateway) : this.#uplink.gateway;
      socket.connect(pcpPort, gateway, (error?: Error) => {
        if (error !== undefined) return;
        this.#isConnected = true;
        for (const bytes of this.#waiting.splice(0)) socket.send(bytes, this.#sent);
      });
    });
    socket.on('error', this.#sent);
  }

  #openSearch(): void {
    const { local } = this.#uplink;
    const socket = this.#open('search', false);
    this.#search = socket;
    socket.bind({ address: local, exclusive: true }, () => {
      // The route of multicast leads to the members, not to the LAN.
      attempt(() => socket.setMulticastInterface(local));
      attempt(() => socket.setMulticastTTL(searchTtl));
      attempt(() => socket.setMulticastLoopback(false));
    });
  }

  /** Shared with whoever else listens on this machine; without it a restart of the gateway is noticed later. */
  #openAnnouncements(): void {
    const { family, local } = this.#uplink;
    const socket = this.#open('announcement', true);
    const via = family === 6 ? this.#scoped('::') : local;
    const group = announcementGroups[family];
    socket.bind({ port: announcementPort, exclusive: true }, () => {
      attempt(() => socket.addMembership(group, via));
    });
  }

  #open(channel: Channel, reuseAddr: boolean): Socket {
    const type = this.#uplink.family === 4 ? 'udp4' : 'udp6';
    const socket = createSocket({ type, reuseAddr, ipv6Only: type === 'udp6' });
    this.#sockets.add(socket);
    socket.unref();
    socket.on('error', () => {});
    socket.on('message', (bytes, { address, port }) => {
      const remote = { address: canonical(address), port };
      this.#feed({ type: 'datagram', uplink: this.#key, channel, remote, bytes });
    });
    return socket;
  }

  #scoped(address: string): string {
    return `${address}%${this.#uplink.interface}`;
  }
}

/** Without zone, as the machine knows it. */
function canonical(address: string): string {
  const [bare = ''] = address.split('%');
  return bare.includes('.') && bare.startsWith('::ffff:') ? bare.slice(7) : bare;
}

/** What cannot be sent is lost, as on the wire. */
const ignore = () => {};

function attempt(action: () => void): void {
  try {
    action();
  } catch {
    // The interface is on its way out; a change of the network follows.
  }
}
