/**
 * The paths to one peer: finds pairs that work, uses the best proven one, notices when it dies (protocol §6, §7).
 *
 *     A                                              B
 *     │ request ──────────────────────────────────►  │  opens A's NAT; B's may drop this one
 *     │ ◄────────────────────────────────── request  │  arrives: A answers, and asks back at once
 *     │ response, request ────────────────────────►  │  B: answered
 *     │ ◄─ response, request (flags: B had answers)  │  A: answered, and B says the same: proven, in use
 *     │ response (flags: A had answers) ──────────►  │  B: the same
 *
 * Both sides end on one pair: the side with the lower tunnel key leads, the other one follows what it sees used. A pair over a relay
 * needs no signal and no punch, so it comes first, and the search for a direct one goes on above it.
 */
import { after, type MonotonicMs } from '#core/time.ts';
import { clientNumber } from '#wire/client-number.ts';
import { type Endpoint, familyOf } from '#wire/endpoint.ts';
import { type ProbeBody, probeBytes } from '#wire/probe.ts';
import type { Candidate, NatBehaviour } from '#wire/signal.ts';
import { Aliveness } from './aliveness.ts';
import { TokenBucket } from './budget.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import { type PathInput, type PeerPathView, unknownNat } from './io.ts';
import * as limits from './limits.ts';
import { Liveness } from './liveness.ts';
import { MtuWatch } from './mtu-watch.ts';
import { PairTable } from './pair-table.ts';
import type { Path } from './path.ts';
import { type RemoteFacts, viewOf } from './peer-view.ts';
import type { Transaction } from './probe-exchange.ts';
import type { ProbeKeys } from './probe-keys.ts';
import { Prober } from './prober.ts';
import { punchOutlook, tiers } from './ranking.ts';
import { RelayWants } from './relay-wants.ts';
import { believedCandidates, isUsable } from './remote-candidates.ts';
import { Seen } from './seen.ts';
import { choosePair } from './selection.ts';
import { SignalSchedule } from './signal-schedule.ts';

type InputOf<T extends PathInput['type']> = Extract<PathInput, { type: T }>;

/** Unanswered probes after which a proven pair that is not in use no longer counts as proven. */
const spareLostAfter = 3;
/** So long an answered pair waits for the peer to say the same. */
const confirmMs = 5000;
/** For so long after a roam report, what is received is not taken as a sign of the path in use. */
const roamedMs = 250;
/** A path that nobody keeps open is given up after so many keepalives were due. */
const lapseKeepalives = 1.5;
/** A punch this soon after another one is the same. */
const samePunchMs = 700;

export interface PeerIdentity {
  readonly peer: number;
  readonly clientId: string;
  readonly keys: ProbeKeys;
  /** Our tunnel key is the lower one. */
  readonly leads: boolean;
}

/** Where a datagram came from: over a relay, or directly. */
export interface Source {
  readonly socket: number;
  readonly remote: Endpoint;
  readonly relay: string | undefined;
}

export class PeerPaths {
  readonly identity: PeerIdentity;
  /** As relays know the peer. */
  readonly number: number | undefined;
  readonly responses = new TokenBucket(limits.responsesPerSecond, limits.responsesAtOnce);
  readonly #context: PathContext;
  readonly #pairs: PairTable;
  readonly #relayWants: RelayWants;
  readonly #prober: Prober;
  readonly #mtu: MtuWatch;
  readonly #signal = new SignalSchedule();
  readonly #seen = new Seen();
  readonly #aliveness: Aliveness;
  #liveness = new Liveness();
  #remote: RemoteFacts | undefined;
  #usedSince: MonotonicMs;
  /** The doubt about the path in use was acted upon. */
  #doubted = false;
  #hadPath = false;
  /** Nobody needs a direct path: its mappings have lapsed, and a relay waits for traffic. */
  #lapsed = false;
  #roamedAt: MonotonicMs | undefined;
  #punchAt: MonotonicMs | undefined;
  #burstAt: MonotonicMs | undefined;
  /** Since when a path is looked for. */
  #searchSince: MonotonicMs;

  constructor(context: PathContext, identity: PeerIdentity, now: MonotonicMs) {
    this.#context = context;
    this.identity = identity;
    this.#aliveness = new Aliveness(identity.peer, (output) => context.emit(output));
    this.number = clientNumber(identity.clientId);
    this.#pairs = new PairTable(this.number);
    this.#pairs.setRelays(context.local().relays);
    this.#relayWants = new RelayWants(context, identity.peer, this.#pairs);
    this.#prober = new Prober(context, identity.peer, this.#pairs);
    this.#mtu = new MtuWatch(context, identity.peer, this.#pairs);
    this.#searchSince = now;
    this.#usedSince = now;
  }

  get path(): Path | undefined {
    return this.#pairs.current?.path;
  }

  get hasDirectPath(): boolean {
    const { current } = this.#pairs;
    return current !== undefined && current.tier <= tiers.public;
  }

  /** As the peer told it; undefined before it signalled. */
  get remoteNat(): NatBehaviour | undefined {
    return this.#remote?.nat;
  }

  /** A pair on this socket is alive. */
  isOn(socket: number): boolean {
    for (const pair of this.#pairs.values()) {
      if (pair.path.socket === socket && pair.state.name === 'answered') return true;
    }
    return false;
  }

  /** Begins to signal. The side that leads goes first, so that offers rarely cross. */
  beginSignalling(now: MonotonicMs, delayMs: number): void {
    this.#signal.start(now, delayMs + (this.identity.leads ? 0 : limits.signalYieldMs));
  }

  /** There is news for the peer: our candidates or our network changed. At once when there is no path. */
  signalNews(now: MonotonicMs, delayMs: number): void {
    this.#signal.start(now, this.#isSearching ? 0 : delayMs, limits.signalNewsMs);
  }

  /** Our NAT turned out to be one that an attempt may be about. */
  natNews(now: MonotonicMs, delayMs: number): void {
    if (!this.hasDirectPath) this.#signal.start(now, delayMs, limits.signalNewsMs);
  }

  setRemoteCandidates(signalled: readonly Candidate[], nat: NatBehaviour, now: MonotonicMs): void {
    const believed = believedCandidates(signalled, this.#context.virtual);
    const { candidates, relays, refused } = believed;
    this.#context.count('candidatesRefused', refused);
    const list = candidates.map(({ text }) => text).join();
    if (list !== this.#remote?.list) {
      if (this.path === undefined) this.#searchSince = now;
      // The next punch is not the one before: there is something new to try.
      this.#burstAt = undefined;
    }
    const families = new Set(candidates.map(({ endpoint }) => familyOf(endpoint.address)));
    this.#remote = { nat, candidates: candidates.length, families, list };
    this.#pairs.setCandidates(candidates, this.#context.local().sockets);
    this.#pairs.setPeerRelays(relays);
    this.#askRelays(now);
    this.#relayWants.look(now);
    // Whoever signals although there is a path does not see it, or has moved.
    if (this.#pairs.current !== undefined) this.#liveness.check(this.#pairs.current, now);
    // Without an announced time (a lost message) both sides begin a moment later all the same.
    this.#punchAt ??= after(now, limits.punchFallbackMs);
    this.#signal.postpone(after(now, limits.signalAfterPunchMs));
    const offeredAt = this.#signal.sentAt;
    const isAnswer = offeredAt !== undefined && now - offeredAt < limits.signalWantedMs;
    if (!isAnswer || !this.#isSearching) return;
    // The offerer sends one probe at once to every new address, so that its own NAT is open in time.
    for (const pair of this.#pairs.values()) {
      if (pair.state.name === 'waiting' && pair.probesSent === 0) this.#probe(pair, now);
    }
  }

  punch(inMs: number, now: MonotonicMs): void {
    if (this.#burstAt !== undefined && now - this.#burstAt < samePunchMs) return;
    this.#punchAt = after(now, Math.min(Math.max(0, inMs), limits.maxPunchDelayMs));
    this.#signal.postpone(after(this.#punchAt, limits.signalAfterPunchMs));
  }

  /** An authenticated, fresh request. Returns what the response says, or undefined when it is a copy. */
  request(
    from: Source,
    body: ProbeBody,
    transaction: string,
    now: MonotonicMs,
  ): { readonly proven: boolean; readonly using: boolean } | undefined {
    if (!this.#seen.add(transaction)) {
      this.#context.count('requestsReplayed', 1);
      return undefined;
    }
    this.#aliveness.heard(now);
    const pair = this.#pairAt(from);
    if (pair === undefined) return { proven: false, using: false };
    if (pair.relay === undefined) this.#context.addresses.heard(pair.endpoint);
    pair.heardAt = now;
    this.#believeFlags(pair, body);
    this.#choose(now);
    if (pair.state.name !== 'answered') this.#prober.trigger(pair, this.#liveness, now);
    const proven = pair.state.name === 'answered';
    pair.announced ||= proven;
    return { proven, using: pair === this.#pairs.current };
  }

  /** The answer to our probe `number` on this pair. */
  response(
    pair: CandidatePair,
    probe: Pick<Transaction, 'number' | 'sentAt' | 'sizeBytes'>,
    body: ProbeBody,
    now: MonotonicMs,
  ): void {
    if (!this.#pairs.has(pair)) return;
    this.#aliveness.heard(now);
    const isPadded = probe.sizeBytes > probeBytes;
    if (isPadded) {
      pair.heard(now);
      this.#mtu.answered(pair, probe.sizeBytes, now);
    }
    if (pair.relay === undefined) this.#context.addresses.answered(pair.endpoint);
    const first = !isPadded && pair.responseReceived(probe.number, probe.sentAt, now);
    if (pair === this.#pairs.current) this.#pathHeard(now, isPadded);
    this.#believeFlags(pair, body);
    this.#choose(now);
    // The peer may use the pair only when it knows that we had a response too.
    if (first && !pair.announced) this.#probe(pair, now);
  }

  activity(
    { sent, received, sentData = false }: Omit<InputOf<'activity'>, 'type' | 'peer'>,
    now: MonotonicMs,
  ): void {
    if (received) this.#aliveness.heard(now);
    const { current } = this.#pairs;
    if (current === undefined) {
      if (sent) this.want(now);
      return;
    }
    this.#context.touch(this.identity.peer);
    if (this.#lapsed && (sentData || received)) this.#resume(now);
    const elsewhere = this.#roamedAt !== undefined && now - this.#roamedAt < roamedMs;
    if (received && !elsewhere) {
      current.heard(now);
      this.#pathHeard(now, false);
    }
    if (sent) this.#liveness.sent(current, now, this.#prober.keepaliveMs(current));
    if (sentData) this.#mtu.dataSent(now);
  }

  /** Authenticated data came from elsewhere: that address is asked at once, and so is the one in use. */
  roam(from: Source, now: MonotonicMs): void {
    this.#aliveness.heard(now);
    const pair = this.#pairAt(from);
    const { current } = this.#pairs;
    if (pair === undefined || pair === current) return;
    if (pair.relay === undefined) this.#context.addresses.heard(pair.endpoint);
    this.#roamedAt = now;
    pair.heardAt = now;
    this.#pairs.peerUses(pair);
    if (current !== undefined) this.#liveness.check(current, now);
    this.#choose(now);
    if (pair !== this.#pairs.current) this.#prober.trigger(pair, this.#liveness, now);
  }

  /** Data waits, and there is no path: signals sooner than the back-off would. */
  want(now: MonotonicMs): void {
    if (this.path === undefined) this.#signal.hasten(now, limits.signalWantedMs);
  }

  checkLiveness(now: MonotonicMs): void {
    this.#aliveness.check(after(now, limits.establishMs));
    if (this.#pairs.current !== undefined) {
      this.#liveness.check(this.#pairs.current, now);
      return;
    }
    if (this.#remote !== undefined) this.#punchAt ??= now;
    this.#signal.start(now, 0);
  }

  networkChanged(now: MonotonicMs, delayMs: number): void {
    this.#mtu.networkChanged(now);
    if (this.#pairs.current !== undefined) this.#liveness.check(this.#pairs.current, now);
    this.signalNews(now, delayMs);
  }

  socketsChanged(now: MonotonicMs): void {
    this.#pairs.setSockets(this.#context.local().sockets);
    const { current } = this.#pairs;
    if (current !== undefined && !this.#pairs.has(current)) this.#lose(now);
    if (this.#isSearching && this.#remote !== undefined) this.#punchAt ??= now;
  }

  /** Allocations on relays came, went, or are reached in another way. */
  relaysChanged(now: MonotonicMs): void {
    const { current } = this.#pairs;
    const before = current?.path;
    this.#pairs.setRelays(this.#context.local().relays);
    this.#askRelays(now);
    this.#relayWants.look(now);
    if (current === undefined || current.path === before) {
      if (current !== undefined && !this.#pairs.has(current)) this.#lose(now);
      else this.#choose(now);
      return;
    }
    this.#emitPath(current);
    this.#liveness.check(current, now);
  }

  /** Does whatever is due. */
  wake(now: MonotonicMs): void {
    if (this.#punchAt !== undefined && this.#punchAt <= now) this.#beginBursts(now);
    this.#judge(now);
    this.#relayWants.wake(now);
    this.#mtu.silence(this.#liveness.sendingSince, now);
    this.#prober.wake(this.#liveness, now);
    this.#mtu.wake(now);
    this.#signalWhenDue(now);
    this.#aliveness.wake(now);
  }

  deadline(now: MonotonicMs): MonotonicMs | undefined {
    const all = [
      this.#punchAt,
      this.#aliveness.deadline(),
      this.#context.local().discovered ? this.#signal.dueAt : undefined,
      this.#prober.deadline(this.#liveness, now),
      this.#relayWants.dueAt,
      this.#lapseAt(),
      this.#mtu.deadline(),
      this.#mtu.silentAt(this.#liveness.sendingSince),
    ];
    const known = all.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : (Math.min(...known) as MonotonicMs);
  }

  view(now: MonotonicMs): PeerPathView {
    const { heardAt } = this.#aliveness;
    return viewOf({
      pairs: [...this.#pairs.values()],
      current: this.#pairs.current,
      doubted: this.#doubted,
      lapsed: this.#lapsed,
      searchedMs: now - this.#searchSince,
      local: this.#context.local(),
      remote: this.#remote,
      heardOnly: heardAt !== undefined && heardAt > this.#searchSince,
      lost: this.#hadPath,
      mtuBytes: this.#mtu.mtuBytes,
    });
  }

  /** No direct path is in use and well, and one is needed. */
  get #isSearching(): boolean {
    const { current } = this.#pairs;
    if (current === undefined || this.#doubted) return true;
    return current.relay !== undefined && !this.#lapsed;
  }

  #askRelays(now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) {
      if (pair.relay !== undefined) this.#prober.askRelay(pair, now);
    }
  }

  #probe(pair: CandidatePair, now: MonotonicMs): void {
    this.#prober.probe(pair, this.#liveness, now);
  }

  #beginBursts(now: MonotonicMs): void {
    this.#punchAt = undefined;
    this.#burstAt = now;
    this.#prober.beginBursts(this.#isSearching, this.#liveness, now);
  }

  /** Draws the conclusions from silence. */
  #judge(now: MonotonicMs): void {
    const { current } = this.#pairs;
    for (const pair of this.#pairs.values()) {
      if (pair === current || pair.state.name !== 'answered') continue;
      const silent = pair.unanswered >= spareLostAfter && pair.overdue(now);
      if (silent || (!pair.peerProven && now - pair.state.since > confirmMs)) pair.fail(now);
    }
    if (current === undefined) return;
    const lapseAt = this.#lapseAt();
    if (lapseAt !== undefined && lapseAt <= now) this.#lapse();
    const verdict = this.#liveness.verdict(current, now);
    switch (verdict) {
      case 'live':
        break;
      case 'quiet':
        // Whoever answers is there to take over when the doubt grows.
        for (const pair of this.#pairs.values()) {
          if (pair !== current && pair.proven && pair.unanswered === 0) this.#probe(pair, now);
        }
        this.#choose(now);
        break;
      case 'doubtful':
        if (!this.#doubted) {
          this.#doubted = true;
          if (current.relay !== undefined) {
            this.#context.emit({ type: 'relay-doubted', relay: current.relay.relay });
          }
          this.#signal.start(now, 0);
          this.#beginBursts(now);
        }
        this.#choose(now);
        break;
      case 'lost':
        this.#lose(now);
        break;
      default:
        verdict satisfies never;
    }
  }

  #choose(now: MonotonicMs): void {
    const role = { leads: this.identity.leads, usedSince: this.#usedSince };
    const pair = choosePair(this.#pairs, role, now);
    if (pair !== undefined) this.#use(pair, now);
  }

  #use(pair: CandidatePair, now: MonotonicMs): void {
    const { peer } = this.identity;
    const before = this.#pairs.current;
    this.#context.count(before === undefined ? 'pathsFound' : 'pathsChanged', 1);
    if (before?.overdue(now) === true) before.leftSilent(now);
    if (pair.relay !== undefined && before?.relay === undefined) this.#searchSince = now;
    this.#pairs.current = pair;
    this.#lapsed = false;
    this.#liveness = new Liveness();
    this.#usedSince = now;
    this.#doubted = false;
    this.#hadPath = true;
    this.#roamedAt = undefined;
    if (pair.relay === undefined) this.#signal.stop();
    else this.#seekDirect(now);
    this.#context.touch(peer);
    this.#emitPath(pair);
    this.#aliveness.pathFound();
    if (pair.heardAt === undefined || now - pair.heardAt > confirmMs) {
      this.#liveness.check(pair, now);
    }
  }

  #emitPath(pair: CandidatePair): void {
    const { peer } = this.identity;
    this.#context.emit({ type: 'path', peer, path: this.#mtu.path(pair) });
  }

  /** The relay carries the traffic meanwhile. */
  #seekDirect(now: MonotonicMs): void {
    this.#relayWants.look(now);
    if (this.#signal.dueAt === undefined) this.#signal.start(now, 0);
  }

  /** When the mappings of a direct path that nobody keeps open are given up for the relay. */
  #lapseAt(): MonotonicMs | undefined {
    const { current } = this.#pairs;
    const { heardAt } = current ?? {};
    if (current?.relay !== undefined || heardAt === undefined) return undefined;
    if (this.#context.isKept(this.identity.peer)) return undefined;
    if (this.#pairs.best(isRelayed) === undefined) return undefined;
    return after(heardAt, lapseKeepalives * this.#context.keepaliveMs());
  }

  /** So that what is sent next does not get lost in a NAT that has forgotten us: it goes over the relay. */
  #lapse(): void {
    const relayed = this.#pairs.best(isRelayed);
    if (relayed === undefined) return;
    this.#context.count('pathsLapsed', 1);
    this.#pairs.current = relayed;
    this.#liveness = new Liveness();
    this.#lapsed = true;
    this.#doubted = false;
    this.#signal.stop();
    this.#emitPath(relayed);
  }

  /** There is traffic again: directly, if that still works or can be made to. */
  #resume(now: MonotonicMs): void {
    this.#lapsed = false;
    this.#usedSince = now;
    this.#seekDirect(now);
    this.#beginBursts(now);
  }

  #lose(now: MonotonicMs): void {
    const { peer } = this.identity;
    this.#pairs.current?.leftSilent(now);
    this.#pairs.current?.fail(now);
    this.#pairs.current = undefined;
    this.#doubted = false;
    this.#searchSince = now;
    this.#context.count('pathsLost', 1);
    this.#choose(now);
    if (this.path !== undefined) return;
    this.#context.emit({ type: 'path', peer, path: undefined });
    this.#aliveness.pathLost();
    this.#signal.start(now, 0);
    this.#punchAt ??= after(now, limits.punchFallbackMs);
  }

  #signalWhenDue(now: MonotonicMs): void {
    const { dueAt } = this.#signal;
    const { connected, discovered } = this.#context.local();
    if (!discovered || dueAt === undefined || dueAt > now) return;
    this.#signal.sent(now, this.#context.chance(), this.#signalMostMs());
    if (connected) this.#context.emit({ type: 'signal-wanted', peer: this.identity.peer });
    if (!this.#isSearching) this.#signal.stop();
    // The answer may not come: then at least the addresses known are tried again.
    else if (this.#remote !== undefined) {
      this.#punchAt ??= after(now, connected ? limits.punchFallbackMs : 0);
    }
  }

  #signalMostMs(): number {
    if (this.path === undefined || this.#doubted) return limits.signalMostMs;
    const outlook = punchOutlook(this.#context.local().nat, this.#remote?.nat ?? unknownNat);
    const isNeeded = this.#context.isKept(this.identity.peer) && outlook !== 'impossible';
    return isNeeded ? limits.signalRelayedMostMs : limits.signalHopelessMostMs;
  }

  #pairAt({ socket, remote, relay }: Source): CandidatePair | undefined {
    if (relay !== undefined) return this.#pairs.atRelay(relay, true);
    const known = this.#pairs.find(socket, remote);
    if (known !== undefined) return known;
    const open = this.#context.local().sockets.some((local) => local.socket === socket);
    if (!open || !isUsable(remote, this.#context.virtual)) return undefined;
    return this.#pairs.addPeerReflexive(socket, remote);
  }

  #believeFlags(pair: CandidatePair, { proven, using }: ProbeBody): void {
    pair.peerProven ||= proven;
    if (using) this.#pairs.peerUses(pair);
    else pair.peerUsing = false;
  }

  #pathHeard(now: MonotonicMs, isPadded: boolean): void {
    this.#liveness.heard();
    if (!isPadded) this.#mtu.heard(now);
    if (!this.#doubted) return;
    this.#doubted = false;
    if (!this.#isSearching) this.#signal.stop();
  }
}

const isRelayed = (pair: CandidatePair): boolean => pair.relay !== undefined;
