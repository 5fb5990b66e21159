import { addressBytes } from '#wire/endpoint.ts';
import { decodeLanReport, encodeLanReport } from '#wire/lan.ts';
import type { Crypto } from '../crypto.ts';
import { Deadlines } from '../path/deadlines.ts';
import { after, type MonotonicMs, type Now } from '../time.ts';
import { DESTINATION_MEMBERS, destinationKind } from './groups.ts';

/** A change is told at once, the next one this much later: joins and leaves come in flocks. */
const reportEveryMs = 500;
/** After a report it is repeated so much later, as it may have been lost. A new session brings it anew anyway. */
const repeatAfterMs: readonly number[] = [2000, 20_000, 60_000];

/** What this client takes of what is for many. */
export interface LocalLan {
  readonly ethernet: boolean;
  /** All multicast groups that its interface has joined, in canonical text. */
  readonly groups: readonly string[] | 'all';
}

export type LanOutput =
  | {
      readonly type: 'set-lan';
      readonly peer: number;
      readonly ethernet: boolean;
      readonly groups: readonly string[] | 'all';
    }
  | { readonly type: 'message'; readonly peer: number; readonly bytes: Uint8Array };

interface LanPeer {
  /** It has a session: what is sent arrives, most likely. */
  up: boolean;
  /** Repetitions that are still to come begin here in `repeatAfterMs`. */
  repeats: number;
  reported: { readonly instance: number; readonly sequence: number } | undefined;
}

/**
 * Tells every peer what this client takes of broadcast and multicast, and hears it of them (protocol §10). Until a peer has
 * reported it gets everything. Reports are sent when a session begins, when something changed, and a few times more; they are
 * complete, so that a lost one costs nothing but time.
 *
 *     no report ──session──► told ──2 s──► told again ──20 s, 60 s──► told again ──(session, change)──► told …
 */
export class Lan {
  readonly counters = { 'lan-reports-malformed': 0, 'lan-reports-old': 0 };
  readonly #instance: number;
  readonly #emit: (output: LanOutput) => void;
  readonly #peers = new Map<number, LanPeer>();
  readonly #repeats = new Deadlines();
  #local: LocalLan | undefined;
  #localKey: string | undefined;
  #report: Uint8Array | undefined;
  #sequence = 0;
  /** When the last change was told; and when the next is to be. */
  #reportedAt: MonotonicMs | undefined;
  #reportAt: MonotonicMs | undefined;

  constructor(crypto: Pick<Crypto, 'random'>, emit: (output: LanOutput) => void) {
    const random = crypto.random(4);
    this.#instance = new DataView(random.buffer, random.byteOffset).getUint32(0);
    this.#emit = emit;
  }

  /** What this client takes now. Groups that everybody gets need not be told. */
  local({ ethernet, groups }: LocalLan, now: Now): void {
    const told = groups === 'all' ? groups : groups.filter(isForMembers).toSorted();
    const key = `${ethernet} ${told === 'all' ? told : told.join()}`;
    if (key === this.#localKey) return;
    this.#localKey = key;
    this.#local = { ethernet, groups: told };
    const earliest = this.#reportedAt && after(this.#reportedAt, reportEveryMs);
    this.#reportAt = earliest !== undefined && earliest > now.monotonic ? earliest : now.monotonic;
    this.tick(now);
  }

  /** A session with the peer began, or keys were agreed on anew: it may know nothing of us. */
  sessionUp(peer: number, now: Now): void {
    const known = this.#peers.get(peer) ?? { up: true, repeats: 0, reported: undefined };
    known.up = true;
    this.#peers.set(peer, known);
    this.#tell(peer, known, now);
  }

  sessionDown(peer: number): void {
    const known = this.#peers.get(peer);
    if (known !== undefined) known.up = false;
    this.#repeats.set(peer, undefined);
  }

  removePeer(peer: number): void {
    this.#peers.delete(peer);
    this.#repeats.set(peer, undefined);
  }

  /** A message of the peer's program. Those of a kind that is not known are of a later version, and ignored. */
  receive(peer: number, bytes: Uint8Array): void {
    const report = decodeLanReport(bytes);
    if (report === undefined) {
      this.counters['lan-reports-malformed']++;
      return;
    }
    const known = this.#peers.get(peer) ?? { up: false, repeats: 0, reported: undefined };
    this.#peers.set(peer, known);
    const { instance, sequence, ethernet, groups } = report;
    const last = known.reported?.instance === instance ? known.reported.sequence : -1;
    if (sequence < last) this.counters['lan-reports-old']++;
    if (sequence <= last) return;
    known.reported = { instance, sequence };
    this.#emit({ type: 'set-lan', peer, ethernet, groups });
  }

  tick(now: Now): void {
    if (this.#reportAt !== undefined && this.#reportAt <= now.monotonic) this.#announce(now);
    for (;;) {
      const peer = this.#repeats.takeDue(now.monotonic);
      const known = peer === undefined ? undefined : this.#peers.get(peer);
      if (peer === undefined || known === undefined) return;
      this.#send(peer);
      this.#scheduleRepeat(peer, known, now);
    }
  }

  deadline(): MonotonicMs | undefined {
    const { next } = this.#repeats;
    const reportAt = this.#reportAt;
    if (next === undefined || reportAt === undefined) return next ?? reportAt;
    return Math.min(next, reportAt) as MonotonicMs;
  }

  #announce(now: Now): void {
    this.#reportAt = undefined;
    if (this.#local === undefined) return;
    this.#reportedAt = now.monotonic;
    this.#sequence += 1;
    const { ethernet, groups } = this.#local;
    const sequence = this.#sequence;
    this.#report = encodeLanReport({ ethernet, groups, instance: this.#instance, sequence });
    for (const [peer, known] of this.#peers) if (known.up) this.#tell(peer, known, now);
  }

  #tell(peer: number, known: LanPeer, now: Now): void {
    if (this.#report === undefined) return;
    known.repeats = 0;
    this.#send(peer);
    this.#scheduleRepeat(peer, known, now);
  }

  #send(peer: number): void {
    if (this.#report !== undefined) {
      this.#emit({ type: 'message', peer, bytes: this.#report.slice() });
    }
  }

  #scheduleRepeat(peer: number, known: LanPeer, now: Now): void {
    const delayMs = repeatAfterMs[known.repeats++];
    this.#repeats.set(peer, delayMs === undefined ? undefined : after(now.monotonic, delayMs));
  }
}

const words = new Int32Array(4);

/** Whether a group goes only to those who joined it. */
function isForMembers(group: string): boolean {
  const bytes = addressBytes(group);
  if (bytes === undefined) return false;
  words.fill(0);
  for (const [i, byte] of bytes.entries()) words[i >> 2]! |= byte << (24 - 8 * (i & 3));
  return destinationKind(bytes.length === 4 ? 4 : 6, words, 0) === DESTINATION_MEMBERS;
}
