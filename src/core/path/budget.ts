/** What may be sent when: a bucket of tokens, and the minute of an address that has not answered. */
import { forgetOldest } from '#core/forget-oldest.ts';
import { after, type MonotonicMs, monotonicMs } from '#core/time.ts';
import { parseEndpoint } from '#wire/endpoint.ts';
import {
  firstBurstProbes,
  firstBurstsPerAddress,
  maxCountedAddresses,
  maxProvenAddresses,
  probesAtOnce,
  probesPerSecond,
  probesReserved,
  provenMs,
  provenProbes,
  unprovenProbesPerMinute,
} from './limits.ts';

const minuteMs = 60_000;

/** In any span of t seconds at most `capacity + ratePerSecond · t` tokens are given. */
export class TokenBucket {
  readonly #ratePerMs: number;
  readonly #capacity: number;
  #tokens: number;
  #at: number | undefined;

  constructor(ratePerSecond: number, capacity: number) {
    this.#ratePerMs = ratePerSecond / 1000;
    this.#capacity = capacity;
    this.#tokens = capacity;
  }

  /** Takes a token if more than `reserve` are there. */
  take(now: MonotonicMs, reserve = 0): boolean {
    this.#fill(now);
    if (this.#tokens < reserve + 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** How long until `take` with this reserve can succeed. */
  waitMs(now: MonotonicMs, reserve = 0): number {
    this.#fill(now);
    return Math.max(0, Math.ceil((reserve + 1 - this.#tokens) / this.#ratePerMs));
  }

  #fill(now: MonotonicMs): void {
    const elapsedMs = Math.max(0, now - (this.#at ?? now));
    this.#tokens = Math.min(this.#capacity, this.#tokens + elapsedMs * this.#ratePerMs);
    this.#at = now;
  }
}

/** `use`: probes of proven pairs; `find`: all others, which leave the former a reserve. */
export type ProbeLine = 'use' | 'find';

/**
 * The rate of all probes together. Who comes too early is given a turn, one for each probe that the rate allows, so that a
 * thousand peers that wait cost one wake-up for each probe and each gets its share.
 */
export class ProbeGate {
  readonly #bucket = new TokenBucket(probesPerSecond, probesAtOnce);
  /** The last turn given, of each line. */
  readonly #lastTurn = { use: Number.NEGATIVE_INFINITY, find: Number.NEGATIVE_INFINITY };

  /**
   * Takes a probe, or gives the moment to come back at.
   * @param hasTurn the moment given before has come.
   */
  enter(line: ProbeLine, hasTurn: boolean, now: MonotonicMs): MonotonicMs | undefined {
    const reserve = line === 'find' ? probesReserved : 0;
    const isFirst = hasTurn || this.#lastTurn[line] <= now;
    if (isFirst && this.#bucket.take(now, reserve)) return undefined;
    const soonest = now + Math.max(1, this.#bucket.waitMs(now, reserve));
    const turn = Math.max(soonest, this.#lastTurn[line] + 1000 / probesPerSecond);
    this.#lastTurn[line] = turn;
    return monotonicMs(turn);
  }

  /** Takes a probe that may as well be left out: only when nobody waits and enough is left. */
  enterSpare(now: MonotonicMs): boolean {
    const { use, find } = this.#lastTurn;
    return Math.max(use, find) <= now && this.#bucket.take(now, probesReserved);
  }
}

interface AddressRecord {
  /** An authenticated answer came from there: its owner wants our probes. */
  answered: boolean;
  firstBurstLeft: number;
  /** Probes that an authenticated request from there paid for, one each. */
  credit: number;
  /** Times of the counted probes of the last minute, oldest first. */
  sentAt: number[];
}

/** An IP address, whatever the port: whoever names many ports of a third party gains nothing by that. */
interface PlaceRecord {
  /** Something authenticated came from one of its ports. */
  answered: boolean;
  firstBurstsLeft: number;
  sentAt: number[];
}

const maxCredit = 4;

/**
 * Probes to an address that has never answered: one first burst, then at most 10 in any minute, however many peers and
 * candidate lists name it; and of an IP address two first bursts (its NAT's port and a mapped one) and these 10 in all.
 * So nobody can aim us at a third party. More only to IP addresses that `prove` names.
 */
export class AddressBudget {
  readonly #records = new Map<string, AddressRecord>();
  /** By IP address. */
  readonly #places = new Map<string, PlaceRecord>();
  #renewedAt: MonotonicMs | undefined;
  /** IP addresses that their owner proved to be its own, with what may still be sent there. */
  readonly #proven = new Map<string, { readonly until: MonotonicMs; left: number }>();

  /**
   * The server vouches that the owner of this IP address wants our probes: `provenProbes` may go there in the time of the
   * grant. One that is running is not renewed, and of few addresses at a time.
   */
  prove(address: string, now: MonotonicMs): void {
    for (const [other, { until }] of this.#proven) if (until <= now) this.#proven.delete(other);
    if (this.#proven.has(address) || this.#proven.size >= maxProvenAddresses) return;
    this.#proven.set(address, { until: after(now, provenMs), left: provenProbes });
  }

  /** Probes that may still go to this IP address under a grant. */
  grantedProbes(address: string, now: MonotonicMs): number {
    const grant = this.#proven.get(address);
    return grant === undefined || grant.until <= now ? 0 : grant.left;
  }

  /** Takes one probe to this endpoint (in text). */
  take(endpoint: string, now: MonotonicMs): boolean {
    const record = this.#record(endpoint);
    if (record.answered) return true;
    const place = this.#place(endpoint);
    if (record.firstBurstLeft > 0 && (place.answered || place.firstBurstsLeft > 0)) {
      record.firstBurstLeft -= 1;
      place.firstBurstsLeft -= 1;
      return true;
    }
    if (record.credit > 0) {
      record.credit -= 1;
      return true;
    }
    const grant = this.#grantOf(endpoint, now);
    if (grant !== undefined) {
      grant.left -= 1;
      return true;
    }
    if (!hasRoom(record.sentAt, now)) return false;
    if (!place.answered) {
      if (!hasRoom(place.sentAt, now)) return false;
      place.sentAt.push(now);
    }
    record.sentAt.push(now);
    return true;
  }

  /**
   * This machine is in another network: what never answered there may answer here, and gets another first burst. At most
   * once a minute, so that a flapping route is no licence.
   */
  renew(now: MonotonicMs): void {
    if (this.#renewedAt !== undefined && now < after(this.#renewedAt, minuteMs)) return;
    this.#renewedAt = now;
    for (const record of this.#records.values()) record.firstBurstLeft = firstBurstProbes;
    for (const place of this.#places.values()) place.firstBurstsLeft = firstBurstsProbes;
  }

  answered(endpoint: string): void {
    this.#record(endpoint).answered = true;
    this.#place(endpoint).answered = true;
  }

  /** An authenticated request came from there: one probe back gains nobody anything. */
  heard(endpoint: string): void {
    const record = this.#record(endpoint);
    record.credit = Math.min(maxCredit, record.credit + 1);
  }

  /** Whether anything was ever sent to or heard from there, as far as is remembered. */
  known(endpoint: string): boolean {
    return this.#records.has(endpoint);
  }

  get size(): number {
    return this.#records.size;
  }

  #grantOf(endpoint: string, now: MonotonicMs): { left: number } | undefined {
    if (this.#proven.size === 0) return undefined;
    const address = parseEndpoint(endpoint)?.address;
    const grant = address === undefined ? undefined : this.#proven.get(address);
    return grant === undefined || grant.until <= now || grant.left === 0 ? undefined : grant;
  }

  #record(endpoint: string): AddressRecord {
    return renewed(this.#records, endpoint, newRecord);
  }

  #place(endpoint: string): PlaceRecord {
    return renewed(this.#places, endpoint.slice(0, endpoint.lastIndexOf(':')), newPlace);
  }
}

const firstBurstsProbes = firstBurstsPerAddress * firstBurstProbes;

const newRecord = (): AddressRecord => ({
  answered: false,
  firstBurstLeft: firstBurstProbes,
  credit: 0,
  sentAt: [],
});
const newPlace = (): PlaceRecord => ({
  answered: false,
  firstBurstsLeft: firstBurstsProbes,
  sentAt: [],
});

/** What the map has, or a new one; set anew, so that the map is in order of use and the oldest is forgotten first. */
function renewed<T>(map: Map<string, T>, key: string, make: () => T): T {
  const record = map.get(key) ?? make();
  map.delete(key);
  map.set(key, record);
  forgetOldest(map, maxCountedAddresses);
  return record;
}

/** Whether the minute has room for another probe; forgets those that are older. */
function hasRoom(sentAt: number[], now: MonotonicMs): boolean {
  while (sentAt.length > 0 && sentAt[0]! <= now - minuteMs) sentAt.shift();
  return sentAt.length < unprovenProbesPerMinute;
}
