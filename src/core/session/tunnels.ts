import { hex, sameBytes } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import type { Path } from '#core/path/path.ts';
import type { MonotonicMs, Now } from '#core/time.ts';
import { addNanoseconds, compareTai64n, encodeTai64n, tai64nLengthBytes } from '#wire/tai64n.ts';
import { decodeCookieReply, decodeInitiation, decodeResponse } from '#wire/wireguard.ts';
import { CookieChecker } from './cookie.ts';
import { Deadlines } from './deadlines.ts';
import {
  type SessionCounterName,
  type SessionDrop,
  type SessionInput,
  type SessionOutput,
  sessionCounterNames,
} from './events.ts';
import { readInitiation } from './handshake.ts';
import { handshakesPerSecond, LoadMeter, SourceLimiter, sourceBytes } from './load.ts';
import { PeerTunnel, type TunnelContext } from './peer-tunnel.ts';
import { type SessionTimes, wireguardTimes } from './times.ts';

export interface TunnelsOptions {
  readonly crypto: Crypto;
  /** Our tunnel key. */
  readonly keyPair: KeyPair;
  /** The last `persist-timestamp` of an earlier run. */
  readonly lastTimestamp?: Uint8Array;
  readonly times?: SessionTimes;
  /** Handshake messages a second beyond which cookies are asked for. */
  readonly handshakesPerSecond?: number;
}

export const maximumPeers = 65_536;
/** A driver polls until there is nothing more after every input; one input never makes more than this. */
const maximumOutputs = 4 * maximumPeers;
/** Timestamps are reserved this far ahead, so that not every handshake writes to disk. */
const reservedNanoseconds = 60_000_000_000;

/**
 * The tunnels of a client with all its peers: handshakes, keypairs, cookies and timers of WireGuard, without input or
 * output of its own. Feed `handle`, then `poll` until undefined, and come back with `{ kind: 'tick' }` at `deadline()`.
 *
 * Keys leave once, in `install-keys`; nothing of them stays here. They are removed 180 s after they were made.
 */
export class Tunnels {
  readonly #crypto: Crypto;
  readonly #keyPair: KeyPair;
  readonly #context: TunnelContext;
  readonly #checker: CookieChecker;
  readonly #load: LoadMeter;
  readonly #limiter = new SourceLimiter();
  readonly #peers = new Map<number, PeerTunnel>();
  readonly #byKey = new Map<string, PeerTunnel>();
  /** Local index of every handshake and keypair. */
  readonly #byIndex = new Map<number, number>();
  readonly #deadlines = new Deadlines();
  readonly #counters: Record<SessionCounterName, number>;
  #outputs: SessionOutput[] = [];
  #polled = 0;
  #lastTimestamp: Uint8Array;
  #reservedTimestamp: Uint8Array;

  constructor(options: TunnelsOptions) {
    const { crypto, keyPair, times = wireguardTimes } = options;
    this.#crypto = crypto;
    this.#keyPair = keyPair;
    this.#checker = new CookieChecker(crypto, keyPair.publicKey, times.cookieLifetimeMs);
    this.#load = new LoadMeter(options.handshakesPerSecond ?? handshakesPerSecond);
    this.#counters = Object.fromEntries(sessionCounterNames.map((name) => [name, 0])) as Record<
      SessionCounterName,
      number
    >;
    this.#lastTimestamp = options.lastTimestamp ?? encodeTai64n(0);
    assert(this.#lastTimestamp.length === tai64nLengthBytes, 'a timestamp has 12 bytes');
    this.#reservedTimestamp = this.#lastTimestamp;
    this.#context = {
      crypto,
      local: keyPair,
      times,
      emit: (output) => this.#emit(output),
      count: (name) => this.#count(name),
      allocateIndex: (peer) => this.#allocateIndex(peer),
      releaseIndex: (index) => this.#byIndex.delete(index),
      nextTimestamp: (now) => this.#nextTimestamp(now),
    };
  }

  /** Why a datagram had no effect, if it is one and had none; it is counted as well. */
  handle(input: SessionInput, now: Now): SessionDrop | undefined {
    switch (input.kind) {
      case 'add-peer':
        this.#addPeer(input, now);
        break;
      case 'update-peer': {
        const { kind: _, peer, ...change } = input;
        this.#with(peer, (tunnel) => tunnel.update(change, now));
        break;
      }
      case 'remove-peer':
        this.#removePeer(input.peer);
        break;
      case 'want-session':
        this.#with(input.peer, (tunnel) => tunnel.want(now));
        break;
      case 'rekey':
        this.#with(input.peer, (tunnel) => tunnel.rekey(now));
        break;
      case 'datagram': {
        const drop = this.#datagram(input, now);
        if (drop !== undefined) this.#count(drop);
        return drop;
      }
      case 'activity':
        this.#with(input.activity.peer, (tunnel) => tunnel.activity(input.activity, now));
        break;
      case 'confirmed':
        this.#with(input.peer, (tunnel) => tunnel.confirmed(input.localIndex, now));
        break;
      case 'rekey-limit':
        this.#with(input.peer, (tunnel) => tunnel.rekeyLimit(input.localIndex, now));
        break;
      case 'tick':
        this.#tick(now);
        break;
      default:
        input satisfies never;
    }
    return undefined;
  }

  /** The next thing to do, oldest first. */
  poll(): SessionOutput | undefined {
    const output = this.#outputs[this.#polled];
    if (output !== undefined) {
      this.#polled++;
      return output;
    }
    this.#outputs = [];
    this.#polled = 0;
    return undefined;
  }

  /** When to come back with a tick; undefined for never. */
  deadline(): MonotonicMs | undefined {
    return this.#deadlines.next;
  }

  /** Whether the peer has keys to send with. */
  isUp(peer: number): boolean {
    return this.#peers.get(peer)?.isUp ?? false;
  }

  counters(): Readonly<Record<SessionCounterName, number>> {
    return { ...this.#counters };
  }

  #addPeer(input: SessionInput & { readonly kind: 'add-peer' }, now: Now): void {
    const { peer, publicKey } = input;
    assert(!this.#peers.has(peer), 'a peer is added once');
    assert(this.#peers.size < maximumPeers, 'peers are bounded');
    const isOwn = sameBytes(publicKey, this.#keyPair.publicKey);
    if (isOwn || this.#byKey.has(hex(publicKey)) || !this.#isUsable(publicKey)) {
      this.#emit({ kind: 'handshake-failed', peer, reason: 'bad-key' });
      return;
    }
    const { pskCandidates, pathAvailable = false, persistentKeepaliveMs = 0 } = input;
    const settings = { pskCandidates, pathAvailable, persistentKeepaliveMs };
    const tunnel = new PeerTunnel(this.#context, peer, publicKey, settings, now);
    this.#peers.set(peer, tunnel);
    this.#byKey.set(hex(publicKey), tunnel);
    this.#deadlines.set(peer, tunnel.deadline());
  }

  /** A low-order point would make a handshake that anybody can finish. */
  #isUsable(publicKey: Uint8Array): boolean {
    if (publicKey.length !== 32) return false;
    const shared = this.#crypto.x25519(this.#keyPair.privateKey, publicKey);
    shared?.fill(0);
    return shared !== undefined;
  }

  #removePeer(peer: number): void {
    const tunnel = this.#peers.get(peer);
    if (tunnel === undefined) return;
    tunnel.remove();
    this.#peers.delete(peer);
    this.#byKey.delete(hex(tunnel.publicKey));
    this.#deadlines.set(peer, undefined);
  }

  #with<T>(peer: number, use: (tunnel: PeerTunnel) => T): T | undefined {
    const tunnel = this.#peers.get(peer);
    if (tunnel === undefined) return undefined;
    const result = use(tunnel);
    this.#deadlines.set(peer, tunnel.deadline());
    return result;
  }

  #tick(now: Now): void {
    // Each peer once: a deadline that a tick leaves in the past must not keep us here.
    const due: number[] = [];
    for (;;) {
      const peer = this.#deadlines.takeDue(now.monotonic);
      if (peer === undefined) break;
      due.push(peer);
    }
    for (const peer of due) this.#with(peer, (tunnel) => tunnel.tick(now));
  }

  #datagram(
    { datagram, bytes, from }: SessionInput & { readonly kind: 'datagram' },
    now: Now,
  ): SessionDrop | undefined {
    if (datagram === 'handshake-initiation') return this.#initiation(bytes, from, now);
    if (datagram === 'handshake-response') return this.#response(bytes, from, now);
    return this.#cookieReply(bytes, now);
  }

  #initiation(bytes: Uint8Array, from: Path, now: Now): SessionDrop | undefined {
    const message = decodeInitiation(bytes);
    if (message === undefined) return 'drop-malformed';
    const { senderIndex } = message;
    const refusal = this.#refusal(bytes, senderIndex, from, now);
    if (refusal !== undefined) return refusal;
    this.#count('initiations-received');
    const read = readInitiation(this.#crypto, this.#keyPair, message.noise);
    if (read === undefined) return 'drop-forged';
    const peer = this.#byKey.get(hex(read.remoteStatic))?.peer;
    const drop =
      peer === undefined
        ? 'drop-unknown-peer'
        : this.#with(peer, (tunnel) => tunnel.answer({ ...read, senderIndex }, from, now));
    if (drop !== undefined) read.state.erase();
    return drop;
  }

  #response(bytes: Uint8Array, from: Path, now: Now): SessionDrop | undefined {
    const message = decodeResponse(bytes);
    if (message === undefined) return 'drop-malformed';
    const refusal = this.#refusal(bytes, message.senderIndex, from, now);
    if (refusal !== undefined) return refusal;
    this.#count('responses-received');
    const peer = this.#byIndex.get(message.receiverIndex);
    if (peer === undefined) return 'drop-unknown-index';
    return this.#with(peer, (tunnel) => tunnel.response(message, from, now));
  }

  #cookieReply(bytes: Uint8Array, now: Now): SessionDrop | undefined {
    const message = decodeCookieReply(bytes);
    if (message === undefined) return 'drop-malformed';
    const peer = this.#byIndex.get(message.receiverIndex);
    if (peer === undefined) return 'drop-unknown-index';
    if (!this.#peers.get(peer)!.cookie(message, now)) return 'drop-cookie';
    this.#count('cookies-received');
    return undefined;
  }

  /** Why a handshake message is not worth the Diffie-Hellmans: mac1 always; under load mac2 and a rate per source. */
  #refusal(bytes: Uint8Array, sender: number, from: Path, now: Now): SessionDrop | undefined {
    const { monotonic } = now;
    if (!this.#checker.isMac1Valid(bytes)) return 'drop-mac1';
    if (!this.#load.count(monotonic)) return undefined;
    const source = sourceBytes(from);
    if (this.#checker.isMac2Valid(bytes, source, monotonic)) {
      return this.#limiter.allow(from, monotonic) ? undefined : 'drop-source-rate';
    }
    this.#count('cookies-sent');
    const reply = this.#checker.reply(bytes, sender, source, monotonic);
    this.#emit({ kind: 'send-datagram', peer: undefined, bytes: reply, to: from });
    return 'drop-mac2';
  }

  /** max(wall clock, last sent + 1), so that a clock set back never mutes us. */
  #nextTimestamp(now: Now): Uint8Array {
    const wall = encodeTai64n(now.wall);
    const next = addNanoseconds(this.#lastTimestamp, 1);
    this.#lastTimestamp = compareTai64n(wall, next) > 0 ? wall : next;
    if (compareTai64n(this.#lastTimestamp, this.#reservedTimestamp) > 0) {
      this.#reservedTimestamp = addNanoseconds(this.#lastTimestamp, reservedNanoseconds);
      this.#emit({ kind: 'persist-timestamp', timestamp: this.#reservedTimestamp });
    }
    return this.#lastTimestamp;
  }

  #allocateIndex(peer: number): number {
    for (;;) {
      const random = this.#crypto.random(4);
      const index = new DataView(random.buffer, random.byteOffset).getUint32(0, true);
      if (this.#byIndex.has(index)) continue;
      this.#byIndex.set(index, peer);
      return index;
    }
  }

  #emit(output: SessionOutput): void {
    assert(this.#outputs.length < maximumOutputs, 'outputs are polled after every input');
    this.#outputs.push(output);
  }

  #count(name: SessionCounterName): void {
    this.#counters[name]++;
  }
}
