import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import type { HandshakeState, KeyPair } from '#core/noise/handshake-state.ts';
import type { Path } from '#core/path/path.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import { compareTai64n } from '#wire/tai64n.ts';
import {
  type CookieReply,
  encodeInitiation,
  encodeResponse,
  type Response,
} from '#wire/wireguard.ts';
import { CookieHolder } from './cookie.ts';
import {
  maximumPskCandidates,
  type PeerSettings,
  type SessionActivity,
  type SessionCounterName,
  type SessionDrop,
  type SessionOutput,
} from './events.ts';
import { finishInitiation, respond, type SessionKeys, startInitiation } from './handshake.ts';
import { Keypairs, type Session } from './keypairs.ts';
import { PeerTimers } from './timers.ts';
import type { SessionTimes } from './times.ts';

/** What the tunnels of all peers share. */
export interface TunnelContext {
  readonly crypto: Crypto;
  readonly local: KeyPair;
  readonly times: SessionTimes;
  emit(output: SessionOutput): void;
  count(name: SessionCounterName): void;
  /** A random index that nobody uses; messages that carry it find this peer. */
  allocateIndex(peer: number): number;
  releaseIndex(index: number): void;
  /** Later than every timestamp sent before. */
  nextTimestamp(now: Now): Uint8Array;
}

/**
 * Our own handshake with a peer.
 *
 *     none ──want, rekey──► waiting (no path, or the last initiation is too young)
 *      ▲ │                     │ path, time
 *      │ └──────────────► initiating ◄─┐ retransmission, with another index and key
 *      │                       ├───────┘
 *      └── response, confirmed session, 90 s
 */
type Attempt =
  | { readonly kind: 'none' }
  | { readonly kind: 'waiting' }
  | {
      readonly kind: 'initiating';
      readonly startedAt: MonotonicMs;
      readonly localIndex: number;
      readonly state: HandshakeState;
      /** Responses that no candidate opened; a bound on what forgeries cost. */
      readonly refused: number;
    };

/** Another path may be initiated on so soon after the last initiation: many round trips, lest an answer under way be missed. */
const pathInitiationGapMs = 500;
/** 20 initiations of a peer per second are answered. */
const minimumInitiationGapMs = 50;
const maximumRefusedResponses = 4;

/** Handshakes, keypairs and timers of one peer: WireGuard's rules (whitepaper §6). */
export class PeerTunnel {
  readonly peer: number;
  readonly publicKey: Uint8Array;
  readonly #context: TunnelContext;
  readonly #cookies: CookieHolder;
  readonly #timers: PeerTimers;
  readonly #keypairs: Keypairs;
  #settings: PeerSettings;
  #attempt: Attempt = { kind: 'none' };
  #rekeyedOnReceive = false;
  #initiationSentAt: MonotonicMs | undefined;
  #initiationReceivedAt: MonotonicMs | undefined;
  #latestTimestamp: Uint8Array | undefined;

  constructor(
    context: TunnelContext,
    peer: number,
    publicKey: Uint8Array,
    settings: PeerSettings,
    now: Now,
  ) {
    this.#context = context;
    this.peer = peer;
    this.publicKey = publicKey.slice();
    this.#cookies = new CookieHolder(
      context.crypto,
      this.publicKey,
      context.times.cookieLifetimeMs,
    );
    this.#timers = new PeerTimers(context.crypto, context.times);
    this.#keypairs = new Keypairs(({ localIndex }) => {
      context.releaseIndex(localIndex);
      context.emit({ kind: 'remove-keys', peer, localIndex });
    });
    this.#settings = checked(settings);
    this.#timers.setPersistentKeepalive(settings.persistentKeepaliveMs, now.monotonic);
  }

  get isUp(): boolean {
    return this.#keypairs.current !== undefined;
  }

  /** When `tick` has something to do. */
  deadline(): MonotonicMs | undefined {
    const timer = this.#timers.deadline();
    const { oldest } = this.#keypairs;
    if (oldest === undefined) return timer;
    const expiry = after(oldest, this.#context.times.rejectAfterMs);
    return timer === undefined || expiry < timer ? expiry : timer;
  }

  update(change: Partial<PeerSettings>, now: Now): void {
    this.#settings = checked({ ...this.#settings, ...change });
    if (change.persistentKeepaliveMs !== undefined) {
      this.#timers.setPersistentKeepalive(change.persistentKeepaliveMs, now.monotonic);
    }
    if (change.pathAvailable === true) this.#pathChanged(now);
  }

  /** Packets wait for keys: no effect while there are some, or a handshake runs. */
  want(now: Now): void {
    if (!this.isUp) this.rekey(now);
  }

  /** Starts a handshake unless one runs. */
  rekey(now: Now): void {
    if (this.#attempt.kind !== 'none' || this.#settings.pskCandidates.length === 0) return;
    this.#attempt = { kind: 'waiting' };
    this.#tryInitiating(now);
  }

  /** Sending under these keys passed their limit. */
  rekeyLimit(localIndex: number, now: Now): void {
    if (localIndex === this.#keypairs.current?.localIndex) this.rekey(now);
  }

  /** Answers an initiation that authenticated as this peer's, or tells why not. */
  answer(
    initiation: {
      readonly state: HandshakeState;
      readonly timestamp: Uint8Array;
      readonly senderIndex: number;
    },
    from: Path,
    now: Now,
  ): SessionDrop | undefined {
    const { count, emit } = this.#context;
    const { timestamp, senderIndex: receiverIndex } = initiation;
    const drop = this.#refusal(timestamp, now.monotonic);
    if (drop !== undefined) return drop;
    const { psk, suite } = this.#settings.pskCandidates[0]!;
    const response = respond(initiation.state, psk);
    if (response === undefined) return 'drop-forged';
    this.#latestTimestamp = timestamp.slice();
    this.#initiationReceivedAt = now.monotonic;
    this.#timers.received(now.monotonic);
    emit({ kind: 'heard', peer: this.peer, from });

    const localIndex = this.#context.allocateIndex(this.peer);
    const createdAt = now.monotonic;
    const session: Session = { localIndex, role: 'responder', suite, pskIndex: 0, createdAt };
    this.#keypairs.addResponded(session);
    this.#install(session, receiverIndex, response.keys);
    const bytes = encodeResponse({ senderIndex: localIndex, receiverIndex, noise: response.noise });
    this.#cookies.addMacs(bytes, now.monotonic);
    this.#timers.sent(now.monotonic);
    count('responses-sent');
    emit({ kind: 'send-datagram', peer: this.peer, bytes, to: from });
    return undefined;
  }

  /** A response to one of our initiations; tells why it was dropped. */
  response(message: Response, from: Path, now: Now): SessionDrop | undefined {
    const { emit } = this.#context;
    const attempt = this.#attempt;
    if (attempt.kind !== 'initiating' || attempt.localIndex !== message.receiverIndex) {
      return 'drop-unknown-index';
    }
    if (attempt.refused >= maximumRefusedResponses) return 'drop-forged';
    const candidates = this.#settings.pskCandidates;
    const psks = candidates.map(({ psk }) => psk);
    const finished = finishInitiation(attempt.state, psks, message.noise);
    if (finished === undefined) {
      this.#attempt = { ...attempt, refused: attempt.refused + 1 };
      if (attempt.refused === 0) {
        emit({ kind: 'handshake-failed', peer: this.peer, reason: 'psk-mismatch' });
      }
      return 'drop-psk-mismatch';
    }
    const { localIndex } = attempt;
    const { keys, pskIndex } = finished;
    const { suite } = candidates[pskIndex]!;
    const createdAt = now.monotonic;
    const session: Session = { localIndex, role: 'initiator', suite, pskIndex, createdAt };
    const isRekey = this.isUp;
    attempt.state.erase();
    this.#attempt = { kind: 'none' };
    emit({ kind: 'heard', peer: this.peer, from });
    this.#install(session, message.senderIndex, keys);
    this.#keypairs.addInitiated(session);
    this.#timers.received(now.monotonic);
    this.#begin(session, isRekey);
    emit({ kind: 'send-keepalive', peer: this.peer });
    return undefined;
  }

  /** A cookie for our next handshake message. False when it is not the answer to the last one. */
  cookie(reply: CookieReply, now: Now): boolean {
    return this.#cookies.accept(reply, now.monotonic);
  }

  /** A packet under these keys authenticated: if it is the first under our response's, they send from now on. */
  confirmed(localIndex: number, now: Now): void {
    const isRekey = this.isUp;
    const session = this.#keypairs.confirm(localIndex);
    if (session === undefined) return;
    this.#endAttempt();
    this.#timers.received(now.monotonic);
    this.#begin(session, isRekey);
  }

  /**
   * The order of what happened within a report is unknown. Taking what arrived for the later arms a keepalive that may
   * not be owed and costs a packet; the other way round a handshake would start.
   */
  activity(activity: SessionActivity, now: Now): void {
    const { sentData, sentKeepalive, receivedData, receivedKeepalive } = activity;
    const hasSent = sentData || sentKeepalive;
    const hasReceived = receivedData || receivedKeepalive;
    if (hasReceived) this.confirmed(activity.localIndex, now);
    if (hasSent) this.#timers.sent(now.monotonic);
    if (sentData) this.#timers.sentData(now.monotonic);
    if (hasReceived) this.#timers.received(now.monotonic);
    if (receivedData) this.#timers.receivedData(now.monotonic);
    if (hasSent) this.#keepFreshSending(now);
    if (hasReceived) this.#keepFreshReceiving(now);
  }

  tick(now: Now): void {
    const wasUp = this.isUp;
    this.#keypairs.dropExpired(this.#context.times.rejectAfterMs, now.monotonic);
    if (wasUp && !this.isUp) this.#wentDown('expired');
    const isDue = (name: Parameters<PeerTimers['takeDue']>[0]) =>
      this.#timers.takeDue(name, now.monotonic);
    if (isDue('retransmit')) this.#retransmit(now);
    if (isDue('keepalive')) this.#sendKeepalive();
    if (isDue('newHandshake')) this.rekey(now);
    if (isDue('persistentKeepalive')) {
      this.#timers.traversed(now.monotonic);
      if (this.isUp) this.#sendKeepalive();
      else this.want(now);
    }
  }

  /** Erases everything, for good. */
  remove(): void {
    const wasUp = this.isUp;
    this.#keypairs.dropAll();
    this.#endAttempt();
    this.#cookies.erase();
    if (wasUp) this.#wentDown('removed');
  }

  #refusal(timestamp: Uint8Array, now: MonotonicMs): SessionDrop | undefined {
    if (this.#settings.pskCandidates.length === 0) return 'drop-no-psk';
    const latest = this.#latestTimestamp;
    if (latest !== undefined && compareTai64n(timestamp, latest) <= 0) return 'drop-replayed';
    const last = this.#initiationReceivedAt;
    if (last !== undefined && now - last < minimumInitiationGapMs) return 'drop-peer-rate';
    return undefined;
  }

  #tryInitiating(now: Now): void {
    if (!this.#settings.pathAvailable) return;
    const { rekeyTimeoutMs } = this.#context.times;
    const last = this.#initiationSentAt;
    const earliest = last === undefined ? now.monotonic : after(last, rekeyTimeoutMs);
    if (now.monotonic < earliest) this.#timers.retransmitAt(earliest);
    else this.#initiate(now.monotonic, now);
  }

  /** What was sent before may have gone nowhere: an initiation of ours goes by the new path, without waiting its time out. */
  #pathChanged(now: Now): void {
    const attempt = this.#attempt;
    if (attempt.kind === 'none') return;
    const last = this.#initiationSentAt;
    const earliest = last === undefined ? now.monotonic : after(last, pathInitiationGapMs);
    const startedAt = attempt.kind === 'initiating' ? attempt.startedAt : now.monotonic;
    if (now.monotonic < earliest) this.#timers.retransmitAt(earliest);
    else this.#initiate(startedAt, now);
  }

  #initiate(startedAt: MonotonicMs, now: Now): void {
    const { crypto, local, count, emit } = this.#context;
    this.#endAttempt();
    const timestamp = this.#context.nextTimestamp(now);
    const started = startInitiation(crypto, local, this.publicKey, timestamp);
    assert(started !== undefined, 'the key of a peer was checked when it was added');
    const localIndex = this.#context.allocateIndex(this.peer);
    const { state, noise } = started;
    this.#attempt = { kind: 'initiating', startedAt, localIndex, state, refused: 0 };
    const bytes = encodeInitiation({ senderIndex: localIndex, noise });
    this.#cookies.addMacs(bytes, now.monotonic);
    this.#initiationSentAt = now.monotonic;
    this.#timers.sentInitiation(now.monotonic);
    count('initiations-sent');
    emit({ kind: 'send-datagram', peer: this.peer, bytes, to: 'current-path' });
  }

  #retransmit(now: Now): void {
    const attempt = this.#attempt;
    // Its time has come.
    if (attempt.kind === 'waiting' && this.#settings.pathAvailable) {
      this.#initiate(now.monotonic, now);
    }
    if (attempt.kind !== 'initiating') return;
    if (now.monotonic - attempt.startedAt >= this.#context.times.rekeyAttemptMs) {
      this.#endAttempt();
      this.#context.count('no-answer');
      this.#context.emit({ kind: 'handshake-failed', peer: this.peer, reason: 'no-answer' });
    } else if (this.#settings.pathAvailable) this.#initiate(attempt.startedAt, now);
    else {
      this.#endAttempt();
      this.#attempt = { kind: 'waiting' };
    }
  }

  /** Forgets our handshake and its ephemeral key. */
  #endAttempt(): void {
    this.#timers.stopRetransmitting();
    if (this.#attempt.kind === 'initiating') {
      this.#attempt.state.erase();
      this.#context.releaseIndex(this.#attempt.localIndex);
    }
    this.#attempt = { kind: 'none' };
  }

  #install({ localIndex, suite }: Session, remoteIndex: number, keys: SessionKeys): void {
    const installed = { peer: this.peer, suite, localIndex, remoteIndex, ...keys };
    this.#context.emit({ kind: 'install-keys', keys: installed });
  }

  /** Sends under this session from now on. */
  #begin({ localIndex, role, suite, pskIndex }: Session, isRekey: boolean): void {
    const { count, emit } = this.#context;
    const { peer } = this;
    this.#rekeyedOnReceive = false;
    this.#timers.stopRetransmitting();
    count('sessions');
    emit({ kind: 'activate-keys', peer, localIndex });
    emit({ kind: 'session-up', peer, role, localIndex, suite, pskIndex, isRekey });
  }

  #wentDown(reason: 'expired' | 'removed'): void {
    this.#timers.sessionEnded();
    this.#context.emit({ kind: 'session-down', peer: this.peer, reason });
  }

  #keepFreshSending(now: Now): void {
    const { current } = this.#keypairs;
    if (current?.role !== 'initiator') return;
    if (now.monotonic - current.createdAt >= this.#context.times.rekeyAfterMs) this.rekey(now);
  }

  /** Who only receives must renew as well, while there is still time for an answer. */
  #keepFreshReceiving(now: Now): void {
    const { current } = this.#keypairs;
    if (current?.role !== 'initiator' || this.#rekeyedOnReceive) return;
    const lastMomentMs = this.#context.times.rejectAfterMs - this.#timers.silenceMs;
    if (now.monotonic - current.createdAt < lastMomentMs) return;
    this.#rekeyedOnReceive = true;
    this.rekey(now);
  }

  #sendKeepalive(): void {
    if (this.isUp) this.#context.emit({ kind: 'send-keepalive', peer: this.peer });
  }
}

function checked(settings: PeerSettings): PeerSettings {
  const { pskCandidates, persistentKeepaliveMs } = settings;
  assert(pskCandidates.length <= maximumPskCandidates, 'a peer has at most 4 psk candidates');
  for (const { psk } of pskCandidates) assert(psk.length === 32, 'a pre-shared key has 32 bytes');
  assert(persistentKeepaliveMs >= 0, 'an interval is not negative');
  return settings;
}
