/**
 * The relays of a client (protocol §11): which to hold an allocation on, and keeping these alive. Sans-IO: `handle`, `poll`,
 * `deadline`. Held are the nearest relay, one spare, and those that peers without a relay in common with us are at.
 */

import type { Crypto } from '#core/crypto.ts';
import { forgetOldest } from '#core/forget-oldest.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import { parseEndpoint } from '#wire/endpoint.ts';
import { readDelivered, relayType } from '#wire/relay.ts';
import type { Candidate } from '#wire/signal.ts';
import type { LocalSocket } from '../path/io.ts';
import { type Choice, chooseRelays } from './choice.ts';
import {
  noRelayCounts,
  type RelayCounter,
  type RelayReport,
  type RelaysInput,
  type RelaysOutput,
  type RelayWay,
} from './io.ts';
import * as limits from './limits.ts';
import { Others } from './others.ts';
import { RelayLink } from './relay-link.ts';
import type { LinkContext } from './requests.ts';

type InputOf<T extends RelaysInput['type']> = Extract<RelaysInput, { type: T }>;

export class Relays {
  readonly #links = new Map<string, RelayLink>();
  /** Relays that peers are at, and when that was last said; the latest last. */
  readonly #wanted = new Map<string, MonotonicMs>();
  readonly #others = new Others();
  readonly #counters = noRelayCounts();
  readonly #context: LinkContext;
  #outputs: RelaysOutput[] = [];
  #taken = 0;
  #sockets: readonly LocalSocket[] = [];
  #choice: Choice = { home: undefined, spare: undefined };
  /** Since when there is something to choose from. */
  #listedAt: MonotonicMs | undefined;
  #answeredAt: MonotonicMs | undefined;
  #measuredAt: MonotonicMs | undefined;
  #silentMeasuredAt: MonotonicMs | undefined;
  #announced = '';
  #lifetimeMs: number | undefined;
  /** Since when there has been no allocation at all. */
  #aloneSince: MonotonicMs | undefined;
  /** Server time at a moment of the monotonic clock, so that a jump of the wall clock does not matter. */
  #serverTime: { readonly ms: number; readonly at: MonotonicMs } | undefined;
  #at: MonotonicMs | undefined;

  constructor(crypto: Crypto) {
    this.#context = {
      crypto,
      emit: (output) => this.#outputs.push(output),
      count: (counter) => {
        this.#counters[counter] += 1;
      },
      time: (now) => this.#time(now),
      refreshMs: () => this.#refreshMs,
      restMostMs: () => this.#restMostMs,
    };
  }

  handle(input: RelaysInput, now: Now): void {
    const at = now.monotonic;
    this.#at = at;
    this.#apply(input, now);
    this.#measure(at);
    for (const link of this.#links.values()) link.wake(now);
    this.#lookAlone(at);
    this.#hold(now);
    this.#announce();
  }

  poll(): RelaysOutput | undefined {
    const output = this.#outputs[this.#taken];
    this.#taken += 1;
    if (output === undefined) {
      this.#outputs = [];
      this.#taken = 0;
    }
    return output;
  }

  deadline(): MonotonicMs | undefined {
    const at = this.#at;
    if (at === undefined || this.#links.size === 0) return undefined;
    const all = [...this.#links.values()].map((link) => link.deadline(at));
    for (const wantedAt of this.#wanted.values()) all.push(after(wantedAt, limits.wantedLapseMs));
    if (this.#sockets.length > 0) all.push(...this.#measureDue(), ...this.#choiceDue());
    const known = all.filter((due) => due !== undefined).map((due) => Math.max(due, at));
    return known.length === 0 ? undefined : (Math.min(...known) as MonotonicMs);
  }

  /** Usable allocations: of the home relay first. */
  get ways(): RelayWay[] {
    const { home, spare } = this.#choice;
    return [...new Set([home, spare, ...this.#others.ids, ...this.#links.keys()])]
      .map((id) => (id === undefined ? undefined : this.#links.get(id)?.way))
      .filter((way) => way !== undefined);
  }

  /** What peers are told: the relays where they reach us. */
  get candidates(): Candidate[] {
    return this.ways
      .filter(({ draining }) => !draining)
      .slice(0, limits.maxAnnounced)
      .map((way) => ({ kind: 'relay', endpoint: this.#shown(way), relay: way.relay }));
  }

  get home(): RelayWay | undefined {
    return this.#choice.home === undefined ? undefined : this.#links.get(this.#choice.home)?.way;
  }

  /** Every relay of the list, those in use first, then the nearest. */
  report(): RelayReport[] {
    const { home } = this.#choice;
    const rank = ({ isHome, way }: RelayReport) => (isHome ? 0 : way === undefined ? 2 : 1);
    const distance = ({ rttMs }: RelayReport) => rttMs ?? Number.MAX_VALUE;
    return [...this.#links.values()]
      .map(({ id, rttMs, way }) => ({ relay: id, rttMs, way, isHome: id === home }))
      .sort((a, b) => rank(a) - rank(b) || distance(a) - distance(b));
  }

  /** How many relays the list has. */
  get listed(): number {
    return this.#listed.length;
  }

  counters(): Readonly<Record<RelayCounter, number>> {
    return this.#counters;
  }

  #apply(input: RelaysInput, now: Now): void {
    const at = now.monotonic;
    switch (input.type) {
      case 'sockets':
        this.#sockets = input.sockets;
        if (this.#links.size > 0) this.#listedAt ??= at;
        for (const link of this.#links.values()) link.setSockets(input.sockets, at);
        return;
      case 'relays':
        this.#list(input, now);
        return;
      case 'time-offset':
        this.#serverTime = { ms: now.wall + input.offsetMs, at };
        for (const link of this.#links.values()) link.timeTold();
        return;
      case 'datagram':
        this.#datagram(input, now);
        return;
      case 'bridge':
        this.#links.get(input.relay)?.setBridge(input.endpoint, at);
        return;
      case 'want':
        this.#want(input.relay, at);
        return;
      case 'check':
        for (const link of this.#links.values()) {
          if (input.relay === 'all' || input.relay === link.id) link.check(now);
        }
        return;
      case 'recheck':
        for (const link of this.#links.values()) link.recheck(now);
        return;
      case 'mapping-lifetime':
        this.#lifetimeMs = input.lifetimeMs;
        return;
      case 'network-changed':
        for (const link of this.#links.values()) link.networkChanged(now);
        this.#measuredAt = undefined;
        if (this.#aloneSince !== undefined) this.#aloneSince = at;
        return;
      case 'tick':
        return;
      default:
        input satisfies never;
    }
  }

  #list({ relays }: InputOf<'relays'>, now: Now): void {
    const listed = new Map(relays.slice(0, limits.maxRelays).map((entry) => [entry.id, entry]));
    for (const [id, link] of this.#links) if (!listed.has(id)) link.leave(now.monotonic);
    const left = [...this.#links.values()].filter((link) => link.isLeft && link.way !== undefined);
    for (const link of left.slice(0, -limits.maxLeft)) link.release(now);
    for (const [id, entry] of listed) {
      const link = this.#links.get(id);
      if (link !== undefined) link.update(entry, now);
      else {
        const added = new RelayLink(this.#context, entry, this.#sockets);
        added.measure();
        this.#links.set(id, added);
      }
    }
    if (this.#links.size > 0 && this.#sockets.length > 0) this.#listedAt ??= now.monotonic;
  }

  #datagram({ bytes, socket, remote }: InputOf<'datagram'>, now: Now): void {
    const type = relayType(bytes);
    if (type === undefined) {
      this.#context.count('malformed');
      return;
    }
    for (const link of this.#links.values()) {
      const leg = link.legAt(socket, remote);
      if (leg === undefined) continue;
      if (type !== 'delivered') {
        link.receive(bytes, leg, now);
        return;
      }
      const delivered = readDelivered(bytes);
      const { way } = link;
      if (delivered === undefined) {
        this.#context.count('malformed');
        return;
      }
      if (way === undefined) {
        this.#context.count('unmatched');
        return;
      }
      this.#context.count('delivered');
      const { from, payload } = delivered;
      this.#outputs.push({ type: 'delivered', way, from, bytes: payload });
      return;
    }
    this.#context.count('unknownSource');
  }

  #want(relay: string | undefined, at: MonotonicMs): void {
    if (relay === undefined) {
      for (const other of this.#others.wanted(this.#listed, this.#held, at)) {
        this.#want(other, at);
      }
      return;
    }
    if (this.#links.get(relay)?.isLeft !== false) return;
    this.#wanted.delete(relay);
    this.#wanted.set(relay, at);
    forgetOldest(this.#wanted, limits.maxWanted);
  }

  /** Takes and gives back allocations as the choice is now. */
  #hold(now: Now): void {
    const at = now.monotonic;
    for (const [id, wantedAt] of this.#wanted) {
      // As the deadline has it: a difference may be rounded to less than the bound.
      if (after(wantedAt, limits.wantedLapseMs) <= at) this.#wanted.delete(id);
    }
    this.#choose(at);
    this.#others.keep(this.#wanted);
    const held = this.#held;
    // A choice that was made because nothing answers is late already.
    const since = this.#answeredAt === undefined ? (this.#listedAt ?? at) : at;
    for (const link of this.#links.values()) {
      if (!link.isLeft && held.has(link.id)) link.hold(since);
      // Its data goes on until peers have found another way.
      else if (!link.drains(at)) this.#letGo(link, now);
      link.wake(now);
    }
  }

  #letGo(link: RelayLink, now: Now): void {
    link.release(now);
    if (!link.isLeft) return;
    // What it wants done, a bridge that is not needed any more, is done before it goes.
    link.dropBridge();
    this.#links.delete(link.id);
  }

  /** Those that may be chosen; the others have left the list, and are used for a while yet. */
  get #listed(): RelayLink[] {
    return [...this.#links.values()].filter((link) => !link.isLeft);
  }

  get #held(): ReadonlySet<string | undefined> {
    const { home, spare } = this.#choice;
    return new Set([home, spare, ...this.#wanted.keys()]);
  }

  #choose(at: MonotonicMs): void {
    const links = this.#listed;
    if (links.some(({ rttMs }) => rttMs !== undefined)) this.#answeredAt ??= at;
    const hasAnswer = this.#answeredAt !== undefined;
    const listedAt = this.#listedAt;
    const hasWaited = listedAt !== undefined && after(listedAt, limits.choiceAfterMs) <= at;
    if (this.#sockets.length === 0 || (!hasAnswer && !hasWaited)) return;
    const ranked = links.map((link) => ({
      id: link.id,
      rttMs: link.rttMs,
      isVolunteer: link.entry.kind === 'volunteer',
      isBad: !link.isUsable(at) || link.isAiling(at),
    }));
    const choice = chooseRelays(ranked, this.#choice);
    const isSettled = hasWaited || after(this.#answeredAt!, limits.settleMs) <= at;
    this.#choice = isSettled ? choice : { home: choice.home, spare: undefined };
  }

  #choiceDue(): (MonotonicMs | undefined)[] {
    const [listedAt, answeredAt, at] = [this.#listedAt, this.#answeredAt, this.#at!];
    const due = [
      listedAt && after(listedAt, limits.choiceAfterMs),
      answeredAt && after(answeredAt, limits.settleMs),
    ];
    return due.filter((moment) => moment !== undefined && moment > at);
  }

  #measure(at: MonotonicMs): void {
    if (this.#sockets.length === 0 || this.#links.size === 0) return;
    const [allAt = at, silentAt = at] = this.#measureDue();
    const [isAll, isSilent] = [allAt <= at, silentAt <= at];
    if (isAll) this.#measuredAt = at;
    if (isAll || isSilent) this.#silentMeasuredAt = at;
    for (const link of this.#listed) {
      if (isAll || (isSilent && link.rttMs === undefined)) link.measure();
    }
  }

  #measureDue(): [MonotonicMs | undefined, MonotonicMs | undefined] {
    const [all, silent] = [this.#measuredAt, this.#silentMeasuredAt];
    return [
      all === undefined ? this.#at : after(all, limits.measureEveryMs),
      silent === undefined ? this.#at : after(silent, limits.measureSilentMs),
    ];
  }

  #announce(): void {
    const text = this.candidates.map(({ relay }) => relay).join();
    if (text === this.#announced) return;
    this.#announced = text;
    this.#outputs.push({ type: 'announced' });
  }

  #shown({ transport, relay, label }: RelayWay): string {
    if (transport === 'udp') return label;
    const [first] = this.#links.get(relay)?.entry.udp ?? [];
    return first !== undefined && parseEndpoint(first) !== undefined ? first : nowhere;
  }

  /** The last allocation is gone: another relay is not left to its long rest. */
  #lookAlone(at: MonotonicMs): void {
    const isAlone = [...this.#links.values()].every(({ way }) => way === undefined);
    if (!isAlone) this.#aloneSince = undefined;
    else if (this.#aloneSince === undefined) {
      this.#aloneSince = at;
      for (const link of this.#links.values()) link.hasten(at);
    }
  }

  get #restMostMs(): number {
    const [since, at] = [this.#aloneSince, this.#at!];
    const isHurried = since !== undefined && at - since < limits.aloneMs;
    return isHurried ? limits.restAloneMs : limits.restMostMs;
  }

  get #refreshMs(): number {
    if (this.#lifetimeMs === undefined) return limits.refreshMs;
    const shareMs = this.#lifetimeMs * limits.lifetimeShare;
    return Math.min(Math.max(shareMs, limits.refreshLeastMs), limits.refreshMostMs);
  }

  #time(now: Now): number {
    const server = this.#serverTime;
    return server === undefined ? now.wall : server.ms + (now.monotonic - server.at);
  }
}

/** Stands for an address where a candidate has to have one. */
const nowhere = '0.0.0.0:1';
