import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateKeyPair, HandshakeState } from '#core/noise/handshake-state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import {
  openTicketKey,
  sealedTicketKeyBytes,
  sealTicketKey,
  ticketKeyBytes,
} from './ticket-key.ts';

const relay = generateKeyPair(crypto);
const key = Uint8Array.from({ length: ticketKeyBytes }, (_, i) => i);

test('a sealed key opens for the relay that it is for, and for no other', () => {
  const sealed = sealTicketKey(crypto, relay.publicKey, key)!;
  assert.equal(sealed.length, sealedTicketKeyBytes);
  assert.deepEqual(openTicketKey(crypto, relay, sealed), key);
  assert.equal(openTicketKey(crypto, generateKeyPair(crypto), sealed), undefined);
  const again = sealTicketKey(crypto, relay.publicKey, key)!;
  assert.notDeepEqual(again, sealed, 'the ephemeral key is new');
});

test('no bit of a sealed key can be changed, none be cut or added', () => {
  const sealed = sealTicketKey(crypto, relay.publicKey, key)!;
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = sealed.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    // X25519 ignores the highest bit of a public key, but the transcript does not.
    assert.equal(openTicketKey(crypto, relay, changed), undefined, `bit ${bit}`);
  }
  assert.equal(openTicketKey(crypto, relay, sealed.subarray(1)), undefined);
  assert.equal(openTicketKey(crypto, relay, Uint8Array.of(...sealed, 0)), undefined);
  assert.equal(openTicketKey(crypto, relay, new Uint8Array(0)), undefined);
});

test('a key that is none is not sealed to, and one of low order is not opened from', () => {
  assert.equal(sealTicketKey(crypto, new Uint8Array(32), key), undefined);
  assert.equal(openTicketKey(crypto, relay, new Uint8Array(sealedTicketKeyBytes)), undefined);
});

test('what was sealed by Noise_N for another purpose does not open', () => {
  const prologue = new TextEncoder().encode('something else');
  const noise = new HandshakeState(crypto, {
    ...{ pattern: 'N', role: 'initiator', prologue },
    rs: relay.publicKey,
  });
  assert.equal(openTicketKey(crypto, relay, noise.writeMessage(key)!), undefined);
});
