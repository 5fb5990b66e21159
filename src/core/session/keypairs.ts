import type { AeadSuite } from '#core/crypto.ts';
import type { Role } from '#core/noise/handshake-state.ts';
import { after, type MonotonicMs } from '#core/time.ts';

/** One keypair of a peer. The keys themselves are in the data plane only. */
export interface Session {
  readonly localIndex: number;
  readonly role: Role;
  readonly suite: AeadSuite;
  readonly pskIndex: number;
  readonly createdAt: MonotonicMs;
}

export type KeypairSlot = 'previous' | 'next' | 'current';

/** In the order in which they are dropped. */
const slots: readonly KeypairSlot[] = ['previous', 'next', 'current'];

/**
 * The keypairs of one peer (whitepaper §6.3): all receive, one sends.
 *
 *   made by our initiation ────────────────► current ──replaced──► previous ──► dropped
 *   made by our response ──► next ──confirmed──► current
 */
export class Keypairs {
  readonly #onDrop: (session: Session) => void;
  readonly #sessions: Partial<Record<KeypairSlot, Session>> = {};

  constructor(onDrop: (session: Session) => void) {
    this.#onDrop = onDrop;
  }

  get current(): Session | undefined {
    return this.#sessions.current;
  }

  /** When the oldest was made. */
  get oldest(): MonotonicMs | undefined {
    let oldest: MonotonicMs | undefined;
    for (const slot of slots) {
      const at = this.#sessions[slot]?.createdAt;
      if (at !== undefined && (oldest === undefined || at < oldest)) oldest = at;
    }
    return oldest;
  }

  /** We initiated: it sends at once, since the response proved the peer. */
  addInitiated(session: Session): void {
    this.#drop('previous');
    if (this.#sessions.next !== undefined) {
      // Waits for its confirmation, so it is newer than the current one.
      this.#drop('current');
      this.#move('next', 'previous');
    } else this.#move('current', 'previous');
    this.#sessions.current = session;
  }

  /** We respond: it sends when the initiator proved that it has it. */
  addResponded(session: Session): void {
    this.#drop('next');
    this.#drop('previous');
    this.#sessions.next = session;
  }

  /** A packet came under this key. The session that begins to send by it, if any. */
  confirm(localIndex: number): Session | undefined {
    const session = this.#sessions.next;
    if (session?.localIndex !== localIndex) return undefined;
    this.#drop('previous');
    this.#move('current', 'previous');
    this.#move('next', 'current');
    return session;
  }

  /** Drops what has reached this age. The sum is the deadline's: a difference may be rounded the other way. */
  dropExpired(ageMs: number, now: MonotonicMs): void {
    for (const slot of slots) {
      const session = this.#sessions[slot];
      if (session !== undefined && after(session.createdAt, ageMs) <= now) this.#drop(slot);
    }
  }

  dropAll(): void {
    for (const slot of slots) this.#drop(slot);
  }

  #move(from: KeypairSlot, to: KeypairSlot): void {
    const session = this.#sessions[from];
    delete this.#sessions[from];
    if (session !== undefined) this.#sessions[to] = session;
  }

  #drop(slot: KeypairSlot): void {
    const session = this.#sessions[slot];
    if (session === undefined) return;
    delete this.#sessions[slot];
    this.#onDrop(session);
  }
}
