/** Attempts at NATs that an ordinary punch does not join, as the path machine sees them: with whom, when, and what is told of it. */
import type { MonotonicMs, Now } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { Candidate, PunchTerms } from '#wire/signal.ts';
import type { LocalSocket } from '../io.ts';
import { describeTechnique } from './attempt.ts';
import { Attempts, type PunchInput } from './attempts.ts';
import { PunchHistory } from './history.ts';
import type { PunchHost } from './host.ts';
import { allocationWaitMs } from './limits.ts';
import { OwnSide } from './own-side.ts';

export class HardPunch {
  readonly #host: PunchHost;
  readonly #own: OwnSide;
  readonly #history = new PunchHistory();
  readonly #attempts: Attempts;

  constructor(host: PunchHost) {
    this.#host = host;
    this.#own = new OwnSide(host);
    this.#attempts = new Attempts(host, this.#own, this.#history);
  }

  get adopted(): readonly LocalSocket[] {
    return this.#attempts.adopted;
  }

  /** What was tried with this peer, or is going to be; undefined where there is nothing to try. */
  explain(peer: number, now: MonotonicMs): string | undefined {
    const attempt = this.#attempts.with(peer);
    if (attempt !== undefined) return `${describeTechnique(attempt.technique)} …`;
    const plan = this.#own.planFor(peer);
    if (plan?.type === 'hopeless') return `guessing ports is not tried: ${plan.why}`;
    if (plan?.type !== 'guess') return this.#history.told(peer);
    if (!this.#own.isEnabled) return 'guessing ports is switched off (--hard-nat off)';
    return this.#history.explain(peer, now);
  }

  get isEnabled(): boolean {
    return this.#own.isEnabled;
  }

  setEnabled(enabled: boolean, now: Now): void {
    this.#own.isEnabled = enabled;
    if (!enabled) this.#attempts.end({ type: 'failed', why: 'it was switched off' }, now);
  }

  setServers(servers: readonly Endpoint[]): void {
    this.#own.setServers(servers);
  }

  setCandidates(candidates: readonly Candidate[]): void {
    this.#own.setCandidates(candidates);
  }

  /** Something is new that decides whether there is something to try with this peer. */
  consider(peer: number, now: Now): void {
    const facts = this.#host.peer(peer);
    if (facts?.hasDirectPath && this.#isWith(peer)) this.#attempts.found(now);
    if (facts === undefined || this.#own.guessFor(peer) === undefined) {
      this.#history.schedule.rest(peer);
      return;
    }
    const holdMs = this.#own.isGuessSure(peer) ? 0 : allocationWaitMs;
    this.#history.schedule.add(peer, facts.leads, now.monotonic, holdMs);
  }

  removePeer(peer: number, now: Now): void {
    if (this.#isWith(peer)) this.#attempts.end({ type: 'failed', why: 'the peer is gone' }, now);
    this.#history.removePeer(peer);
  }

  networkChanged(now: Now): void {
    this.#attempts.end({ type: 'failed', why: 'this machine changed its network' }, now);
    this.#history.schedule.renew(now.monotonic);
  }

  /** What a signal of the peer's says of an attempt. @param proven addresses that the server vouches for. */
  signalled(
    peer: number,
    terms: PunchTerms,
    isOffer: boolean,
    proven: readonly string[],
    now: Now,
  ): void {
    if (isOffer) this.#attempts.offered(peer, terms, proven, now);
    else this.#attempts.answered(peer, terms, proven, now);
  }

  punch(peer: number, inMs: number, now: Now): void {
    this.#attempts.punch(peer, inMs, now);
  }

  /** What became of sockets, or arrived on them. */
  socketInput(input: PunchInput, now: Now): void {
    switch (input.type) {
      case 'punch-opened':
        this.#attempts.opened(input, now);
        break;
      case 'punch-datagram':
        this.#attempts.datagram(input, now);
        break;
      case 'punch-adopted':
        this.#attempts.adoptedAs(input, now);
        break;
      default:
        input satisfies never;
    }
  }

  /** Does whatever is due. */
  wake(now: Now): void {
    this.#attempts.wake(now);
  }

  deadline(): MonotonicMs | undefined {
    return this.#attempts.deadline();
  }

  #isWith(peer: number): boolean {
    return this.#attempts.with(peer) !== undefined;
  }
}
