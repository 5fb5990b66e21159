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
import type { PunchTerms } from '#wire/signal.ts';
import { looksLikeStun } from '#wire/stun.ts';
import type { LocalSocket, PathInput } from '../io.ts';
import { AdoptedSockets } from './adopted.ts';
import type { Attempt, PunchOutcome, PunchState } from './attempt.ts';
import type { PunchHistory } from './history.ts';
import type { PunchHost } from './host.ts';
import * as limits from './limits.ts';
import { mayAimAt } from './own-ports.ts';
import type { OwnSide } from './own-side.ts';
import { Run } from './run.ts';
import type { Sampler } from './sampler.ts';
import { Transmission } from './transmission.ts';

type InputOf<T extends PathInput['type']> = Extract<PathInput, { type: T }>;

type Subject = Pick<PunchTerms, 'attempt' | 'technique'>;

export type PunchInput = InputOf<'punch-opened' | 'punch-datagram' | 'punch-adopted'>;

export class Attempts {
  readonly #host: PunchHost;
  readonly #own: OwnSide;
  readonly #history: PunchHistory;
  readonly #schedule: PunchHistory['schedule'];
  readonly #adopted = new AdoptedSockets();
  readonly #transmission: Transmission;
  #state: PunchState = { name: 'idle' };

  constructor(host: PunchHost, own: OwnSide, history: PunchHistory) {
    this.#host = host;
    this.#own = own;
    this.#history = history;
    this.#schedule = history.schedule;
    this.#transmission = new Transmission(host);
  }

  get adopted(): readonly LocalSocket[] {
    return this.#adopted.list;
  }

  /** The one with this peer, if it goes on. */
  with(peer: number): Attempt | undefined {
    const state = this.#state;
    return state.name !== 'idle' && state.attempt.peer === peer ? state.attempt : undefined;
  }

  /** The peer has a direct path. */
  found(now: Now): void {
    const state = this.#state;
    const sent = state.name === 'running' || state.name === 'adopting' ? state.run.sent : 0;
    this.end({ type: 'direct', sent }, now);
  }

  /** Whatever goes on is over. */
  end(outcome: PunchOutcome, now: Now): void {
    const state = this.#state;
    if (state.name === 'idle') return;
    const { attempt } = state;
    this.#close();
    if (outcome.type === 'direct') this.#host.count('hardSucceeded', 1);
    else if (outcome.type !== 'refused') this.#host.count('hardFailed', 1);
    this.#history.ended(attempt, outcome, this.#host.chance(), now.monotonic);
  }

  /** @param proven addresses that the server vouches for. */
  offered(peer: number, terms: PunchTerms, proven: readonly string[], now: Now): void {
    const refused = this.#refusal(peer, terms, proven, now);
    if (refused === undefined) {
      this.#accept(peer, terms, now);
      return;
    }
    this.#host.count('hardRefused', 1);
    this.#refuse(peer, terms, refused);
  }

  answered(peer: number, terms: PunchTerms, proven: readonly string[], now: Now): void {
    const attempt = this.with(peer);
    if (this.#state.name !== 'agreeing' || !attempt?.proposed) return;
    if (terms.attempt !== attempt.id) return;
    const { ports, refused } = terms;
    if (refused !== undefined) {
      this.end({ type: 'refused', why: refused }, now);
    } else if (ports === undefined || !mayAimAt(ports, proven)) {
      this.end({ type: 'failed', why: 'the server does not confirm the other address' }, now);
    } else attempt.theirs = ports;
  }

  punch(peer: number, inMs: number, now: Now): void {
    const state = this.#state;
    if (state.name !== 'agreeing' || this.with(peer) === undefined) return;
    const { attempt } = state;
    const { technique, role, ours, theirs } = attempt;
    if (ours === undefined || theirs === undefined) return;
    const startAt = after(now.monotonic, Math.min(Math.max(0, inMs), 5000));
    const run = new Run({ technique, role, ours, theirs, startAt, random: this.#own.random });
    this.#state = { name: 'running', attempt, run };
    this.#host.count('hardAttempts', 1);
    if (role === 'opens' && run.sockets > this.#transmission.opened) {
      this.#transmission.open(run.sockets);
    }
  }

  /** So many sockets are open for the attempt now; no more can be. */
  opened({ count }: InputOf<'punch-opened'>, now: Now): void {
    const state = this.#state;
    if (state.name === 'idle') return;
    this.#transmission.setOpened(count);
    if (count === 0 && state.name !== 'adopting') {
      this.end({ type: 'failed', why: 'no socket could be opened' }, now);
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
    this.#adopted.makeRoom(this.#host, now);
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
      this.end({ type: 'failed', why: reason ?? 'the socket could not be taken over' }, now);
      return;
    }
    const { first } = state;
    this.#adopted.add({ ...socket, isPunched: true }, now.monotonic);
    this.#state = { ...state, first: undefined };
    this.#transmission.closeLosers();
    if (first !== undefined) this.#host.deliver(first.bytes, socket, first.remote, now);
  }

  /** Does whatever is due. */
  wake(now: Now): void {
    const at = now.monotonic;
    const state = this.#state;
    const isLate = 'until' in state && state.until <= at;
    switch (state.name) {
      case 'idle':
        this.#begin(now);
        break;
      case 'preparing':
        state.sampler.wake(this.#transmission.opened, at);
        if (state.sampler.done || isLate) this.#prepared(state.attempt, state.sampler, now);
        break;
      case 'agreeing':
        if (isLate) this.end({ type: 'failed', why: 'the other side did not answer' }, now);
        break;
      case 'running':
        this.#transmission.send(state.attempt, state.run, now);
        if (state.run.endAt <= at) this.end(noHit(state.run), now);
        break;
      case 'adopting':
        if (isLate) this.end({ type: 'failed', why: 'the path was not confirmed' }, now);
        break;
      default:
        state satisfies never;
    }
    this.#adopted.dropIdle(this.#host, now);
  }

  deadline(): MonotonicMs | undefined {
    const all = [this.#stateDeadline(), this.#adopted.deadline()].filter((at) => at !== undefined);
    return all.length === 0 ? undefined : (Math.min(...all) as MonotonicMs);
  }

  #stateDeadline(): MonotonicMs | undefined {
    const state = this.#state;
    switch (state.name) {
      case 'idle':
        return this.#own.mayBegin ? this.#schedule.deadline() : undefined;
      case 'preparing': {
        const sampleAt = state.sampler.deadline(this.#transmission.opened);
        return sampleAt !== undefined && sampleAt < state.until ? sampleAt : state.until;
      }
      case 'running':
        return this.#transmission.deadline(state.run);
      case 'agreeing':
      case 'adopting':
        return state.until;
      default:
        return state satisfies never;
    }
  }

  /** Takes the next peer whose turn it is. */
  #begin(now: Now): void {
    if (!this.#own.mayBegin) return;
    const peer = this.#schedule.take(now.monotonic);
    if (peer === undefined) return;
    const guess = this.#own.guessFor(peer);
    if (guess === undefined) {
      this.#schedule.rest(peer);
      return;
    }
    const id = this.#own.newId();
    this.#prepare({ peer, id, ...guess, proposed: true, theirs: undefined }, now);
  }

  /** Why an offer is not taken up; undefined when it is. */
  #refusal(
    peer: number,
    terms: PunchTerms,
    proven: readonly string[],
    now: Now,
  ): string | undefined {
    const objection = this.#own.objection(peer, terms, proven);
    if (objection !== undefined) return objection;
    const opens = this.#own.guessFor(peer)?.role === 'opens';
    if (opens && !this.#adopted.hasRoom(this.#host)) return 'no-room';
    const state = this.#state;
    const isOwnProposal =
      (state.name === 'preparing' || state.name === 'agreeing') && state.attempt.proposed;
    if (this.with(peer) !== undefined && isOwnProposal)
      return this.#host.peer(peer)?.leads ? 'crossed' : undefined;
    if (state.name !== 'idle') return 'busy';
    const last = this.#schedule.startedAt(peer);
    const pauseMs = terms.technique === 'block' ? limits.leastSmallPauseMs : limits.leastPauseMs;
    return last !== undefined && now.monotonic - last < pauseMs ? 'too-soon' : undefined;
  }

  #refuse(peer: number, { attempt, technique }: Subject, refused: string): void {
    const hard = { attempt, technique, refused };
    this.#host.emit({ type: 'signal-wanted', peer, kind: 'answer', hard });
  }

  #accept(peer: number, terms: PunchTerms, now: Now): void {
    const guess = this.#own.guessFor(peer);
    if (guess === undefined) return;
    if (this.with(peer) !== undefined) this.#close();
    const { attempt: id, ports: theirs } = terms;
    this.#prepare({ peer, id, ...guess, proposed: false, theirs }, now);
  }

  #prepare(wanted: Omit<Attempt, 'before' | 'ours'>, now: Now): void {
    const { peer, technique, role } = wanted;
    const before = this.#schedule.failures(peer);
    const attempt: Attempt = { ...wanted, before, ours: undefined };
    const leads = this.#host.peer(peer)?.leads === true;
    this.#schedule.add(peer, leads, now.monotonic);
    this.#schedule.started(peer, now.monotonic);
    const { sampler, samples } = this.#own.sample(technique, now);
    const until = after(now.monotonic, limits.prepareMs);
    this.#state = { name: 'preparing', attempt, sampler, until };
    if (!sampler.done) this.#transmission.open(samples);
    else if (role === 'opens' && !this.#adopted.hasRoom(this.#host)) {
      this.end({ type: 'failed', why: 'no socket can be spared' }, now);
    }
  }

  #prepared(attempt: Attempt, sampler: Sampler, now: Now): void {
    const { peer, technique, id, proposed } = attempt;
    const ours = this.#own.ports(attempt, sampler);
    const kind = proposed ? 'offer' : 'answer';
    const terms = { attempt: id, technique };
    if (ours === undefined) {
      if (!proposed) this.#refuse(peer, terms, 'not-ready');
      this.end({ type: 'failed', why: 'the next port of the NAT here is not known' }, now);
      return;
    }
    attempt.ours = ours;
    this.#state = { name: 'agreeing', attempt, until: after(now.monotonic, limits.agreeMs) };
    this.#host.emit({ type: 'signal-wanted', peer, kind, hard: { ...terms, ports: ours } });
  }

  #close(): void {
    this.#transmission.close();
    this.#state = { name: 'idle' };
  }
}

/** Two attempts at a small block stay within what one at a large block is allowed. */
const noHit = ({ sent, technique, guesses }: Run): PunchOutcome => {
  const isSmall = technique === 'block' && 2 * guesses <= limits.maxBlockProbes;
  return { type: 'no-hit', sent, isSmall };
};
