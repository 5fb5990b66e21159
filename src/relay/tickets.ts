/** Tickets (protocol §11): signed by the cluster, for this relay, with a MAC key that only this relay can read. */
import { sameBytes } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import { openTicketKey } from '#core/relay/ticket-key.ts';
import { clientNumber } from '#wire/client-number.ts';
import { openDocument, type RelayTicket } from '#wire/signed.ts';
import { maxSkewMs } from './limits.ts';

export interface TicketKeys {
  readonly crypto: Crypto;
  /** Ed25519 key that signs tickets. */
  readonly clusterKey: Uint8Array;
  readonly relay: KeyPair;
}

export interface Ticket {
  readonly client: number;
  readonly serial: number;
  readonly notAfter: number;
  readonly bytesPerSecond: number;
  readonly packetsPerSecond: number;
  readonly macKey: Uint8Array;
}

export type TicketFault = 'bad-ticket' | 'expired-ticket';

/**
 * Everything about a ticket but whether it was taken back. `graceMs`: how long after its end it counts. The key says for which relay it
 * is: nobody else can read what is sealed to it.
 */
export function openTicket(
  keys: TicketKeys,
  bytes: Uint8Array,
  timeMs: number,
  graceMs: (ticket: RelayTicket) => number,
): Ticket | TicketFault {
  const { crypto, clusterKey, relay } = keys;
  const document = openDocument('relay-ticket', bytes, (message, signature) =>
    crypto.ed25519Verify(clusterKey, message, signature),
  );
  if (document === undefined || !sameBytes(document.relayKey, relay.publicKey)) return 'bad-ticket';
  const client = clientNumber(document.clientId);
  if (client === undefined) return 'bad-ticket';
  const { serial, notBefore, notAfter, bytesPerSecond, packetsPerSecond } = document;
  if (timeMs < notBefore - maxSkewMs || timeMs >= notAfter + graceMs(document)) {
    return 'expired-ticket';
  }
  const macKey = openTicketKey(crypto, relay, document.sealedKey);
  if (macKey?.length !== 32) return 'bad-ticket';
  return { client, serial, notAfter, bytesPerSecond, packetsPerSecond, macKey };
}
