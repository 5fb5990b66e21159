import { type Endpoint, formatEndpoint, parseEndpoint } from '#wire/endpoint.ts';
import { relayType } from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { messageKind } from '#wire/wireguard.ts';
import type { Crypto } from '../crypto.ts';
import { pathOver } from '../path/relay-path.ts';
import type { RelaysInput, RelaysOutput } from '../relay/io.ts';
import { Relays } from '../relay/relays.ts';
import type { MonotonicMs, Now } from '../time.ts';
import type { MemberOutput } from './io.ts';
import type { PeerManager } from './peer-manager.ts';
import type { Signalling } from './signalling.ts';

export interface MemberRelaysOptions {
  readonly crypto: Crypto;
  readonly manager: PeerManager;
  readonly signalling: Signalling;
  readonly emit: (output: MemberOutput) => void;
  /** The server's list, with its addresses resolved. */
  readonly listed: (relays: readonly RelayEntry[], now: Now) => void;
  /** What peers are told has changed. */
  readonly announced: (now: Now) => void;
}

/** The relays of a member, and what passes between them, its paths and its tunnels. */
export class MemberRelays {
  readonly relays: Relays;
  readonly #options: MemberRelaysOptions;
  readonly #waiting: RelaysInput[] = [];
  #isBusy = false;

  constructor(options: MemberRelaysOptions) {
    this.#options = options;
    this.relays = new Relays(options.crypto);
  }

  /** An input may come while the outputs of another one are passed on: then it is taken after these. */
  handle(input: RelaysInput, now: Now): void {
    this.#waiting.push(input);
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.relays.handle(next, now);
      this.#pump(now);
    }
    this.#isBusy = false;
  }

  /**
   * The list of the server; an unspecified address in it means: where we logged in. That may be known by name only, which the
   * proxy that looked it up looks up again for WebSockets.
   */
  list(
    entries: readonly RelayEntry[],
    serverAddress: string | undefined,
    now: Now,
    serverName?: string,
  ): void {
    const relays = entries.map((entry) => ({
      ...entry,
      udp: entry.udp.flatMap((text) => resolvedEndpoint(text, serverAddress) ?? []),
      ws: entry.ws.flatMap((url) => resolvedUrl(url, serverAddress ?? serverName) ?? []),
    }));
    this.#options.listed(relays, now);
    this.handle({ type: 'relays', relays }, now);
  }

  /** False when the datagram is none of relays. */
  datagram(bytes: Uint8Array, socket: number, remote: Endpoint, now: Now): boolean {
    if (relayType(bytes) === undefined) return false;
    this.handle({ type: 'datagram', bytes, socket, remote }, now);
    return true;
  }

  deadline(): MonotonicMs | undefined {
    return this.relays.deadline();
  }

  #pump(now: Now): void {
    const { emit, manager, signalling, announced } = this.#options;
    let isChanged = false;
    for (let out = this.relays.poll(); out !== undefined; out = this.relays.poll()) {
      switch (out.type) {
        case 'send': {
          const { socket, remote, bytes } = out;
          emit({ type: 'datagram', socket, remote, bytes });
          break;
        }
        case 'up':
        case 'down':
          isChanged = true;
          break;
        case 'announced':
          signalling.setRelays(this.relays.candidates);
          announced(now);
          break;
        case 'bridge-wanted':
        case 'bridge-unwanted':
          emit(out);
          break;
        case 'delivered':
          this.#delivered(out, now);
          break;
        default:
          out satisfies never;
      }
    }
    if (isChanged) manager.paths({ type: 'relays', relays: this.relays.ways }, now);
  }

  /** Unwrapped: from here on it is as if it had come directly, but from the relay's header towards its sender. */
  #delivered({ way, from, bytes }: RelaysOutput & { readonly type: 'delivered' }, now: Now): void {
    const { manager } = this.#options;
    const kind = messageKind(bytes);
    const path = pathOver(way, from);
    if (kind !== undefined && kind !== 'transport') {
      manager.tunnels({ kind: 'datagram', datagram: kind, bytes, from: path }, now);
      return;
    }
    const { socket, remote } = path;
    const over = { relay: way.relay, from };
    if (kind === undefined) manager.paths({ type: 'datagram', bytes, socket, remote, over }, now);
  }
}

function resolvedEndpoint(text: string, serverAddress: string | undefined): string | undefined {
  const endpoint = parseEndpoint(text);
  if (endpoint === undefined) return undefined;
  if (endpoint.address !== '0.0.0.0' && endpoint.address !== '::') return text;
  return serverAddress && formatEndpoint({ ...endpoint, address: serverAddress });
}

function resolvedUrl(url: string, server: string | undefined): string | undefined {
  const match = /^(wss?:\/\/)(?:0\.0\.0\.0|\[::\])(.*)$/.exec(url);
  if (match === null) return url;
  const host = server?.includes(':') === true ? `[${server}]` : server;
  return host && `${match[1]}${host}${match[2]}`;
}
