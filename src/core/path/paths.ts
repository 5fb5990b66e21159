/**
 * The path machine: one sans-IO machine for all peers. Inputs and the time go in by `handle`, outputs come out by `poll`
 * until there is none, and `deadline` tells when to call again with a tick.
 */

import { compareBytes } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import { forgetOldest } from '#core/forget-oldest.ts';
import { type MonotonicMs, monotonicMs, type Now } from '#core/time.ts';
import { type AddressFamily, type Endpoint, parseEndpoint } from '#wire/endpoint.ts';
import type { Candidate, NatBehaviour } from '#wire/signal.ts';
import { type Prefix, parsePrefix, virtualPrefixes } from './address-class.ts';
import { AddressBudget, ProbeGate, TokenBucket } from './budget.ts';
import { pairKey } from './candidate-pair.ts';
import { noCounts, type PathContext, type PathCounter } from './context.ts';
import { Deadlines } from './deadlines.ts';
import {
  type LocalSocket,
  type PathInput,
  type PathOutput,
  type PeerPathView,
  unknownNat,
} from './io.ts';
import * as limits from './limits.ts';
import type { Path } from './path.ts';
import { PeerPaths } from './peer-paths.ts';
import { ProbeExchange, transactionText } from './probe-exchange.ts';
import { deriveProbeKeys } from './probe-keys.ts';
import { HardPunch } from './punch/hard-punch.ts';
import type { PunchHost } from './punch/host.ts';
import { isHard } from './punch/plan.ts';
import { pathOver, type RelayPath } from './relay-path.ts';

export interface PathsOptions {
  readonly crypto: Crypto;
  readonly tunnelPrivateKey: Uint8Array;
  /** Inside addresses, `address/length`: never candidates. The default pools when absent. */
  readonly virtualPrefixes?: readonly string[];
  /** The largest packet of the inside; 1,400 bytes when absent. */
  readonly innerMtuBytes?: number;
}

type InputOf<T extends PathInput['type']> = Extract<PathInput, { type: T }>;

/** News for many peers is spread over this much for each of them. */
const spreadMsPerPeer = 5;
const maxSpreadMs = 5000;
/** Steps of attempts at hard NATs within one input. */
const maxHardSteps = 64;

const noPath: PeerPathView = {
  kind: 'none',
  nats: { here: unknownNat, there: unknownNat },
  candidates: [],
};

export class Paths {
  readonly #crypto: Crypto;
  readonly #privateKey: Uint8Array;
  readonly #publicKey: Uint8Array;
  readonly #peers = new Map<number, PeerPaths>();
  /** Peers with traffic, most recent last. */
  readonly #recent = new Set<number>();
  readonly #deadlines = new Deadlines();
  readonly #exchange: ProbeExchange;
  readonly #counters = noCounts();
  readonly #context: PathContext;
  readonly #hard: HardPunch;
  readonly #measuring = new TokenBucket(limits.measuringPerSecond, limits.measuringPerSecond);
  /** Peers of which something changed that matters for attempts at hard NATs. */
  readonly #changed = new Set<number>();
  /** Where each peer sees us, in text: told when it changes. */
  readonly #observed = new Map<number, string>();
  #outputs: PathOutput[] = [];
  #outputsTaken = 0;
  #sockets: readonly LocalSocket[] = [];
  #relays: ReadonlyMap<string, RelayPath> = new Map();
  /** Where relays are and were lately: never a peer's own address. */
  readonly #relayAddresses = new Map<string, string>();
  #keepaliveMs = limits.keepaliveMs;
  #localNat: NatBehaviour = unknownNat;
  /** Our candidates in text, to notice a change; undefined before discovery. */
  #localList: string | undefined;
  /** Addresses that servers saw this machine at. */
  #seenAt = '';
  #localFamilies: ReadonlySet<AddressFamily> = new Set();
  #connected = true;
  #now: Now | undefined;

  constructor(options: PathsOptions) {
    this.#crypto = options.crypto;
    this.#privateKey = options.tunnelPrivateKey;
    this.#publicKey = options.crypto.x25519PublicKey(options.tunnelPrivateKey);
    this.#exchange = new ProbeExchange(options.crypto, (output) => this.#outputs.push(output));
    const { innerMtuBytes = limits.innerMtuBytes } = options;
    const virtual = (options.virtualPrefixes ?? virtualPrefixes).map(prefixOf);
    this.#context = this.#makeContext(virtual, innerMtuBytes);
    this.#hard = new HardPunch(this.#hardHost());
  }

  /** Takes an input, and does whatever is due by then. */
  handle(input: PathInput, now: Now): void {
    this.#now = now;
    this.#apply(input, now);
    const at = now.monotonic;
    let key = this.#deadlines.takeDue(at);
    while (key !== undefined) {
      const peer = this.#peers.get(key);
      peer?.wake(at);
      // A peer that was just woken is not woken again at the same moment.
      if (peer !== undefined) this.#reschedule(peer, at, 1);
      key = this.#deadlines.takeDue(at);
    }
    this.#wakeHard(now);
  }

  /** The next output, in order; undefined when there is none left. */
  poll(): PathOutput | undefined {
    const output = this.#outputs[this.#outputsTaken];
    this.#outputsTaken += 1;
    if (output === undefined) {
      this.#outputs = [];
      this.#outputsTaken = 0;
    }
    return output;
  }

  /** When `tick` is wanted next. */
  deadline(): MonotonicMs | undefined {
    const [peers, hard] = [this.#deadlines.next, this.#hard.deadline()];
    if (peers === undefined || hard === undefined) return peers ?? hard;
    return monotonicMs(Math.min(peers, hard));
  }

  /** As of the last input. */
  view(peer: number): PeerPathView {
    const paths = this.#peers.get(peer);
    if (paths === undefined || this.#now === undefined) return noPath;
    const hardNat = this.#hard.explain(peer, this.#now.monotonic);
    return { ...paths.view(this.#now.monotonic), ...(hardNat === undefined ? {} : { hardNat }) };
  }

  pathOf(peer: number): Path | undefined {
    return this.#peers.get(peer)?.path;
  }

  counters(): Readonly<Record<PathCounter, number>> {
    return this.#counters;
  }

  #apply(input: PathInput, now: Now): void {
    const at = now.monotonic;
    switch (input.type) {
      case 'local-sockets':
        this.#sockets = input.sockets.slice(0, limits.maxSockets);
        this.#forAll(at, (peer) => peer.socketsChanged(at));
        break;
      case 'local-candidates':
        this.#localCandidates(input, at);
        break;
      case 'relays':
        this.#setRelays(input.relays, at);
        break;
      case 'mapping-lifetime':
        this.#keepaliveMs = keepaliveFor(input.lifetimeMs);
        break;
      case 'time-offset':
        this.#exchange.setTimeOffset(input.offsetMs, now);
        break;
      case 'server':
        this.#server(input.connected, at);
        break;
      case 'add-peer':
        this.#addPeer(input, at);
        break;
      case 'remove-peer':
        this.#hard.removePeer(input.peer, now);
        this.#removePeer(input.peer);
        break;
      case 'datagram':
        this.#datagram(input, now);
        break;
      case 'network-changed':
        this.#context.addresses.renew(at);
        this.#observed.clear();
        this.#forAll(at, (peer) => peer.networkChanged(at, this.#spreadMs()));
        this.#hard.networkChanged(now);
        break;
      case 'check-liveness':
        if (input.peer === 'all') this.#forAll(at, (peer) => peer.checkLiveness(at));
        else this.#forOne(input.peer, at, (peer) => peer.checkLiveness(at));
        break;
      case 'roam':
        this.#roam(input, at);
        break;
      case 'remote-candidates':
        for (const address of input.proven ?? []) this.#context.addresses.prove(address, at);
        this.#forOne(input.peer, at, (peer) => tell(peer, input, at));
        this.#signalled(input, now);
        break;
      case 'remembered':
        this.#forOne(input.peer, at, (peer) => peer.remember(input.candidates, input.nat, at));
        break;
      case 'punch':
        this.#forOne(input.peer, at, (peer) => tell(peer, input, at));
        this.#hard.punch(input.peer, input.inMs, now);
        break;
      case 'activity':
      case 'want':
        this.#forOne(input.peer, at, (peer) => tell(peer, input, at));
        break;
      case 'stun-servers':
        this.#hard.setServers(input.servers);
        break;
      case 'hard-nat':
        this.#hard.setEnabled(input.enabled, now);
        break;
      case 'punch-opened':
      case 'punch-datagram':
      case 'punch-adopted':
        this.#hard.socketInput(input, now);
        break;
      case 'tick':
        break;
      default:
        input satisfies never;
    }
  }

  #setRelays(relays: readonly RelayPath[], at: MonotonicMs): void {
    this.#relays = new Map(relays.map((way) => [way.relay, way]));
    for (const { relay, socket, remote } of relays) {
      const key = pairKey(socket, remote);
      this.#relayAddresses.delete(key);
      this.#relayAddresses.set(key, relay);
    }
    forgetOldest(this.#relayAddresses, limits.maxRelayAddresses);
    this.#forAll(at, (peer) => peer.relaysChanged(at));
  }

  /** Authenticated data of the peer came from there: directly, or bare from a relay. */
  #roam({ peer, socket, remote }: InputOf<'roam'>, at: MonotonicMs): void {
    const relay = this.#relayAddresses.get(pairKey(socket, remote));
    this.#forOne(peer, at, (paths) => paths.proof.roam({ socket, remote, relay }, at));
  }

  #localCandidates({ candidates, nat }: InputOf<'local-candidates'>, at: MonotonicMs): void {
    const list = candidates
      .map(({ kind, endpoint, relay }) => `${kind} ${relay ?? endpoint}`)
      .join();
    const before = this.#localList;
    this.#seenFrom(candidates, at);
    const isOtherNat = JSON.stringify(nat) !== JSON.stringify(this.#localNat);
    this.#localNat = nat;
    this.#localList = list;
    this.#localFamilies = familiesOf(candidates);
    this.#hard.setCandidates(candidates);
    if (isOtherNat) for (const peer of this.#peers.keys()) this.#changed.add(peer);
    if (before === list) {
      // Both sides must know both NATs before they can agree on an attempt.
      const isNews = isOtherNat && this.#hard.isEnabled && isHard(nat);
      if (isNews) this.#forAll(at, (peer) => peer.natNews(at, this.#spreadMs()));
      return;
    }
    this.#forAll(at, (peer) => {
      if (before === undefined) peer.beginSignalling(at, this.#spreadMs());
      else peer.signalNews(at, this.#spreadMs());
    });
  }

  /** Another address is another network, or the provider's doing. While servers are silent the last one holds. */
  #seenFrom(candidates: readonly Candidate[], at: MonotonicMs): void {
    const seenAt = candidates
      .filter(({ kind }) => kind === 'server-reflexive')
      .map(({ endpoint }) => parseEndpoint(endpoint)?.address)
      .join();
    if (seenAt === '' || seenAt === this.#seenAt) return;
    const isFirst = this.#seenAt === '';
    this.#seenAt = seenAt;
    if (!isFirst) this.#forAll(at, (peer) => peer.publicAddressChanged());
  }

  #signalled(input: InputOf<'remote-candidates'>, now: Now): void {
    const { peer, hard, kind = 'offer', proven = [] } = input;
    if (!this.#peers.has(peer)) return;
    if (hard !== undefined) this.#hard.signalled(peer, hard, kind === 'offer', proven, now);
    this.#changed.add(peer);
  }

  #wakeHard(now: Now): void {
    for (const peer of this.#changed) this.#hard.consider(peer, now);
    this.#changed.clear();
    // One step may make the next one due; a peer that is passed over is one step.
    for (let steps = 0; steps < maxHardSteps; steps++) {
      const dueAt = this.#hard.deadline();
      if (dueAt === undefined || dueAt > now.monotonic) return;
      this.#hard.wake(now);
    }
  }

  #server(connected: boolean, at: MonotonicMs): void {
    if (this.#connected === connected) return;
    this.#connected = connected;
    this.#forAll(at, (peer) => {
      if (!connected) peer.checkLiveness(at);
      else if (peer.path === undefined) peer.beginSignalling(at, this.#spreadMs());
    });
  }

  #addPeer({ peer, tunnelPublicKey, clientId }: InputOf<'add-peer'>, at: MonotonicMs): void {
    const keys = deriveProbeKeys(this.#crypto, this.#privateKey, this.#publicKey, tunnelPublicKey);
    const known = this.#peers.get(peer)?.identity;
    if (known !== undefined) {
      if (known.keys.receive.keyId === keys?.receive.keyId) return;
      this.#removePeer(peer);
    }
    // A low-order key can have no tunnel either; nor can a second peer with the key of another one.
    const isFull = this.#peers.size >= limits.maxPeers;
    if (keys === undefined || isFull || !this.#exchange.addPeer(peer, keys)) {
      this.#counters.peersRefused += 1;
      return;
    }
    const leads = compareBytes(this.#publicKey, tunnelPublicKey) < 0;
    const paths = new PeerPaths(this.#context, { peer, clientId, keys, leads }, at);
    this.#peers.set(peer, paths);
    paths.beginSignalling(at, 0);
    this.#reschedule(paths, at);
  }

  #removePeer(peer: number): void {
    const paths = this.#peers.get(peer);
    if (paths === undefined) return;
    this.#peers.delete(peer);
    this.#exchange.removePeer(peer);
    this.#recent.delete(peer);
    this.#observed.delete(peer);
    this.#deadlines.set(peer, undefined);
    if (paths.path !== undefined) this.#outputs.push({ type: 'path', peer, path: undefined });
  }

  #datagram({ bytes, socket, remote, over }: Omit<InputOf<'datagram'>, 'type'>, now: Now): void {
    const at = now.monotonic;
    const from = { socket, remote, relay: over?.relay };
    const arrived = this.#exchange.open(bytes, from, now);
    if (arrived.type === 'dropped') {
      this.#counters[arrived.reason] += 1;
      return;
    }
    const peer = this.#peers.get(arrived.peer);
    assert(peer !== undefined, 'keys are kept of known peers only');
    const { body } = arrived;
    if (over !== undefined && peer.number !== over.from) {
      // A relay that lies about who sent it, or a peer that does about itself.
      this.#counters.relayMismatched += 1;
    } else if (arrived.type === 'response') {
      this.#counters.responsesReceived += 1;
      if (over === undefined) this.#observe(arrived.peer, socket, body.observed);
      peer.proof.response(arrived.transaction.pair, arrived.transaction, body, remote, at);
    } else if (!peer.responses.take(at)) {
      this.#counters.requestsOverRate += 1;
    } else {
      this.#counters.requestsReceived += 1;
      const transaction = transactionText(body.transaction);
      const flags = peer.proof.request(from, body, transaction, at);
      const way = over === undefined ? undefined : this.#relays.get(over.relay);
      const back = over === undefined ? { socket, remote } : way && pathOver(way, over.from);
      if (flags !== undefined && back !== undefined) {
        this.#counters.responsesSent += 1;
        this.#exchange.sendResponse(arrived.peer, body, flags, back, now);
      }
      peer.proof.askBack(at);
    }
    this.#reschedule(peer, at);
  }

  #observe(peer: number, socket: number, endpoint: Endpoint | undefined): void {
    if (endpoint === undefined) return;
    const text = pairKey(socket, endpoint);
    if (this.#observed.get(peer) === text) return;
    this.#observed.set(peer, text);
    this.#outputs.push({ type: 'observed', peer, socket, endpoint });
  }

  #forOne(peer: number, at: MonotonicMs, act: (peer: PeerPaths) => void): void {
    const paths = this.#peers.get(peer);
    if (paths === undefined) return;
    act(paths);
    this.#reschedule(paths, at);
  }

  #forAll(at: MonotonicMs, act: (peer: PeerPaths) => void): void {
    for (const peer of this.#peers.values()) {
      act(peer);
      this.#reschedule(peer, at);
    }
  }

  #reschedule(peer: PeerPaths, at: MonotonicMs, atLeastMs = 0): void {
    const dueAt = peer.deadline(at);
    const { peer: key } = peer.identity;
    if (dueAt === undefined) this.#deadlines.set(key, undefined);
    else this.#deadlines.set(key, monotonicMs(Math.max(dueAt, at + atLeastMs)));
  }

  #touch(peer: number): void {
    this.#recent.delete(peer);
    this.#recent.add(peer);
    forgetOldest(this.#recent, limits.keepalivePeers);
  }

  #spreadMs(): number {
    return this.#chance() * Math.min(this.#peers.size * spreadMsPerPeer, maxSpreadMs);
  }

  #chance(): number {
    const [high = 0, low = 0] = this.#crypto.random(2);
    return (high * 256 + low) / 65_536;
  }

  #hardHost(): PunchHost {
    const { gate, local, emit, chance, count } = this.#context;
    return {
      crypto: this.#crypto,
      ...{ gate, local, emit, chance, count },
      peer: (peer) => {
        const paths = this.#peers.get(peer);
        if (paths === undefined) return undefined;
        const { identity, remoteNat, hasDirectPath } = paths;
        return { leads: identity.leads, nat: remoteNat, hasDirectPath };
      },
      seal: (peer, now) => this.#exchange.sealRequest(peer, now),
      senderOf: (bytes, now) => this.#exchange.senderOf(bytes, now),
      deliver: (bytes, { socket }, remote, now) => this.#datagram({ bytes, socket, remote }, now),
      socketsChanged: ({ monotonic: at }) => this.#forAll(at, (peer) => peer.socketsChanged(at)),
      isInUse: (socket) => [...this.#peers.values()].some((peer) => peer.isOn(socket)),
    };
  }

  #makeContext(virtual: readonly Prefix[], innerMtuBytes: number): PathContext {
    return {
      local: () => ({
        sockets: [...this.#sockets, ...this.#hard.adopted],
        nat: this.#localNat,
        relays: this.#relays,
        discovered: this.#localList !== undefined,
        families: this.#localFamilies,
        connected: this.#connected,
      }),
      virtual,
      innerMtuBytes,
      gate: new ProbeGate(),
      addresses: new AddressBudget(),
      chance: () => this.#chance(),
      emit: (output) => {
        this.#outputs.push(output);
        if (output.type === 'path') this.#changed.add(output.peer);
      },
      sendRequest: (peer, pair, using, ttl) => {
        assert(this.#now !== undefined, 'probes leave while an input is handled');
        this.#counters.requestsSent += 1;
        this.#exchange.sendRequest(peer, pair, using, this.#now, ttl);
      },
      sendMeasuring: (peer, pair, using) => {
        assert(this.#now !== undefined, 'probes leave while an input is handled');
        this.#counters.measuringSent += 1;
        this.#exchange.sendMeasuring(peer, pair, using, this.#now);
      },
      mayMeasure: (at) => this.#measuring.take(at) && this.#context.gate.enterSpare(at),
      sendPadded: (peer, pair, sizeBytes) => {
        assert(this.#now !== undefined, 'probes leave while an input is handled');
        this.#counters.mtuProbesSent += 1;
        this.#exchange.sendPadded(peer, pair, sizeBytes, this.#now);
      },
      count: (counter, by) => {
        this.#counters[counter] += by;
      },
      touch: (peer) => this.#touch(peer),
      isKept: (peer) => this.#recent.has(peer),
      keepaliveMs: () => this.#keepaliveMs,
    };
  }
}

function tell(
  peer: PeerPaths,
  input: InputOf<'remote-candidates' | 'punch' | 'activity' | 'want'>,
  at: MonotonicMs,
): void {
  switch (input.type) {
    case 'remote-candidates':
      peer.setRemoteCandidates(input.candidates, input.nat, at);
      break;
    case 'punch':
      peer.punch(input.inMs, at);
      break;
    case 'activity':
      peer.activity(input, at);
      break;
    case 'want':
      peer.want(at);
      break;
    default:
      input satisfies never;
  }
}

/** In time before mappings end, as far as is known when they do. */
function keepaliveFor(lifetimeMs: number | undefined): number {
  if (lifetimeMs === undefined) return limits.keepaliveMs;
  const shareMs = lifetimeMs * limits.lifetimeShare;
  return Math.min(Math.max(shareMs, limits.keepaliveLeastMs), limits.keepaliveMostMs);
}

function prefixOf(text: string): Prefix {
  const prefix = parsePrefix(text);
  assert(prefix !== undefined, `a prefix is address/length, not ${text}`);
  return prefix;
}

/** Of the addresses that are this client's own. */
const familiesOf = (candidates: readonly Candidate[]): ReadonlySet<AddressFamily> =>
  new Set(
    candidates
      .filter(({ kind }) => kind !== 'relay')
      .map(({ endpoint }) => (endpoint.startsWith('[') ? 6 : 4)),
  );
