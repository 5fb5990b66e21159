/**
 * The MAC key of a ticket, sealed to the relay (protocol §11): one message of Noise_N_25519_ChaChaPoly_BLAKE2s, prologue
 * "buri relay key 1". 80 bytes: ephemeral key, the key under it, tag. That the server sealed it says the ticket's signature.
 */
import type { Crypto } from '#core/crypto.ts';
import { HandshakeState, type KeyPair } from '#core/noise/handshake-state.ts';

export const ticketKeyBytes = 32;
export const sealedTicketKeyBytes = 80;

const prologue = new TextEncoder().encode('buri relay key 1');

/** Undefined when `relayKey` is of low order, so no key. */
export function sealTicketKey(
  crypto: Crypto,
  relayKey: Uint8Array,
  key: Uint8Array,
): Uint8Array | undefined {
  const noise = new HandshakeState(crypto, {
    ...{ pattern: 'N', role: 'initiator', prologue },
    rs: relayKey,
  });
  return noise.writeMessage(key);
}

/** Undefined when it was not sealed so, or not to this relay. */
export function openTicketKey(
  crypto: Crypto,
  relay: KeyPair,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length !== sealedTicketKeyBytes) return undefined;
  const noise = new HandshakeState(crypto, {
    ...{ pattern: 'N', role: 'responder', prologue },
    s: relay,
  });
  return noise.readMessage(sealed);
}
