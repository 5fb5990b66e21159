/**
 * What the packets of one peer prove of the pairs that they come by: requests, responses, and data from elsewhere (protocol §7). A
 * pair is proven when our request was answered there and the peer says that its was too.
 */
import type { MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { type ProbeBody, probeBytes } from '#wire/probe.ts';
import type { CandidatePair } from './candidate-pair.ts';
import { Learning } from './learning.ts';
import type { ChoiceParts, PathChoice } from './path-choice.ts';
import type { Transaction } from './probe-exchange.ts';
import { isUsable } from './remote-candidates.ts';
import { Seen } from './seen.ts';

/** Where a datagram came from: over a relay, or directly. */
export interface Source {
  readonly socket: number;
  readonly remote: Endpoint;
  readonly relay: string | undefined;
}

export class Proof {
  readonly #parts: ChoiceParts;
  readonly #choice: PathChoice;
  readonly #seen = new Seen();
  readonly #learning = new Learning();
  /** Where a request came from that is about to be answered. */
  #askedFrom: CandidatePair | undefined;

  constructor(parts: ChoiceParts, choice: PathChoice) {
    this.#parts = parts;
    this.#choice = choice;
  }

  /** An authenticated, fresh request. Returns what the response says, or undefined when it is a copy. */
  request(
    from: Source,
    body: ProbeBody,
    transaction: string,
    now: MonotonicMs,
  ): { readonly proven: boolean; readonly using: boolean } | undefined {
    if (!this.#seen.add(transaction)) {
      this.#parts.context.count('requestsReplayed', 1);
      return undefined;
    }
    this.#parts.aliveness.heard(now);
    const pair = this.#pairAt(from, now);
    if (pair === undefined) return { proven: false, using: false };
    // Silence is what the peer understands: it looks for another way as well.
    if (pair.isDistrusted) return undefined;
    if (pair.relay === undefined) this.#parts.context.addresses.heard(pair.endpoint);
    pair.heardAt = now;
    this.#believeFlags(pair, body);
    this.#choice.choose(now);
    const proven = pair.state.name === 'answered';
    pair.announced ||= proven;
    this.#askedFrom = proven ? undefined : pair;
    return { proven, using: pair === this.#parts.pairs.current };
  }

  /**
   * Asks back after the answer to a request. In this order, because where the answer comes from tells the peer what the request behind
   * it belongs to, if our NAT gives every destination another port.
   */
  askBack(now: MonotonicMs): void {
    const pair = this.#askedFrom;
    this.#askedFrom = undefined;
    if (pair !== undefined) this.#parts.prober.trigger(pair, this.#parts.use.liveness, now);
  }

  /** The answer to our probe `number` on this pair. */
  response(
    pair: CandidatePair,
    probe: Pick<Transaction, 'number' | 'sentAt' | 'sizeBytes'>,
    body: ProbeBody,
    remote: Endpoint,
    now: MonotonicMs,
  ): void {
    const { pairs } = this.#parts;
    if (!pairs.has(pair)) return;
    this.#parts.aliveness.heard(now);
    // From another pair's endpoint: that one is the way that goes both ways.
    if (pair.relay === undefined && pairs.isOther(pair, remote)) return;
    const isPadded = probe.sizeBytes > probeBytes;
    if (isPadded) {
      pair.heard(now);
      this.#parts.mtu.answered(pair, probe.sizeBytes, now);
    }
    if (pair.relay === undefined) {
      this.#parts.context.addresses.answered(pair.endpoint);
      pairs.answeredFrom(pair, remote);
    }
    const first = !isPadded && pair.responseReceived(probe.number, probe.sentAt, now);
    if (pair === this.#parts.pairs.current) this.#choice.heard(now, isPadded);
    this.#believeFlags(pair, body);
    this.#choice.choose(now);
    // The peer may use the pair only when it knows that we had a response too.
    if (first && !pair.announced) this.#parts.prober.probe(pair, this.#parts.use.liveness, now);
  }

  /** Authenticated data came from elsewhere: that address is asked at once, and so is the one in use. */
  roam(from: Source, now: MonotonicMs): void {
    this.#parts.aliveness.heard(now);
    const pair = this.#pairAt(from, now);
    const { current } = this.#parts.pairs;
    if (pair === undefined || pair === current) return;
    if (pair.relay === undefined) this.#parts.context.addresses.heard(pair.endpoint);
    this.#parts.use.roamed(now);
    pair.heardAt = now;
    this.#parts.pairs.peerUses(pair);
    this.#parts.use.check(now);
    this.#choice.choose(now);
    if (pair !== this.#parts.pairs.current)
      this.#parts.prober.trigger(pair, this.#parts.use.liveness, now);
  }

  #pairAt({ socket, remote, relay }: Source, now: MonotonicMs): CandidatePair | undefined {
    if (relay !== undefined) return this.#parts.pairs.atRelay(relay, true);
    const known = this.#parts.pairs.find(socket, remote);
    if (known !== undefined) return known;
    const open = this.#parts.context.local().sockets.some((local) => local.socket === socket);
    if (!open || !isUsable(remote, this.#parts.context.virtual)) return undefined;
    if (!this.#learning.take(remote.address, now)) return undefined;
    return this.#parts.pairs.addPeerReflexive(socket, remote);
  }

  #believeFlags(pair: CandidatePair, { proven, using }: ProbeBody): void {
    pair.peerProven ||= proven;
    if (using) this.#parts.pairs.peerUses(pair);
    else pair.peerUsing = false;
  }
}
