import { compareBytes } from '#core/bytes.ts';
import type { AeadSuite, Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';

/** What both ends of a pair must agree on before a tunnel between them works (protocol §9). */
export interface PairPskOptions {
  /** End-to-end secrets of the common networks, 32 bytes each, in any order. */
  readonly secrets: readonly Uint8Array[];
  readonly suite: AeadSuite;
  readonly extensionVersion: number;
  readonly epoch: number;
  /** The two tunnel public keys, in any order. */
  readonly tunnelKeyA: Uint8Array;
  readonly tunnelKeyB: Uint8Array;
}

const suiteByte = { chacha20poly1305: 1, aes256gcm: 2 } as const satisfies Record<
  AeadSuite,
  number
>;
const label = new TextEncoder().encode('buri 1');
const keyLengthBytes = 32;

/**
 * The pre-shared key of a pair: ends that differ in anything here fail the handshake instead of losing packets later.
 * HKDF-SHA-256 over the sorted secrets; info = 'buri 1' ‖ suite ‖ extension version ‖ epoch LE32 ‖ lower key ‖ higher key.
 */
export function pairPsk(crypto: Crypto, options: PairPskOptions): Uint8Array {
  const { secrets, suite, extensionVersion, epoch, tunnelKeyA, tunnelKeyB } = options;
  assert(secrets.length > 0, 'a pair has a common network');
  const keys = [tunnelKeyA, tunnelKeyB].toSorted(compareBytes);
  for (const part of [...secrets, ...keys]) {
    assert(part.length === keyLengthBytes, 'secrets and tunnel keys have 32 bytes');
  }
  assert(extensionVersion >= 0 && extensionVersion <= 255, 'an extension version is a byte');
  assert(epoch >= 0 && epoch < 2 ** 32, 'an epoch has 32 bits');

  const material = new Uint8Array(secrets.length * keyLengthBytes);
  for (const [i, secret] of secrets.toSorted(compareBytes).entries()) {
    material.set(secret, i * keyLengthBytes);
  }
  const info = new Uint8Array(label.length + 6 + 2 * keyLengthBytes);
  info.set(label);
  info[label.length] = suiteByte[suite];
  info[label.length + 1] = extensionVersion;
  new DataView(info.buffer).setUint32(label.length + 2, epoch, true);
  info.set(keys[0]!, label.length + 6);
  info.set(keys[1]!, label.length + 6 + keyLengthBytes);

  const psk = crypto.hkdfSha256(material, new Uint8Array(0), info, keyLengthBytes);
  material.fill(0);
  return psk;
}
