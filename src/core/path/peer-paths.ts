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
import type { Candidate, NatBehaviour } from '#wire/signal.ts';
import { Aliveness } from './aliveness.ts';
import { TokenBucket } from './budget.ts';
import type { PathContext } from './context.ts';
import { InUse } from './in-use.ts';
import type { PathInput, PeerPathView } from './io.ts';
import * as limits from './limits.ts';
import { Measuring } from './measuring.ts';
import { MtuWatch } from './mtu-watch.ts';
import { PairTable } from './pair-table.ts';
import type { Path } from './path.ts';
import { PathChoice } from './path-choice.ts';
import { viewOf } from './peer-view.ts';
import type { ProbeKeys } from './probe-keys.ts';
import { Prober } from './prober.ts';
import { Proof } from './proof.ts';
import { tiers } from './ranking.ts';
import { RelayWants } from './relay-wants.ts';
import { believedCandidates } from './remote-candidates.ts';
import { Search } from './search.ts';
import { Starvation } from './starvation.ts';

type InputOf<T extends PathInput['type']> = Extract<PathInput, { type: T }>;

export interface PeerIdentity {
  readonly peer: number;
  readonly clientId: string;
  readonly keys: ProbeKeys;
  /** Our tunnel key is the lower one. */
  readonly leads: boolean;
}

export class PeerPaths {
  readonly identity: PeerIdentity;
  /** As relays know the peer. */
  readonly number: number | undefined;
  /** What arrives from the peer. */
  readonly proof: Proof;
  readonly responses = new TokenBucket(limits.responsesPerSecond, limits.responsesAtOnce);
  readonly #context: PathContext;
  readonly #pairs: PairTable;
  readonly #relayWants: RelayWants;
  readonly #prober: Prober;
  readonly #mtu: MtuWatch;
  readonly #measuring: Measuring;
  readonly #use: InUse;
  readonly #search: Search;
  readonly #choice: PathChoice;
  readonly #aliveness: Aliveness;
  readonly #starvation = new Starvation();

  constructor(context: PathContext, identity: PeerIdentity, now: MonotonicMs) {
    const { peer, leads } = identity;
    this.#context = context;
    this.identity = identity;
    this.#aliveness = new Aliveness(peer, (output) => context.emit(output));
    this.number = clientNumber(identity.clientId);
    this.#pairs = new PairTable(this.number);
    this.#pairs.setRelays(context.local().relays);
    this.#relayWants = new RelayWants(context, peer, this.#pairs);
    this.#prober = new Prober(context, peer, this.#pairs);
    this.#mtu = new MtuWatch(context, peer, this.#pairs);
    this.#measuring = new Measuring(context, peer, this.#pairs);
    this.#use = new InUse(this.#pairs, now);
    const shared = { context, peer, pairs: this.#pairs, prober: this.#prober, use: this.#use };
    this.#search = new Search(shared, now);
    const parts = {
      ...shared,
      leads,
      mtu: this.#mtu,
      relayWants: this.#relayWants,
      aliveness: this.#aliveness,
      search: this.#search,
      starvation: this.#starvation,
    };
    this.#choice = new PathChoice(parts);
    this.proof = new Proof(parts, this.#choice);
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
    return this.#search.remote?.nat;
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
    this.#search.signal(now, delayMs + (this.identity.leads ? 0 : limits.signalYieldMs));
  }

  /** There is news for the peer: our candidates or our network changed. At once when there is no path. */
  signalNews(now: MonotonicMs, delayMs: number): void {
    this.#search.signal(now, this.#use.isSearching ? 0 : delayMs, limits.signalNewsMs);
  }

  /** Our NAT turned out to be one that an attempt may be about. */
  natNews(now: MonotonicMs, delayMs: number): void {
    if (!this.hasDirectPath) this.#search.signal(now, delayMs, limits.signalNewsMs);
  }

  setRemoteCandidates(signalled: readonly Candidate[], nat: NatBehaviour, now: MonotonicMs): void {
    this.#learn(signalled, nat, now);
    // Whoever signals although there is a path does not see it, or has moved.
    this.#use.check(now);
    this.#search.expectPunch(now);
  }

  /** From the last time there was a path. What the peer signalled since is newer. */
  remember(candidates: readonly Candidate[], nat: NatBehaviour, now: MonotonicMs): void {
    if (this.#search.remote !== undefined || this.#pairs.current !== undefined) return;
    this.#learn(candidates, nat, now);
    this.#search.punchAlone(now, 0);
  }

  #learn(signalled: readonly Candidate[], nat: NatBehaviour, now: MonotonicMs): void {
    const believed = believedCandidates(signalled, this.#context.virtual);
    const { candidates, relays, refused } = believed;
    this.#context.count('candidatesRefused', refused);
    this.#search.told(candidates, nat, now);
    this.#pairs.setCandidates(candidates, this.#context.local().sockets);
    this.#pairs.setPeerRelays(relays);
    this.#askRelays(now);
    this.#relayWants.look(now);
  }

  punch(inMs: number, now: MonotonicMs): void {
    this.#search.punch(inMs, now);
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
    if (this.#use.isLapsed && (sentData || received)) this.#choice.resume(now);
    if (received && !this.#use.isElsewhere(now)) {
      current.heard(now);
      this.#choice.heard(now, false);
    }
    if (sent) this.#use.liveness.sent(current, now, this.#prober.keepaliveMs(current));
    if (received) {
      this.#measuring.received(now);
      this.#starvation.end();
    }
    if (sentData) {
      this.#measuring.sent(now);
      this.#starvation.sentData(now);
      this.#mtu.dataSent(now);
    }
  }

  /** Data waits, and there is no path: signals sooner than the back-off would. */
  want(now: MonotonicMs): void {
    if (this.path === undefined) this.#search.hasten(now);
  }

  checkLiveness(now: MonotonicMs): void {
    this.#aliveness.check(after(now, limits.establishMs));
    if (this.#pairs.current !== undefined) {
      this.#use.check(now);
      return;
    }
    if (this.#search.remote !== undefined) this.#search.punchAlone(now, 0);
    this.#search.signal(now, 0);
  }

  /** We are reached at another public address: whatever pairs did before was its doing, perhaps. */
  publicAddressChanged(): void {
    for (const pair of this.#pairs.values()) pair.acquit();
  }

  networkChanged(now: MonotonicMs, delayMs: number): void {
    this.publicAddressChanged();
    this.#mtu.networkChanged(now);
    this.#use.check(now);
    this.signalNews(now, delayMs);
  }

  socketsChanged(now: MonotonicMs): void {
    this.#pairs.setSockets(this.#context.local().sockets);
    const { current } = this.#pairs;
    if (current !== undefined && !this.#pairs.has(current)) this.#choice.lose(now);
    if (this.#use.isSearching && this.#search.remote !== undefined) {
      this.#search.punchAlone(now, 0);
    }
  }

  /** Allocations on relays came, went, or are reached in another way. */
  relaysChanged(now: MonotonicMs): void {
    const { current } = this.#pairs;
    const before = current?.path;
    this.#pairs.setRelays(this.#context.local().relays);
    this.#askRelays(now);
    this.#relayWants.look(now);
    if (current === undefined || current.path === before) {
      if (current !== undefined && !this.#pairs.has(current)) this.#choice.lose(now);
      else this.#choice.choose(now);
      return;
    }
    this.#choice.rerouted(current, now);
  }

  /** Does whatever is due. */
  wake(now: MonotonicMs): void {
    this.#search.wakePunch(now);
    this.#choice.judge(now);
    this.#relayWants.wake(now);
    this.#mtu.silence(this.#use.liveness.sendingSince, now);
    this.#prober.wake(this.#use.liveness, now);
    this.#mtu.wake(now);
    this.#measuring.wake(now);
    this.#search.wakeSignal(now);
    this.#aliveness.wake(now);
  }

  deadline(now: MonotonicMs): MonotonicMs | undefined {
    const all = [
      this.#search.punchAt,
      this.#aliveness.deadline(),
      this.#search.signalAt,
      this.#prober.deadline(this.#use.liveness, now),
      this.#relayWants.dueAt,
      this.#choice.lapseAt(),
      this.#choice.starvedAt(),
      this.#mtu.deadline(),
      this.#measuring.deadline(),
      this.#mtu.silentAt(this.#use.liveness.sendingSince),
    ];
    const known = all.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : (Math.min(...known) as MonotonicMs);
  }

  view(now: MonotonicMs): PeerPathView {
    const { heardAt } = this.#aliveness;
    return viewOf({
      pairs: [...this.#pairs.values()],
      current: this.#pairs.current,
      doubted: this.#use.isDoubted,
      lapsed: this.#use.isLapsed,
      searchedMs: now - this.#search.since,
      local: this.#context.local(),
      remote: this.#search.remote,
      heardOnly: heardAt !== undefined && heardAt > this.#search.since,
      lost: this.#use.hadPath,
      mtuBytes: this.#mtu.mtuBytes,
    });
  }

  #askRelays(now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) {
      if (pair.relay !== undefined) this.#prober.askRelay(pair, now);
    }
  }
}
