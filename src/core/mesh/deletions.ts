import { peekDocument } from '#wire/signed.ts';
import type { Crypto } from '../crypto.ts';
import { forgetOldest } from '../forget-oldest.ts';
import { type DocumentFault, openDeletion } from './documents.ts';

/** Deletions remembered; the oldest go first. */
export const maxDeletions = 256;

/** A network that was deleted, by a document that was verified. */
export interface Deleted {
  readonly network: string;
  readonly serial: number;
  readonly issuedAt: number;
  readonly bytes: Uint8Array;
}

/** Which networks were deleted (protocol §3): remembered to refuse their statements, and to tell other members. */
export class DeletionBook {
  readonly #crypto: Crypto;
  readonly #clusterKey: Uint8Array;
  readonly #reject: (fault: DocumentFault) => void;
  readonly #deleted = new Map<string, Deleted>();

  constructor(crypto: Crypto, clusterKey: Uint8Array, reject: (fault: DocumentFault) => void) {
    this.#crypto = crypto;
    this.#clusterKey = clusterKey;
    this.#reject = reject;
  }

  get(network: string): Deleted | undefined {
    return this.#deleted.get(network);
  }

  values(): Iterable<Deleted> {
    return this.#deleted.values();
  }

  /** Whether this one, or a later one, is held. */
  holds(bytes: Uint8Array): boolean {
    const told = peekDocument('deletion', bytes);
    return told !== undefined && (this.get(told.network)?.serial ?? -1) >= told.serial;
  }

  /** Verifies and remembers; undefined when it is not believed. */
  accept(bytes: Uint8Array): Deleted | undefined {
    const opened = openDeletion(this.#crypto, this.#clusterKey, bytes);
    if (!opened.ok) {
      this.#reject(opened.fault);
      return undefined;
    }
    const { network, serial, issuedAt } = opened.document;
    const held = this.#deleted.get(network);
    if (held !== undefined && held.serial >= serial) return held;
    const deleted = { network, serial, issuedAt, bytes };
    this.#deleted.delete(network);
    this.#deleted.set(network, deleted);
    forgetOldest(this.#deleted, maxDeletions);
    return deleted;
  }
}
