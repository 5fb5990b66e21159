/**
 * Attempts at NATs that an ordinary punch does not join (protocol §12): one at a time, agreed by both sides through
 * end-to-end signals, begun together, within a budget. Sans-IO, a part of the path machine.
 *
 *     leads (A)                    server                         B
 *       │ samples of its NAT          │                           │
 *       │ offer, ports of A ────────► │ ────────────────────────► │ samples of its NAT
 *       │ ◄──────────────── answer, ports of B, begin in n ms ─── │
 *       │ packets to ports of B ─────────────── packets to ports of A
 */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { Candidate, PunchTerms } from '#wire/signal.ts';
import { looksLikeStun } from '#wire/stun.ts';
import type { LocalSocket, PathInput } from '../io.ts';
import { AdoptedSockets } from './adopted.ts';
import {
  type Attempt,
  describeOutcome,
  describeRefusal,
  describeTechnique,
  type PunchOutcome,
  type PunchState,
} from './attempt.ts';
import type { PunchHost } from './host.ts';
import * as limits from './limits.ts';
import { mayAimAt, ownPorts, samplesFor } from './own-ports.ts';
import { type PunchPlan, planPunch } from './plan.ts';
import { Run } from './run.ts';
import { Sampler } from './sampler.ts';
import { PunchSchedule } from './schedule.ts';

type InputOf<T extends PathInput['type']> = Extract<PathInput, { type: T }>;

/** Offers of one peer are not taken up more often. */
const leastPauseMs = 10_000;

export class HardPunch {
  readonly #host: PunchHost;
  readonly #schedule = new PunchSchedule();
  readonly #adopted = new AdoptedSockets();
  /** How the last attempt with a peer went. */
  readonly #told = new Map<number, string>();
  #state: PunchState = { name: 'idle' };
  /** Sockets that are open for the attempt, and whether there will be no more. */
  #opened = 0;
  /** How many were asked for. */
  #asked = 0;
  /** Not before this, since the rate of all probes was spent. */
  #pacedAt: MonotonicMs | undefined;
  #enabled = true;
  #servers: readonly Endpoint[] = [];
  #candidates: readonly Candidate[] = [];

  constructor(host: PunchHost) {
    this.#host = host;
  }

  get adopted(): readonly LocalSocket[] {
    return this.#adopted.list;
  }

  /** What was tried with this peer, or is going to be; undefined where there is nothing to try. */
  explain(peer: number, now: MonotonicMs): string | undefined {
    const state = this.#state;
    if (state.name !== 'idle' && state.attempt.peer === peer) {
      return `${describeTechnique(state.attempt.technique)} …`;
    }
    const plan = this.#planFor(peer);
    const told = this.#told.get(peer);
    if (plan?.type === 'hopeless') return `guessing ports is not tried: ${plan.why}`;
    if (plan?.type !== 'guess') return told;
    if (!this.#enabled) return 'guessing ports is switched off (--hard-nat off)';
    const dueAt = this.#schedule.dueAt(peer);
    const inS = dueAt === undefined ? 0 : Math.ceil((dueAt - now) / 1000);
    const next = inS > 0 ? `next try in ${inS} s` : undefined;
    const parts = [told, next].filter((part) => part !== undefined);
    return parts.length === 0 ? undefined : parts.join('; ');
  }

  get isEnabled(): boolean {
    return this.#enabled;
  }

  setEnabled(enabled: boolean, now: Now): void {
    this.#enabled = enabled;
    if (!enabled) this.#end({ type: 'failed', why: 'it was switched off' }, now);
  }

  setServers(servers: readonly Endpoint[]): void {
    this.#servers = servers.filter(({ address }) => !address.includes(':'));
  }

  setCandidates(candidates: readonly Candidate[]): void {
    this.#candidates = candidates;
  }

  /** Something is new that decides whether there is something to try with this peer. */
  consider(peer: number, now: Now): void {
    const facts = this.#host.peer(peer);
    const plan = this.#planFor(peer);
    if (facts === undefined || facts.hasDirectPath || plan?.type !== 'guess') {
      if (this.#isWith(peer) && facts?.hasDirectPath) this.#found(now);
      this.#schedule.rest(peer);
    } else this.#schedule.add(peer, facts.leads, now.monotonic);
  }

  removePeer(peer: number, now: Now): void {
    if (this.#isWith(peer)) this.#end({ type: 'failed', why: 'the peer is gone' }, now);
    this.#schedule.remove(peer);
    this.#told.delete(peer);
  }

  networkChanged(now: Now): void {
    this.#end({ type: 'failed', why: 'this machine changed its network' }, now);
    this.#schedule.renew(now.monotonic);
  }

  /** What a signal of the peer's says of an attempt. @param proven addresses that the server vouches for. */
  signalled(
    peer: number,
    terms: PunchTerms,
    isOffer: boolean,
    proven: readonly string[],
    now: Now,
  ) {
    if (isOffer) {
      const refused = this.#refusal(peer, terms, proven, now);
      if (refused === undefined) this.#accept(peer, terms, now);
      else {
        this.#host.count('hardRefused', 1);
        const { attempt, technique } = terms;
        const hard = { attempt, technique, refused };
        this.#host.emit({ type: 'signal-wanted', peer, kind: 'answer', hard });
      }
      return;
    }
    const state = this.#state;
    if (state.name !== 'agreeing' || !state.attempt.proposed || !this.#isWith(peer)) return;
    if (terms.attempt !== state.attempt.id) return;
    const { ports, refused } = terms;
    if (refused !== undefined) {
      this.#end({ type: 'refused', why: refused }, now);
    } else if (ports === undefined || !mayAimAt(ports, proven)) {
      this.#end({ type: 'failed', why: 'the server does not confirm the other address' }, now);
    } else state.attempt.theirs = ports;
  }

  punch(peer: number, inMs: number, now: Now): void {
    const state = this.#state;
    if (state.name !== 'agreeing' || !this.#isWith(peer)) return;
    const { attempt } = state;
    const { technique, role, ours, theirs } = attempt;
    if (ours === undefined || theirs === undefined) return;
    const startAt = after(now.monotonic, Math.min(Math.max(0, inMs), 5000));
    const random = (below: number) => Math.floor(this.#host.chance() * below);
    const run = new Run({ technique, role, ours, theirs, startAt, random });
    this.#state = { name: 'running', attempt, run };
    this.#host.count('hardAttempts', 1);
    if (role === 'opens' && run.sockets > this.#opened) this.#open(run.sockets);
  }

  /** So many sockets are open for the attempt now; no more can be. */
  opened({ count }: InputOf<'punch-opened'>, now: Now): void {
    const state = this.#state;
    if (state.name === 'idle') return;
    this.#opened = count;
    if (count === 0 && state.name !== 'adopting') {
      this.#end({ type: 'failed', why: 'no socket could be opened' }, now);
    } else if (state.name === 'running' && count < state.run.sockets) {
      state.run.limitSockets(count);
    }
  }

  datagram({ index, bytes, remote }: InputOf<'punch-datagram'>, now: Now): void {
    const state = this.#state;
    if (looksLikeStun(bytes)) {
      if (state.name === 'preparing') state.sampler.receive(bytes, index, remote, now.monotonic);
      return;
    }
    if (state.name !== 'running' || this.#host.senderOf(bytes, now) !== state.attempt.peer) {
      return;
    }
    const { attempt, run } = state;
    const until = after(now.monotonic, limits.adoptMs);
    this.#state = { name: 'adopting', attempt, run, index, first: { bytes, remote }, until };
    this.#host.emit({ type: 'punch-adopt', index });
  }

  /** The engine has the socket, or could not take it. */
  adoptedAs({ index, socket, reason }: InputOf<'punch-adopted'>, now: Now): void {
    const state = this.#state;
    if (state.name !== 'adopting' || state.index !== index) {
      // Too late: nobody waits for it.
      if (socket !== undefined) this.#host.emit({ type: 'drop-socket', socket: socket.socket });
      return;
    }
    if (socket === undefined) {
      this.#end({ type: 'failed', why: reason ?? 'the socket could not be taken over' }, now);
      return;
    }
    const { first } = state;
    this.#adopted.add({ ...socket, isPunched: true }, now.monotonic);
    this.#state = { ...state, first: undefined };
    this.#host.emit({ type: 'punch-close' });
    this.#opened = 0;
    if (first !== undefined) this.#host.deliver(first.bytes, socket, first.remote, now);
  }

  /** Does whatever is due. */
  wake(now: Now): void {
    const at = now.monotonic;
    const state = this.#state;
    switch (state.name) {
      case 'idle':
        this.#begin(now);
        break;
      case 'preparing':
        state.sampler.wake(this.#opened, at);
        if (state.sampler.done || state.until <= at)
          this.#prepared(state.attempt, state.sampler, now);
        break;
      case 'agreeing':
        if (state.until <= at)
          this.#end({ type: 'failed', why: 'the other side did not answer' }, now);
        break;
      case 'running':
        this.#send(state.attempt, state.run, now);
        if (state.run.endAt <= at) this.#end({ type: 'no-hit', sent: state.run.sent }, now);
        break;
      case 'adopting':
        if (state.until <= at)
          this.#end({ type: 'failed', why: 'the path was not confirmed' }, now);
        break;
      default:
        state satisfies never;
    }
    this.#dropIdle(now);
  }

  deadline(): MonotonicMs | undefined {
    const all = [this.#stateDeadline(), this.#adopted.deadline()].filter((at) => at !== undefined);
    return all.length === 0 ? undefined : (Math.min(...all) as MonotonicMs);
  }

  #stateDeadline(): MonotonicMs | undefined {
    const state = this.#state;
    switch (state.name) {
      case 'idle':
        return this.#mayBegin() ? this.#schedule.deadline() : undefined;
      case 'preparing': {
        const sampleAt = state.sampler.deadline(this.#opened);
        if (state.sampler.done) return Number.NEGATIVE_INFINITY as MonotonicMs;
        return sampleAt !== undefined && sampleAt < state.until ? sampleAt : state.until;
      }
      case 'running': {
        const sendAt = state.run.dueAt(this.#opened);
        if (sendAt === undefined) return state.run.endAt;
        const next = Math.max(sendAt, this.#pacedAt ?? sendAt);
        return Math.min(next, state.run.endAt) as MonotonicMs;
      }
      case 'agreeing':
      case 'adopting':
        return state.until;
      default:
        return state satisfies never;
    }
  }

  #isWith(peer: number): boolean {
    return this.#state.name !== 'idle' && this.#state.attempt.peer === peer;
  }

  #planFor(peer: number): PunchPlan | undefined {
    const facts = this.#host.peer(peer);
    if (facts?.nat === undefined) return undefined;
    return planPunch(this.#host.local().nat, facts.nat, facts.leads);
  }

  #mayBegin(): boolean {
    const { connected, discovered } = this.#host.local();
    return this.#enabled && connected && discovered;
  }

  /** Takes the next peer whose turn it is. */
  #begin(now: Now): void {
    if (!this.#mayBegin()) return;
    const peer = this.#schedule.take(now.monotonic);
    if (peer === undefined) return;
    const plan = this.#planFor(peer);
    const facts = this.#host.peer(peer);
    if (facts === undefined || facts.hasDirectPath || plan?.type !== 'guess') {
      this.#schedule.rest(peer);
      return;
    }
    const { technique, role } = plan;
    const id =
      Math.floor(this.#host.chance() * 0x1_0000) * 0x1_0000 +
      Math.floor(this.#host.chance() * 0x1_0000);
    this.#prepare({ peer, id, technique, role, proposed: true, theirs: undefined }, now);
  }

  /** Why an offer is not taken up; undefined when it is. */
  #refusal(
    peer: number,
    { technique, ports }: PunchTerms,
    proven: readonly string[],
    now: Now,
  ): string | undefined {
    const facts = this.#host.peer(peer);
    const plan = this.#planFor(peer);
    if (!this.#enabled) return 'off';
    if (facts === undefined || ports === undefined) return 'not-ready';
    if (facts.hasDirectPath) return 'direct';
    if (plan?.type !== 'guess' || plan.technique !== technique) return 'disagree';
    if (!mayAimAt(ports, proven)) return 'unproven';
    if (plan.role === 'opens' && !this.#adopted.hasRoom) return 'no-room';
    const state = this.#state;
    const isOwnProposal =
      (state.name === 'preparing' || state.name === 'agreeing') && state.attempt.proposed;
    if (this.#isWith(peer) && isOwnProposal) return facts.leads ? 'crossed' : undefined;
    if (state.name !== 'idle') return 'busy';
    const last = this.#schedule.startedAt(peer);
    return last !== undefined && now.monotonic - last < leastPauseMs ? 'too-soon' : undefined;
  }

  #accept(peer: number, terms: PunchTerms, now: Now): void {
    const plan = this.#planFor(peer);
    if (plan?.type !== 'guess') return;
    if (this.#isWith(peer)) this.#close();
    const { technique, role } = plan;
    const { attempt: id, ports: theirs } = terms;
    this.#prepare({ peer, id, technique, role, proposed: false, theirs }, now);
  }

  #prepare(wanted: Omit<Attempt, 'before' | 'ours'>, now: Now): void {
    const { peer, technique, role } = wanted;
    const before = this.#schedule.failures(peer);
    const attempt: Attempt = { ...wanted, before, ours: undefined };
    const leads = this.#host.peer(peer)?.leads === true;
    this.#schedule.add(peer, leads, now.monotonic);
    this.#schedule.started(peer, now.monotonic);
    const { nat } = this.#host.local();
    const send = (index: number, remote: Endpoint, bytes: Uint8Array) =>
      this.#host.emit({ type: 'punch-send', index, remote, bytes });
    const samples = samplesFor({ technique, nat });
    const inOrder = technique === 'sequence';
    const options = { servers: this.#servers, wanted: samples, inOrder, now: now.monotonic };
    const sampler = new Sampler(this.#host.crypto, send, options);
    const until = after(now.monotonic, limits.prepareMs);
    this.#state = { name: 'preparing', attempt, sampler, until };
    if (!sampler.done) this.#open(samples);
    else if (role === 'opens' && !this.#adopted.hasRoom) {
      this.#end({ type: 'failed', why: 'no socket can be spared' }, now);
    }
  }

  #prepared(attempt: Attempt, { samples }: Sampler, now: Now): void {
    const { peer, technique, role, id, proposed } = attempt;
    const { nat } = this.#host.local();
    const ours = ownPorts({ technique, role, nat, candidates: this.#candidates, samples });
    const kind = proposed ? 'offer' : 'answer';
    const terms = { attempt: id, technique };
    if (ours === undefined) {
      if (!proposed) {
        const hard = { ...terms, refused: 'not-ready' };
        this.#host.emit({ type: 'signal-wanted', peer, kind, hard });
      }
      this.#end({ type: 'failed', why: 'the next port of the NAT here is not known' }, now);
      return;
    }
    attempt.ours = ours;
    this.#state = { name: 'agreeing', attempt, until: after(now.monotonic, limits.agreeMs) };
    this.#host.emit({ type: 'signal-wanted', peer, kind, hard: { ...terms, ports: ours } });
  }

  #send(attempt: Attempt, run: Run, now: Now): void {
    const at = now.monotonic;
    if (this.#pacedAt !== undefined && this.#pacedAt > at) return;
    this.#pacedAt = undefined;
    for (;;) {
      const dueAt = run.dueAt(this.#opened);
      if (dueAt === undefined || dueAt > at) return;
      if (!this.#host.gate.enterSpare(at)) {
        this.#pacedAt = after(at, limits.paceMs);
        return;
      }
      this.#sendOne(attempt, run, now);
    }
  }

  #sendOne(attempt: Attempt, run: Run, now: Now): void {
    const packet = run.take();
    const bytes = this.#host.seal(attempt.peer, now);
    if (packet === undefined || bytes === undefined) return;
    this.#host.count('hardProbes', 1);
    const { by, remote, opens } = packet;
    if (by === 'main') {
      const isMain = ({ family, isPunched }: LocalSocket) => family === 4 && isPunched !== true;
      const main = this.#host.local().sockets.find(isMain);
      if (main !== undefined) {
        this.#host.emit({ type: 'send', socket: main.socket, remote, bytes });
      }
      return;
    }
    const ttl = opens ? limits.openerTtls[attempt.before % limits.openerTtls.length] : undefined;
    this.#host.emit({
      type: 'punch-send',
      index: by,
      remote,
      bytes,
      ...(ttl === undefined ? {} : { ttl }),
    });
  }

  #open(count: number): void {
    this.#asked = Math.min(count, limits.maxPunchSockets);
    this.#host.emit({ type: 'punch-open', count: this.#asked });
  }

  #close(): void {
    if (this.#asked > 0) this.#host.emit({ type: 'punch-close' });
    this.#asked = 0;
    this.#opened = 0;
    this.#pacedAt = undefined;
    this.#state = { name: 'idle' };
  }

  #found(now: Now): void {
    const state = this.#state;
    const sent = state.name === 'running' || state.name === 'adopting' ? state.run.sent : 0;
    this.#end({ type: 'direct', sent }, now);
  }

  #end(outcome: PunchOutcome, now: Now): void {
    const state = this.#state;
    if (state.name === 'idle') return;
    const { attempt } = state;
    const { peer } = attempt;
    this.#close();
    const words = outcome.type === 'refused' ? describeRefusal(outcome.why) : undefined;
    this.#told.set(
      peer,
      describeOutcome(attempt, words === undefined ? outcome : { type: 'refused', why: words }),
    );
    const at = now.monotonic;
    const chance = this.#host.chance();
    if (outcome.type === 'direct') {
      this.#host.count('hardSucceeded', 1);
      this.#schedule.rest(peer);
    } else if (outcome.type !== 'refused') {
      this.#host.count('hardFailed', 1);
      this.#schedule.failed(peer, chance, at);
    } else if (outcome.why === 'unproven') this.#schedule.soon(peer, at);
    else if (passing.has(outcome.why)) this.#schedule.postponed(peer, chance, at);
    else this.#schedule.discouraged(peer, at);
  }

  #dropIdle(now: Now): void {
    const isUsed = (socket: number) => this.#host.isInUse(socket);
    const idle = this.#adopted.takeIdle(isUsed, now.monotonic);
    if (idle.length === 0) return;
    this.#host.socketsChanged(now);
    for (const { socket } of idle) this.#host.emit({ type: 'drop-socket', socket });
  }
}

/** Reasons that pass soon. */
const passing: ReadonlySet<string> = new Set([
  'busy',
  'crossed',
  'direct',
  'not-ready',
  'too-soon',
]);
