/** Tickets (protocol §11): what lets one client use one relay, signed by the cluster. */
import type { Crypto } from '#core/crypto.ts';
import { sealTicketKey, ticketKeyBytes } from '#core/relay/ticket-key.ts';
import type { Now } from '#core/time.ts';
import { signDocument } from '#wire/signed.ts';
import { relayTicketBackdateMs, relayTicketLifetimeMs } from '../limits.ts';

export interface TicketLimits {
  readonly bytesPerSecond: number;
  readonly packetsPerSecond: number;
}

export interface TicketHolder {
  readonly clientId: string;
  readonly identity: Uint8Array;
}

export interface Ticket {
  readonly ticket: Uint8Array;
  readonly key: Uint8Array;
  readonly serial: number;
}

/** Serials of tickets and of what revokes them: one counter, that only goes up. */
export class TicketSerials {
  #last = 0;

  /** The highest that was given out, or heard of. */
  get last(): number {
    return this.#last;
  }

  /** Nothing that is numbered from now on comes before this. */
  atLeast(serial: number): void {
    this.#last = Math.max(this.#last, serial);
  }

  next(now: Now): number {
    this.#last = Math.max(this.#last + 1, now.wall);
    return this.#last;
  }
}

/** Undefined when the relay's key is none. */
export function issueTicket(
  crypto: Crypto,
  sign: (message: Uint8Array) => Uint8Array,
  relay: { readonly id: string; readonly relayKey: Uint8Array },
  { clientId, identity }: TicketHolder,
  facts: TicketLimits & { readonly serial: number; readonly now: Now },
): Ticket | undefined {
  const key = crypto.random(ticketKeyBytes);
  const sealedKey = sealTicketKey(crypto, relay.relayKey, key);
  if (sealedKey === undefined) return undefined;
  const { serial, now, bytesPerSecond, packetsPerSecond } = facts;
  const ticket = signDocument(
    'relay-ticket',
    {
      relay: relay.id,
      relayKey: relay.relayKey,
      ...{ identity, clientId, serial, bytesPerSecond, packetsPerSecond, sealedKey },
      notBefore: Math.max(0, now.wall - relayTicketBackdateMs),
      notAfter: now.wall + relayTicketLifetimeMs,
    },
    sign,
  );
  return { ticket, key, serial };
}
