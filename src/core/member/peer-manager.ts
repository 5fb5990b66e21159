import type { Candidate, NatBehaviour, PunchTerms } from '#wire/signal.ts';
import { compareBytes, sameBytes } from '../bytes.ts';
import type { Crypto } from '../crypto.ts';
import type { Lan } from '../lan/lan.ts';
import type { Pair } from '../mesh/pairs.ts';
import type { KeyPair } from '../noise/handshake-state.ts';
import { Deadlines } from '../path/deadlines.ts';
import { isPunchOutput, type PathInput, type PathOutput, type PeerPathView } from '../path/io.ts';
import type { Path } from '../path/path.ts';
import { Paths } from '../path/paths.ts';
import { onPath } from '../path/relay-path.ts';
import type { SessionInput, SessionOutput } from '../session/events.ts';
import { Tunnels } from '../session/tunnels.ts';
import { after, type MonotonicMs, type Now } from '../time.ts';
import type { MemberOutput } from './io.ts';
import { type Peer, PeerTable, pskCandidates } from './peers.ts';

/** The side with the lower tunnel key starts the session; the other one too when none came by then. */
const initiateLateMs = 1500;
/**
 * A peer that the server does not show as online is asked that often whether it is there; without a server everybody is, and many less
 * often.
 */
const livenessEveryMs = 20_000;
const livenessMsPerPeer = 50;

export interface PeerManagerOptions {
  readonly crypto: Crypto;
  readonly tunnelKey: KeyPair;
  readonly virtualPrefixes: readonly string[];
  /** The largest packet of the inside; the default of the path machine when absent. */
  readonly innerMtuBytes?: number;
  readonly lastTimestamp?: Uint8Array;
  readonly emit: (output: MemberOutput) => void;
  /** Told of sessions that begin and end, and of peers that go. */
  readonly lan: Lan;
  /** This peer is to be sent an offer, or an answer; `hard` of an attempt at hard NATs. */
  readonly offer: (peer: Peer, hard: PunchTerms | undefined, now: Now) => void;
  readonly answer: (peer: Peer, hard: PunchTerms | undefined, now: Now) => void;
  /** A relay is wanted for the sake of a peer, or doubted. */
  readonly relay: (
    input:
      | { readonly type: 'want'; readonly relay: string | undefined }
      | { readonly type: 'check'; readonly relay: string },
    now: Now,
  ) => void;
  /** Where a peer was when it was reached last, if that is of use now. */
  readonly recall: (
    pair: Pair,
    now: Now,
  ) => { readonly candidates: readonly Candidate[]; readonly nat: NatBehaviour } | undefined;
  /** There is a tunnel with the peer, over this path. */
  readonly reached: (peer: Peer, path: Path, now: Now) => void;
  /** Where a peer sees us. */
  readonly observed: (seen: Extract<PathOutput, { type: 'observed' }>) => void;
  /** It is nobody's peer any more. */
  readonly removed: (peer: Peer) => void;
  /** There are keys with the peer; `isNew`: after there were none. */
  readonly sessionUp: (peer: Peer, isNew: boolean, now: Now) => void;
  /** There is a path to a peer that had none. */
  readonly pathFound: (peer: Peer, now: Now) => void;
  /** A peer that was asked whether it is there did not answer. */
  readonly dead: (peer: Peer) => void;
  /** This client and the peer see their common networks differently. */
  readonly disagree: (peer: Peer, now: Now) => void;
}

/** The wanted peers with their paths and tunnels, and what passes between the two machines. */
export class PeerManager {
  readonly #options: PeerManagerOptions;
  readonly #paths: Paths;
  readonly #tunnels: Tunnels;
  readonly #peers = new PeerTable();
  readonly #deadlines = new Deadlines();
  #connected = false;

  constructor(options: PeerManagerOptions) {
    this.#options = options;
    const { crypto, tunnelKey, virtualPrefixes, innerMtuBytes, lastTimestamp } = options;
    this.#paths = new Paths({
      crypto,
      tunnelPrivateKey: tunnelKey.privateKey,
      virtualPrefixes,
      ...(innerMtuBytes === undefined ? {} : { innerMtuBytes }),
    });
    this.#tunnels = new Tunnels({
      crypto,
      keyPair: tunnelKey,
      ...(lastTimestamp === undefined ? {} : { lastTimestamp }),
    });
  }

  get peers(): PeerTable {
    return this.#peers;
  }

  /** Makes the peers those that the pairs allow: first what goes, because addresses may move. */
  sync(pairs: ReadonlyMap<string, Pair>, now: Now): void {
    for (const peer of [...this.#peers.values()]) {
      const pair = pairs.get(peer.pair.clientId);
      if (pair === undefined || !sameBytes(pair.tunnelKey, peer.pair.tunnelKey)) {
        this.#remove(peer, now);
      }
    }
    for (const pair of pairs.values()) {
      const peer = this.#peers.byClientId(pair.clientId);
      if (peer !== undefined) this.#update(peer, pair, now);
      else if (pair.verdict === 'establish') this.#add(pair, now);
    }
    this.#pump(now);
  }

  paths(input: PathInput, now: Now): void {
    this.#paths.handle(input, now);
    this.#pump(now);
  }

  /** The control connection came or went. Without it nobody says who is there: tunnels are watched from here. */
  server(connected: boolean, now: Now): void {
    this.#connected = connected;
    for (const peer of this.#peers.values()) {
      if (peer.pair.presence !== 'online') continue;
      peer.livenessCheckedAt = connected ? undefined : now.monotonic;
      this.#reschedule(peer);
    }
    this.paths({ type: 'server', connected }, now);
  }

  tunnels(input: SessionInput, now: Now): void {
    this.#tunnels.handle(input, now);
    this.#pump(now);
  }

  tick(now: Now): void {
    const due: number[] = [];
    for (;;) {
      const index = this.#deadlines.takeDue(now.monotonic);
      if (index === undefined) break;
      due.push(index);
    }
    for (const index of due) {
      const peer = this.#peers.get(index);
      if (peer !== undefined) this.#wake(peer, now);
    }
    this.#paths.handle({ type: 'tick' }, now);
    this.#tunnels.handle({ kind: 'tick' }, now);
    this.#pump(now);
  }

  deadline(): MonotonicMs | undefined {
    let earliest: MonotonicMs | undefined;
    for (const at of [this.#paths.deadline(), this.#tunnels.deadline(), this.#deadlines.next]) {
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  pathView(peer: Peer): PeerPathView {
    return this.#paths.view(peer.index);
  }

  isUp(peer: Peer): boolean {
    return this.#tunnels.isUp(peer.index);
  }

  /** There is a session, and a path below it that nothing speaks against. */
  reaches(peer: Peer): boolean {
    return peer.hasPath && !peer.isDead && this.isUp(peer);
  }

  counters(): Record<string, number> {
    const counters: Record<string, number> = {};
    for (const [name, count] of Object.entries(this.#paths.counters())) {
      counters[`path-${kebab(name)}`] = count;
    }
    for (const [name, count] of Object.entries(this.#tunnels.counters())) {
      counters[`session-${name}`] = count;
    }
    return counters;
  }

  #wake(peer: Peer, now: Now): void {
    if (peer.initiateAt !== undefined && peer.initiateAt <= now.monotonic) {
      peer.initiateAt = undefined;
      this.#tunnels.handle({ kind: 'rekey', peer: peer.index }, now);
    }
    const checkAt = this.#livenessCheckAt(peer);
    if (checkAt !== undefined && checkAt <= now.monotonic) this.#checkLiveness(peer, now);
    this.#reschedule(peer);
  }

  /** To be called whenever something changed that `#wake` goes by. */
  #reschedule(peer: Peer): void {
    const checkAt = this.#livenessCheckAt(peer);
    const { initiateAt } = peer;
    const isFirst = initiateAt !== undefined && (checkAt === undefined || initiateAt < checkAt);
    this.#deadlines.set(peer.index, isFirst ? initiateAt : checkAt);
  }

  #add(pair: Pair, now: Now): void {
    const { crypto, tunnelKey, emit } = this.#options;
    const peer = this.#peers.add(pair);
    emit({ type: 'set-peer', peer: peer.index, innerPrefixes: [pair.ipv4, pair.ipv6] });
    this.#tunnels.handle(
      {
        kind: 'add-peer',
        peer: peer.index,
        publicKey: pair.tunnelKey,
        pskCandidates: pskCandidates(crypto, tunnelKey, pair),
      },
      now,
    );
    const { clientId, tunnelKey: tunnelPublicKey } = pair;
    this.#paths.handle({ type: 'add-peer', peer: peer.index, tunnelPublicKey, clientId }, now);
    const known = this.#options.recall(pair, now);
    if (known !== undefined) {
      const { candidates, nat } = known;
      this.#paths.handle({ type: 'remembered', peer: peer.index, candidates, nat }, now);
    }
    if (!this.#isShownOnline(peer)) this.#checkLiveness(peer, now);
  }

  #update(peer: Peer, pair: Pair, now: Now): void {
    const before = peer.pair;
    peer.pair = pair;
    if (before.ipv4 !== pair.ipv4 || before.ipv6 !== pair.ipv6) {
      const innerPrefixes = [pair.ipv4, pair.ipv6];
      this.#options.emit({ type: 'set-peer', peer: peer.index, innerPrefixes });
    }
    if (before.viewsKey !== pair.viewsKey) {
      const candidates = pskCandidates(this.#options.crypto, this.#options.tunnelKey, pair);
      this.#tunnels.handle(
        { kind: 'update-peer', peer: peer.index, pskCandidates: candidates },
        now,
      );
      // What failed for want of agreement is tried again at once.
      if (peer.failure === 'psk-mismatch') this.#wantSession(peer, now);
    }
    if (before.presence === pair.presence) return;
    if (pair.verdict === 'maintain' && peer.isDead) {
      this.#remove(peer, now);
      return;
    }
    if (this.#isShownOnline(peer)) peer.livenessCheckedAt = undefined;
    else this.#checkLiveness(peer, now);
    this.#reschedule(peer);
    // It has logged in anew: perhaps it was started anew, and knows nothing of our session.
    if (before.presence === 'offline' && peer.hasPath) this.#agreeAgain(peer, now);
  }

  #remove(peer: Peer, now: Now): void {
    this.#peers.remove(peer);
    this.#deadlines.set(peer.index, undefined);
    this.#tunnels.handle({ kind: 'remove-peer', peer: peer.index }, now);
    this.#paths.handle({ type: 'remove-peer', peer: peer.index }, now);
    this.#pump(now);
    this.#options.lan.removePeer(peer.index);
    this.#options.removed(peer);
    this.#options.emit({ type: 'remove-peer', peer: peer.index });
  }

  #checkLiveness(peer: Peer, now: Now): void {
    peer.livenessCheckedAt = now.monotonic;
    this.#reschedule(peer);
    this.#paths.handle({ type: 'check-liveness', peer: peer.index }, now);
  }

  #isShownOnline({ pair }: Peer): boolean {
    return this.#connected && pair.presence === 'online';
  }

  /** Peers that the server shows as online need not be asked. Those without a path are sought anyway when there is no server. */
  #livenessCheckAt(peer: Peer): MonotonicMs | undefined {
    const { livenessCheckedAt } = peer;
    if (livenessCheckedAt === undefined || this.#isShownOnline(peer)) return undefined;
    if (!this.#connected && !peer.hasPath) return undefined;
    const everyMs = Math.max(livenessEveryMs, livenessMsPerPeer * this.#peers.size);
    return after(livenessCheckedAt, everyMs);
  }

  #wantSession(peer: Peer, now: Now): void {
    this.#tunnels.handle({ kind: 'want-session', peer: peer.index }, now);
  }

  /** Takes what the machines want done until neither wants anything. */
  #pump(now: Now): void {
    for (;;) {
      const path = this.#paths.poll();
      if (path !== undefined) this.#pathOutput(path, now);
      const session = this.#tunnels.poll();
      if (session !== undefined) this.#sessionOutput(session, now);
      if (path === undefined && session === undefined) return;
    }
  }

  #pathOutput(output: PathOutput, now: Now): void {
    const { emit, offer, answer } = this.#options;
    if (output.type === 'send') {
      const { type: _, ...datagram } = output;
      emit({ type: 'datagram', ...datagram });
      return;
    }
    if (output.type === 'relay-wanted') {
      this.#options.relay({ type: 'want', relay: output.relay }, now);
      return;
    }
    if (output.type === 'relay-doubted') {
      this.#options.relay({ type: 'check', relay: output.relay }, now);
      return;
    }
    if (isPunchOutput(output)) {
      emit(output);
      return;
    }
    const peer = this.#peers.get(output.peer);
    if (peer === undefined) return;
    switch (output.type) {
      case 'observed':
        this.#options.observed(output);
        return;
      case 'path':
        emit({ type: 'set-path', peer: peer.index, path: output.path });
        if (output.path !== undefined && this.#tunnels.isUp(peer.index)) {
          this.#options.reached(peer, output.path, now);
        }
        this.#pathChanged(peer, output.path !== undefined, now);
        return;
      case 'path-mtu':
        emit({ type: 'set-path', peer: peer.index, path: output.path });
        return;
      case 'signal-wanted':
        if (output.kind === 'answer') answer(peer, output.hard, now);
        else offer(peer, output.hard, now);
        return;
      case 'peer-alive':
        peer.isDead = false;
        return;
      case 'peer-dead':
        peer.isDead = true;
        this.#options.dead(peer);
        // The server says that it is gone, and so it is. Otherwise the search goes on.
        if (peer.pair.verdict === 'maintain') this.#remove(peer, now);
        return;
      default:
        output satisfies never;
    }
  }

  #pathChanged(peer: Peer, pathAvailable: boolean, now: Now): void {
    this.#tunnels.handle({ kind: 'update-peer', peer: peer.index, pathAvailable }, now);
    const hadPath = peer.hasPath;
    peer.hasPath = pathAvailable;
    if (pathAvailable) peer.isDead = false;
    if (pathAvailable && !hadPath) this.#options.pathFound(peer, now);
    if (!pathAvailable) peer.initiateAt = undefined;
    else if (!this.#isShownOnline(peer)) peer.livenessCheckedAt ??= now.monotonic;
    this.#reschedule(peer);
    if (!pathAvailable || (hadPath && this.#tunnels.isUp(peer.index))) return;
    this.#agreeAgain(peer, now);
  }

  /**
   * New keys, also when there is a session: where the peer may have started anew it may know nothing of it, and its own
   * initiations may look like recordings, when it lost its state.
   */
  #agreeAgain(peer: Peer, now: Now): void {
    const leads = compareBytes(this.#options.tunnelKey.publicKey, peer.pair.tunnelKey) < 0;
    if (leads) this.#tunnels.handle({ kind: 'rekey', peer: peer.index }, now);
    else {
      peer.initiateAt = after(now.monotonic, initiateLateMs);
      this.#reschedule(peer);
    }
  }

  #sessionOutput(output: SessionOutput, now: Now): void {
    const { emit, disagree } = this.#options;
    switch (output.kind) {
      case 'send-datagram': {
        const path =
          output.to !== 'current-path'
            ? output.to
            : output.peer === undefined
              ? undefined
              : this.#paths.pathOf(output.peer);
        if (path === undefined) return;
        const { socket, remote } = path;
        emit({ type: 'datagram', socket, remote, bytes: onPath(path, output.bytes) });
        return;
      }
      case 'heard': {
        const { socket, remote } = output.from;
        this.#paths.handle({ type: 'roam', peer: output.peer, socket, remote }, now);
        return;
      }
      case 'install-keys':
        emit({ type: 'install-keys', keys: output.keys });
        return;
      case 'activate-keys':
        emit({ type: 'activate-keys', localIndex: output.localIndex });
        return;
      case 'remove-keys':
        emit({ type: 'remove-keys', localIndex: output.localIndex });
        return;
      case 'send-keepalive':
        emit({ type: 'keepalive', peer: output.peer });
        return;
      case 'session-up':
        this.#sessionUp(output, now);
        return;
      case 'session-down': {
        const peer = this.#peers.get(output.peer);
        if (peer !== undefined) peer.sessionSince = undefined;
        this.#options.lan.sessionDown(output.peer);
        return;
      }
      case 'handshake-failed': {
        const peer = this.#peers.get(output.peer);
        if (peer === undefined) return;
        peer.failure = output.reason;
        if (output.reason === 'psk-mismatch') disagree(peer, now);
        return;
      }
      case 'persist-timestamp':
        emit({ type: 'save-timestamp', timestamp: output.timestamp });
        return;
      default:
        output satisfies never;
    }
  }

  #sessionUp(output: Extract<SessionOutput, { kind: 'session-up' }>, now: Now): void {
    const peer = this.#peers.get(output.peer);
    if (peer === undefined) return;
    const isNew = peer.sessionSince === undefined;
    peer.sessionSince ??= now.monotonic;
    peer.lastHandshakeAt = now.monotonic;
    peer.suite = output.suite;
    peer.failure = undefined;
    peer.initiateAt = undefined;
    this.#reschedule(peer);
    const path = this.#paths.pathOf(peer.index);
    if (path !== undefined) this.#options.reached(peer, path, now);
    this.#options.lan.sessionUp(peer.index, now);
    this.#options.sessionUp(peer, isNew, now);
    // An earlier view fitted: one of the two sides has missed something.
    if (output.pskIndex > 0) this.#options.disagree(peer, now);
  }
}

export const kebab = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
