import { memberMessageType } from '#wire/carried.ts';
import type { ServerMessage, ServerMessageOf } from '#wire/control.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { PunchTerms } from '#wire/signal.ts';
import { Discovery } from '../discovery/discovery.ts';
import { type Discovered, type DiscoverySocket, isMain } from '../discovery/io.ts';
import { Lan } from '../lan/lan.ts';
import { type CachedNetwork, Mesh, type MeshOutcome } from '../mesh/mesh.ts';
import type { NetworkView } from '../mesh/network-view.ts';
import type { Pair } from '../mesh/pairs.ts';
import type { PathOutput } from '../path/io.ts';
import type { Relays } from '../relay/relays.ts';
import { SleepWatch } from '../sleep-watch.ts';
import { after, type MonotonicMs, type Now, wallMs } from '../time.ts';
import { BestTime } from './best-time.ts';
import { Carrier } from './carrier.ts';
import { Gossip, type Revocation } from './gossip.ts';
import type { MemberInput, MemberOutput } from './io.ts';
import { type KnownWays, LastGood, noKnownWays } from './last-good.ts';
import { MemberRelays } from './member-relays.ts';
import { MemberNotices } from './notices.ts';
import type { MemberOptions } from './options.ts';
import { kebab, PeerManager } from './peer-manager.ts';
import type { Peer } from './peers.ts';
import { Signalling, withRelays } from './signalling.ts';
import { Signals } from './signals.ts';
import { stunServers } from './stun-servers.ts';

/** Pairs are computed again at least this often: memberships begin and end without a message. */
const reviewEveryMs = 5000;
/** What only adds is gathered this long: at a server's restart a thousand members come back one by one. */
const gatherMs = 20;
/** A network's view is asked for because of a disagreement at most this often. */
const resyncEveryMs = 30_000;
/** A changed server time is worth keeping. */
const saveTimeEveryMs = 3_600_000;
/** Without a server for this long, members who were offline when it was lost are sought too. */
const presumeAfterMs = 20_000;
/** The control connection is asked whether it lives, because of a missing path, at most this often. */
const checkServerEveryMs = 10_000;
/** Without one, the next attempt is made at once at most this often, because peers are reached again. */
const checkLostServerEveryMs = 30_000;
/** A revocation matters until every membership that it beats has expired: seven days, and a day for clocks. */
const revocationMattersMs = 8 * 86_400_000;

/**
 * The whole client as one machine without input or output of its own (the daemon and the simulation drive it): networks,
 * discovery, signalling, paths and tunnels. Feed `handle`, then `poll` until undefined; come back with a tick at `deadline()`.
 */
export class Member {
  readonly clientId: string;
  readonly #options: MemberOptions;
  readonly #time: BestTime;
  readonly #mesh: Mesh;
  readonly #discovery: Discovery;
  readonly #lan: Lan;
  readonly #manager: PeerManager;
  readonly #signalling: Signalling;
  readonly #relays: MemberRelays;
  readonly #signals: Signals;
  readonly #notices: MemberNotices;
  readonly #lastGood: LastGood;
  readonly #carrier: Carrier;
  readonly #gossip: Gossip;
  /** Peers without a path that may be signalled to now. */
  readonly #unheard = new Set<number>();
  /** Where peers see us: discovery's business, after what is being handled. */
  readonly #observed: Extract<PathOutput, { type: 'observed' }>[] = [];
  /** Peers that are there although the server says otherwise: others carried signals of theirs. */
  readonly #presumed = new Set<string>();
  #outputs: MemberOutput[] = [];
  #polled = 0;
  #pairs: ReadonlyMap<string, Pair> = new Map();
  readonly #sleep = new SleepWatch();
  #connected = false;
  #serverAddress: string | undefined;
  #serverName: string | undefined;
  /** Between welcome and synchronised the pairs are left as they are: half of them are still to be told. */
  #synchronising = false;
  #stale = true;
  /** A review is due in a moment. */
  #gathering = false;
  #reviewAt: MonotonicMs | undefined;
  #serverTimeSavedMs: number;
  #serverCheckedAt: MonotonicMs | undefined;
  #presumeAt: MonotonicMs | undefined;
  /** Without a server, what is known of relays from before is used once. */
  #begun = false;
  #local: Pick<Discovered, 'candidates' | 'nat'> | undefined;
  /** Public IP addresses as servers saw them. */
  #publicEndpoints: readonly Endpoint[] = [];
  readonly #resyncedAt = new Map<string, MonotonicMs>();

  constructor(options: MemberOptions) {
    this.#options = options;
    this.clientId = options.clientId;
    const { crypto, clusterKey, identity, tunnelKey, suites, extensionVersion, pools } = options;
    const { innerMtuBytes } = options;
    this.#time = new BestTime(options.serverTimeMs);
    this.#serverTimeSavedMs = options.serverTimeMs;
    const own = { identity, tunnelKey: tunnelKey.publicKey, suites, extensionVersion };
    this.#mesh = new Mesh({ crypto, clusterKey, own });
    for (const [network, secret] of options.secrets) this.#mesh.setSecret(network, secret);
    this.#lastGood = new LastGood(options.ways ?? noKnownWays);
    const savedAt = wallMs(options.serverTimeMs);
    this.#mesh.load(
      options.networks,
      (clientId) => this.#lastGood.has(clientId, savedAt),
      options.ways?.deletions,
    );
    this.#discovery = new Discovery({ crypto, virtualPrefixes: pools });
    const emit = (output: MemberOutput) => void this.#outputs.push(output);
    this.#lan = new Lan(crypto, emit);
    this.#manager = new PeerManager({
      crypto,
      tunnelKey,
      virtualPrefixes: pools,
      ...(innerMtuBytes === undefined ? {} : { innerMtuBytes }),
      ...(options.lastTimestamp === undefined ? {} : { lastTimestamp: options.lastTimestamp }),
      emit,
      lan: this.#lan,
      offer: (peer, hard, now) => this.#offer(peer, hard, now),
      answer: (peer, hard, now) => this.#signalling.answer(peer, hard, now),
      disagree: (peer, now) => this.#disagree(peer, now),
      observed: (seen) => void this.#observed.push(seen),
      sessionUp: (peer, isNew, now) => this.#gossip.catchUp(peer, now, isNew),
      pathFound: (peer, now) => this.#pathFound(peer, now),
      removed: ({ index }) => {
        this.#carrier.removePeer(index);
        this.#gossip.removePeer(index);
      },
      dead: ({ pair }) => this.#isDead(pair.clientId),
      // With a server to ask, signals say where a peer is now.
      recall: (pair, now) =>
        this.#connected ? undefined : this.#lastGood.recall(pair, this.#time.documents(now)),
      reached: ({ pair }, path, now) =>
        this.#lastGood.reached(pair, path, this.#time.documents(now), now.monotonic),
      relay: (input, now) => this.#relays.handle(input, now),
    });
    this.#signals = new Signals(crypto, tunnelKey, options.clientId);
    this.#signalling = new Signalling({
      signals: this.#signals,
      peers: this.#manager.peers,
      send: (message) => emit({ type: 'send', message }),
      ways: (peer, now) => ({ server: this.#connected, members: this.#byMembers(peer, now) }),
      carry: (peer, sealed) => this.#carrier.send(peer, sealed),
      paths: (input, now) => this.#manager.paths(input, now),
      told: (clientId, candidates, nat) => this.#lastGood.told(clientId, { candidates, nat }),
      time: (now) => this.#time.signals(now),
      proofs: () => this.#discovery.proofs,
    });
    this.#relays = new MemberRelays({
      crypto,
      manager: this.#manager,
      signalling: this.#signalling,
      emit,
      listed: (relays, now) => this.#lastGood.setRelays(relays, now.monotonic),
      announced: (now) => this.#tellCandidates(now),
    });
    this.#carrier = new Carrier({
      clientId: options.clientId,
      peers: this.#manager.peers,
      reaches: (peer) => this.#manager.reaches(peer),
      emit,
      receive: (from, sealed, now) => this.#carried(from, sealed, now),
    });
    this.#gossip = new Gossip({
      peers: this.#manager.peers,
      reaches: (peer) => this.#manager.reaches(peer),
      emit,
      isCutOff: ({ pair }) => !this.#connected || pair.presence !== 'online',
      recent: (networks, now) => this.#recentRevocations(networks, now),
      isKnown: (document) => this.#mesh.isRevocationKnown(document),
      learn: (document) => this.#learnRevocation(document),
    });
    this.#notices = new MemberNotices(emit);
  }

  handle(input: MemberInput, now: Now): void {
    // As if the network were another one: nothing that was there before the sleep is sure to be there now.
    if (this.#sleep.woke(now.monotonic)) {
      this.#networkChanged(now);
      this.#outputs.push({ type: 'check-server', slept: true });
    }
    this.#apply(input, now);
    const due = this.#reviewAt === undefined || this.#reviewAt <= now.monotonic;
    if ((this.#stale && !this.#synchronising) || due) this.#review(now);
    const unheard = [...this.#unheard];
    this.#unheard.clear();
    for (const peer of unheard) this.#manager.paths({ type: 'want', peer }, now);
    for (const seen of this.#observed.splice(0)) this.#discovery.handle(seen, now);
    this.#pumpDiscovery(now);
    const heldUntil = this.#signalling.heldUntil;
    const isOver = heldUntil !== undefined && heldUntil <= now.monotonic;
    if (isOver || (heldUntil !== undefined && !this.#discovery.isRechecking)) {
      this.#signalling.release(now);
    }
    if (this.#lastGood.take(now.monotonic)) this.#outputs.push({ type: 'save-ways' });
    this.#sleep.expect(this.deadline());
  }

  poll(): MemberOutput | undefined {
    const output = this.#outputs[this.#polled];
    if (output !== undefined) {
      this.#polled++;
      return output;
    }
    this.#outputs = [];
    this.#polled = 0;
    return undefined;
  }

  /** When a tick is wanted. */
  deadline(): MonotonicMs | undefined {
    const machines = [this.#discovery, this.#manager, this.#lan, this.#relays, this.#gossip];
    const { heldUntil } = this.#signalling;
    const own = [this.#reviewAt, this.#presumeAt, this.#lastGood.saveAt, heldUntil];
    const all = [...own, ...machines.map((machine) => machine.deadline())];
    const known = all.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : (Math.min(...known) as MonotonicMs);
  }

  /** What to tell the server at login. */
  known(): { network: string; revision: number }[] {
    return this.#mesh.known();
  }

  get networks(): ReadonlyMap<string, NetworkView> {
    return this.#mesh.networks;
  }

  get secrets(): ReadonlyMap<string, Uint8Array> {
    return this.#mesh.secrets;
  }

  /** Everybody with whom a tunnel may exist now. */
  get pairs(): ReadonlyMap<string, Pair> {
    return this.#pairs;
  }

  /** To look at: what it finds out. */
  get discovery(): Pick<Discovery, 'discovered' | 'isSettled' | 'report'> {
    return this.#discovery;
  }

  get discovered(): Discovered {
    return this.#discovery.discovered;
  }

  /** What is held of relays: for people to read. */
  get relays(): Relays {
    return this.#relays.relays;
  }

  get manager(): PeerManager {
    return this.#manager;
  }

  get isSynchronised(): boolean {
    return this.#connected && !this.#synchronising;
  }

  /** A network as it is to be kept on disk. */
  saved(network: string): CachedNetwork | undefined {
    return this.#mesh.save(network);
  }

  /** How peers and relays are reached, as it is to be kept on disk. */
  ways(now: Now): KnownWays {
    const isMember = (identity: string) => this.#mesh.device(identity) !== undefined;
    const deletions = [...this.#mesh.deletions].filter((held) => this.#matters(held, now));
    return {
      ...this.#lastGood.known(isMember, this.#time.documents(now)),
      deletions: deletions.map(({ bytes }) => bytes),
    };
  }

  bestTime(now: Now) {
    return this.#time.documents(now);
  }

  counters(): Record<string, number> {
    const counters = this.#manager.counters();
    for (const [fault, count] of this.#mesh.faults) counters[`mesh-${fault}`] = count;
    for (const [fault, count] of this.#signalling.faults) counters[fault] = count;
    Object.assign(counters, this.#lan.counters, this.#carrier.counters, this.#gossip.counters);
    for (const [name, count] of Object.entries(this.#relays.relays.counters())) {
      counters[`relay-${kebab(name)}`] = count;
    }
    counters.peers = this.#manager.peers.size;
    return counters;
  }

  #apply(input: MemberInput, now: Now): void {
    switch (input.type) {
      case 'connected':
        this.#serverName = input.serverName;
        this.#connect(input.welcome, input.serverAddress, now);
        return;
      case 'disconnected':
        this.#disconnect(now);
        return;
      case 'server':
        this.#server(input.message, now);
        return;
      case 'secret':
        this.#mesh.setSecret(input.network, input.secret);
        this.#stale = true;
        return;
      case 'sockets':
        this.#sockets(input.sockets, now);
        return;
      case 'local-addresses':
        this.#discovery.handle({ type: 'local-addresses', addresses: input.addresses }, now);
        if (!input.changed) return;
        this.#networkChanged(now);
        return;
      case 'bridge':
        this.#relays.handle(input, now);
        return;
      case 'mapped':
        this.#discovery.handle(input, now);
        return;
      case 'datagram':
        this.#datagram(input, now);
        return;
      case 'punch-opened':
      case 'punch-datagram':
      case 'punch-adopted':
      case 'hard-nat':
        this.#manager.paths(input, now);
        return;
      case 'want':
        this.#manager.paths({ type: 'want', peer: input.peer }, now);
        this.#manager.tunnels({ kind: 'want-session', peer: input.peer }, now);
        return;
      case 'activity':
        this.#activity(input, now);
        return;
      case 'roam':
        this.#manager.paths(input, now);
        return;
      case 'confirmed':
        this.#manager.tunnels({ ...input, kind: 'confirmed' }, now);
        return;
      case 'rekey-limit':
        this.#manager.tunnels({ ...input, kind: 'rekey-limit' }, now);
        return;
      case 'message':
        this.#message(input.peer, input.bytes, now);
        return;
      case 'lan':
        this.#lan.local(input.local, now);
        return;
      case 'check-nat':
        this.#discovery.handle({ type: 'check' }, now);
        return;
      case 'tick':
        if (this.#presumeAt !== undefined && this.#presumeAt <= now.monotonic) this.#presume(now);
        this.#lan.tick(now);
        this.#gossip.tick(now);
        this.#discovery.handle({ type: 'tick' }, now);
        this.#relays.handle({ type: 'tick' }, now);
        this.#manager.tick(now);
        return;
      default:
        input satisfies never;
    }
  }

  #networkChanged(now: Now): void {
    this.#discovery.handle({ type: 'network-changed' }, now);
    this.#relays.handle({ type: 'network-changed' }, now);
    this.#manager.paths({ type: 'network-changed' }, now);
  }

  #connect(welcome: ServerMessageOf<'welcome'>, serverAddress: string | undefined, now: Now): void {
    this.#connected = true;
    this.#synchronising = true;
    this.#presumeAt = undefined;
    this.#serverAddress = serverAddress;
    this.#serverTime(welcome.serverTime, now);
    const servers = stunServers(this.#options, welcome.nodeList, serverAddress);
    this.#discovery.handle({ type: 'servers', servers }, now);
    this.#manager.paths({ type: 'stun-servers', servers }, now);
    this.#presumed.clear();
    this.#manager.server(true, now);
  }

  #disconnect(now: Now): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#synchronising = false;
    this.#presumeAt = after(now.monotonic, presumeAfterMs);
    this.#mesh.connectionRenewed();
    this.#signalling.disconnected();
    this.#manager.server(false, now);
  }

  /** Nobody tells any more who comes: those who were reached lately may come back unannounced. */
  #presume(now: Now): void {
    this.#presumeAt = undefined;
    const time = this.#time.documents(now);
    if (this.#mesh.presume((clientId) => this.#lastGood.has(clientId, time))) this.#stale = true;
  }

  #server(message: ServerMessage, now: Now): void {
    switch (message.t) {
      case 'view':
        this.#changed(message.network, this.#mesh.applyView(message));
        this.#tellRevocations(message.network, message.revocations ?? [], now);
        return;
      case 'delta': {
        const wasStale = this.#stale;
        this.#changed(message.network, this.#mesh.applyDelta(message));
        this.#tellRevocations(message.network, revocationsIn(message), now);
        if (wasStale || takesAway(message)) return;
        this.#stale = false;
        this.#reviewSoon(now);
        return;
      }
      case 'removed':
        if (message.deletion !== undefined) this.#tellDeletion(message.deletion, now);
        this.#changed(message.network, this.#mesh.applyRemoved(message));
        return;
      case 'presence':
        this.#presumed.delete(message.clientId);
        if (this.#mesh.applyPresence(message)) this.#reviewSoon(now);
        return;
      case 'presences':
        for (const clientId of [...message.online, ...message.unconfirmed])
          this.#presumed.delete(clientId);
        if (this.#mesh.applyPresences(message)) this.#reviewSoon(now);
        return;
      case 'synchronised':
        this.#synchronising = false;
        this.#changed(undefined, this.#mesh.applySynchronised(message));
        return;
      case 'signal':
        // A peer that asks for a path may have lost it to our NAT.
        this.#recheck(now);
        // Who signals may have come online a moment ago.
        if (this.#gathering) this.#review(now);
        this.#signalling.receive(message, now);
        return;
      case 'undelivered':
        this.#undelivered(message.to, now);
        return;
      case 'punch':
        this.#signalling.punch(message, now);
        return;
      case 'relays':
        this.#relays.list(message.relays, this.#serverAddress, now, this.#serverName);
        return;
      case 'ping':
        this.#serverTime(message.serverTime, now);
        return;
      case 'notice':
        this.#outputs.push({ type: 'notice', code: message.code, message: message.message });
        return;
      // The control link's business, and what needs no answer.
      case 'welcome':
      case 'refused':
      case 'response':
      case 'moving':
      // For a machine that is a relay.
      case 'relay-state':
      case 'relay-revoke':
        return;
      default:
        message satisfies never;
    }
  }

  #changed(network: string | undefined, outcome: MeshOutcome): void {
    this.#stale = true;
    if (network !== undefined && this.#mesh.networks.has(network)) {
      this.#outputs.push({ type: 'save-network', network });
    }
    for (const id of outcome.resync) {
      this.#outputs.push({ type: 'send', message: { t: 'resync', network: id } });
    }
    for (const removed of outcome.removed) {
      this.#outputs.push({ type: 'forget-network', ...removed });
    }
  }

  #serverTime(serverTimeMs: number, now: Now): void {
    this.#time.serverSays(serverTimeMs, now);
    const offsetMs = this.#time.offsetMs(now);
    if (offsetMs === undefined) return;
    this.#manager.paths({ type: 'time-offset', offsetMs }, now);
    this.#relays.handle({ type: 'time-offset', offsetMs }, now);
    this.#notices.clock(offsetMs);
    if (Math.abs(this.#time.latestMs - this.#serverTimeSavedMs) < saveTimeEveryMs) return;
    this.#serverTimeSavedMs = this.#time.latestMs;
    this.#outputs.push({ type: 'save-server-time', serverTimeMs: this.#time.latestMs });
  }

  #sockets(sockets: readonly DiscoverySocket[], now: Now): void {
    const { configuredPort } = this.#options;
    this.#discovery.handle({ type: 'configured-port', port: configuredPort }, now);
    this.#discovery.handle({ type: 'sockets', sockets }, now);
    const mains = sockets.filter(isMain);
    this.#manager.paths({ type: 'local-sockets', sockets: mains }, now);
    this.#relays.handle({ type: 'sockets', sockets: mains }, now);
    if (!this.#begun) this.#beginAlone(now);
  }

  /** Until a server is there, and if none comes: what is known from the last time. */
  #beginAlone(now: Now): void {
    this.#begun = true;
    if (this.#connected) return;
    const relays = this.#lastGood.relays(this.#time.documents(now));
    if (relays.length > 0) this.#relays.handle({ type: 'relays', relays }, now);
  }

  #datagram(input: MemberInput & { readonly type: 'datagram' }, now: Now): void {
    const { kind, bytes, socket, remote } = input;
    if (kind === 'stun') {
      this.#discovery.handle({ type: 'datagram', bytes, socket, remote }, now);
    } else if (kind === 'buri') {
      if (this.#relays.datagram(bytes, socket, remote, now)) return;
      this.#manager.paths({ type: 'datagram', bytes, socket, remote }, now);
    } else {
      const from = { socket, remote };
      this.#manager.tunnels({ kind: 'datagram', datagram: kind, bytes, from }, now);
    }
  }

  #activity({ activity }: MemberInput & { readonly type: 'activity' }, now: Now): void {
    const { peer, sentData } = activity;
    const sent = sentData || activity.sentKeepalive;
    const received = activity.receivedData || activity.receivedKeepalive;
    this.#manager.paths({ type: 'activity', peer, sent, received, sentData }, now);
    this.#manager.tunnels({ kind: 'activity', activity }, now);
  }

  /** Computes the pairs again, and makes the peers follow. */
  #reviewSoon(now: Now): void {
    if (this.#gathering || this.#synchronising) return;
    this.#gathering = true;
    this.#reviewAt = after(now.monotonic, gatherMs);
  }

  #review(now: Now): void {
    this.#stale = false;
    this.#gathering = false;
    this.#reviewAt = after(now.monotonic, reviewEveryMs);
    const time = this.#time.documents(now);
    this.#pairs = this.#mesh.pairs(time);
    this.#manager.sync(this.#pairs, now);
    for (const peer of this.#manager.peers.values()) this.#gossip.catchUp(peer, now);
    this.#signals.retain(this.#pairs);
    this.#signalling.retain(this.#pairs);
    this.#lastGood.retain(this.#pairs);
    this.#notices.networks(this.#mesh, time);
  }

  #pumpDiscovery(now: Now): void {
    for (let out = this.#discovery.poll(); out !== undefined; out = this.#discovery.poll()) {
      if (out.type === 'send') {
        const { socket, remote, bytes } = out;
        this.#outputs.push({ type: 'datagram', socket, remote, bytes });
        continue;
      }
      const { candidates, nat, publicEndpoints, mappingLifetimeMs: lifetimeMs } = out;
      this.#manager.paths({ type: 'mapping-lifetime', lifetimeMs }, now);
      this.#relays.handle({ type: 'mapping-lifetime', lifetimeMs }, now);
      this.#publicEndpointsAre(publicEndpoints, now);
      this.#local = { candidates, nat };
      this.#signalling.setLocal(this.#local, now);
      this.#tellCandidates(now);
    }
  }

  /** What peers are told may be news to them. */
  #tellCandidates(now: Now): void {
    if (this.#local === undefined) {
      // Servers do not answer by UDP, most likely: what is known already has to do.
      if (this.#relays.relays.home?.transport !== 'tcp') return;
      const { candidates, nat } = this.#discovery.discovered;
      this.#local = { candidates, nat };
      this.#signalling.setLocal(this.#local, now);
    }
    const candidates = withRelays(this.#local.candidates, this.#relays.relays.candidates);
    this.#manager.paths({ ...this.#local, type: 'local-candidates', candidates }, now);
  }

  /** A path is missing: perhaps because our own mapping is another one by now, so the server is asked about it too. */
  #offer(peer: Peer, hard: PunchTerms | undefined, now: Now): void {
    if (!this.#connected && !this.#carrier.hasWay(peer)) return;
    this.#recheck(now);
    this.#signalling.offer(peer, hard, now);
    if (!this.#connected) return;
    const last = this.#serverCheckedAt;
    if (last !== undefined && now.monotonic - last < checkServerEveryMs) return;
    this.#serverCheckedAt = now.monotonic;
    this.#outputs.push({ type: 'check-server' });
  }

  /** A message of a peer's program. Those of a kind that is not known are of a later version, and ignored. */
  #message(index: number, bytes: Uint8Array, now: Now): void {
    const peer = this.#manager.peers.get(index);
    if (peer === undefined) return;
    const type = memberMessageType(bytes);
    if (type === 'lan-report') this.#lan.receive(index, bytes);
    else if (type === 'signal') this.#carrier.receive(peer, bytes, now);
    else if (type === 'revocations') this.#gossip.receive(peer, bytes, now);
  }

  /** What the server says is told to those who may not hear it; before the pairs are computed anew, because then its subject is gone. */
  #tellRevocations(network: string, documents: readonly Uint8Array[], now: Now): void {
    if (documents.length === 0) return;
    // Of what was known before, other bytes are held.
    const told = new Set(documents);
    for (const revocation of this.#revocations([network])) {
      if (told.has(revocation.bytes) && this.#matters(revocation, now))
        this.#gossip.learnt(revocation, now);
    }
  }

  #tellDeletion(document: Uint8Array, now: Now): void {
    const deletion = this.#learnRevocation(document);
    if (deletion !== undefined) this.#gossip.learnt(deletion, now);
  }

  #learnRevocation(document: Uint8Array): Revocation | undefined {
    const applied = this.#mesh.applyRevocation(document);
    if (applied === undefined) return undefined;
    const { network, identity, outcome } = applied;
    this.#changed(network, outcome);
    if (identity === undefined) this.#outputs.push({ type: 'save-ways' });
    const held = this.#mesh.revocation(network, identity);
    return held && { network, identity, ...held };
  }

  #recentRevocations(networks: readonly string[], now: Now): Revocation[] {
    // Who was a member of a network that is no more is not known any more: all others are told of it.
    const deletions = [...this.#mesh.deletions].map((held) => ({ ...held, identity: undefined }));
    return [...this.#revocations(networks), ...deletions]
      .filter((held) => this.#matters(held, now))
      .sort((a, b) => b.issuedAt - a.issuedAt);
  }

  #matters({ issuedAt }: { readonly issuedAt: number }, now: Now): boolean {
    return issuedAt > this.#time.documents(now) - revocationMattersMs;
  }

  #revocations(networks: readonly string[]): (Revocation & { readonly issuedAt: number })[] {
    return networks.flatMap((network) =>
      [...(this.#mesh.networks.get(network)?.revocations ?? [])].map(([identity, revoked]) => ({
        ...{ network, identity },
        ...revoked,
      })),
    );
  }

  /** There is somebody more who can carry signals: those who are still sought need not wait for the end of a long pause. */
  #hasten(): void {
    for (const { hasPath, index } of this.#manager.peers.values()) {
      if (!hasPath) this.#unheard.add(index);
    }
  }

  /** Where a peer is reached again the server may be as well. */
  #pathFound(peer: Peer, now: Now): void {
    this.#gossip.catchUp(peer, now, true);
    if (!this.#connected) this.#hasten();
    const last = this.#serverCheckedAt;
    if (this.#connected || (last !== undefined && now.monotonic - last < checkLostServerEveryMs)) {
      return;
    }
    this.#serverCheckedAt = now.monotonic;
    this.#outputs.push({ type: 'check-server' });
  }

  /** Whether signals to the peer go by members, be it beside the server. */
  #byMembers(peer: Peer, now: Now): boolean {
    const isNeeded =
      !this.#connected ||
      peer.pair.presence !== 'online' ||
      this.#carrier.prefersMembers(peer, now.monotonic);
    return isNeeded && this.#carrier.hasWay(peer);
  }

  /** The server does not reach a peer: members may. */
  #undelivered(clientId: string, now: Now): void {
    const peer = this.#manager.peers.byClientId(clientId);
    if (peer === undefined || this.#carrier.prefersMembers(peer, now.monotonic)) return;
    const isKnown = this.#byMembers(peer, now);
    this.#carrier.preferMembers(peer, now.monotonic);
    if (!isKnown && this.#byMembers(peer, now)) this.#signalling.offer(peer, undefined, now);
  }

  /** A signal that members carried, as it seems from this client. */
  #carried(from: string, sealed: Uint8Array, now: Now): void {
    if (this.#gathering) this.#review(now);
    if (!this.#manager.peers.has(from)) this.#admit(from, sealed, now);
    if (!this.#signalling.receive({ from, sealed }, now, true)) return;
    const peer = this.#manager.peers.byClientId(from);
    if (peer !== undefined) this.#carrier.preferMembers(peer, now.monotonic);
    this.#recheck(now);
  }

  /** Who can signal is there, whatever the server said last. */
  #admit(from: string, sealed: Uint8Array, now: Now): void {
    const pair = this.#pairs.get(from);
    if (pair === undefined || !this.#signals.isGenuine(pair, sealed, this.#time.signals(now))) {
      return;
    }
    this.#presumed.add(from);
    if (this.#mesh.presume((clientId) => clientId === from)) this.#review(now);
  }

  #isDead(clientId: string): void {
    if (!this.#presumed.delete(clientId) || !this.#connected) return;
    if (this.#mesh.presumedWrongly(clientId)) this.#stale = true;
  }

  /** Something hints that our mappings are other ones by now. */
  #recheck(now: Now): void {
    this.#discovery.handle({ type: 'recheck' }, now);
    if (this.#discovery.isRechecking) this.#signalling.hold(now);
    this.#relays.handle({ type: 'recheck' }, now);
  }

  /** Another port means a NAT that has forgotten what leads to relays too; another address, the control connection too. */
  #publicEndpointsAre(endpoints: readonly Endpoint[], now: Now): void {
    const before = this.#publicEndpoints;
    this.#publicEndpoints = endpoints;
    if (before.length === 0 || endpoints.length === 0) return;
    if (!isSameBy(before, endpoints, formatEndpoint)) this.#relays.handle({ type: 'recheck' }, now);
    if (isSameBy(before, endpoints, ({ address }) => address)) return;
    this.#serverCheckedAt = now.monotonic;
    this.#outputs.push({ type: 'check-server' });
  }

  /** The two sides derive different keys: whoever missed something asks the server. */
  #disagree(peer: Peer, now: Now): void {
    if (!this.#connected) return;
    for (const network of peer.pair.networks) {
      const last = this.#resyncedAt.get(network);
      if (last !== undefined && now.monotonic - last < resyncEveryMs) continue;
      this.#resyncedAt.set(network, now.monotonic);
      for (const id of this.#mesh.requestView(network).resync) {
        this.#outputs.push({ type: 'send', message: { t: 'resync', network: id } });
      }
    }
  }
}

const revocationsIn = ({ changes }: ServerMessageOf<'delta'>): Uint8Array[] =>
  changes.flatMap((change) => (change.op === 'gone' ? [change.revocation] : []));

/** Whether a delta ends anything: that is never put off. */
const takesAway = ({ changes, active }: ServerMessageOf<'delta'>): boolean =>
  active === false || changes.some(({ op }) => op === 'gone');

const isSameBy = <T>(a: readonly T[], b: readonly T[], text: (of: T) => string): boolean =>
  a.map(text).join() === b.map(text).join();
