import type { Crypto } from '#core/crypto.ts';
import { type ProbeKey, probeKeyBytes, probeKeyId, probeKeyIdBytes } from '#wire/probe.ts';

/** Keys of both directions between two tunnel keys (protocol §7). */
export interface ProbeKeys {
  readonly send: ProbeKey;
  readonly receive: ProbeKey;
}

const label = new TextEncoder().encode('buri probe 1');
const noSalt = new Uint8Array(0);

/**
 * One X25519 and two HKDF: made once for each peer and kept. Undefined when the peer's key is a low-order point.
 */
export function deriveProbeKeys(
  crypto: Crypto,
  privateKey: Uint8Array,
  publicKey: Uint8Array,
  peerPublicKey: Uint8Array,
): ProbeKeys | undefined {
  const shared = crypto.x25519(privateKey, peerPublicKey);
  if (shared === undefined) return undefined;
  const direction = (sender: Uint8Array, recipient: Uint8Array): ProbeKey => {
    const info = new Uint8Array(label.length + sender.length + recipient.length);
    info.set(label);
    info.set(sender, label.length);
    info.set(recipient, label.length + sender.length);
    const bytes = crypto.hkdfSha256(shared, noSalt, info, probeKeyBytes + probeKeyIdBytes);
    return {
      key: bytes.subarray(0, probeKeyBytes),
      keyId: probeKeyId(bytes.subarray(probeKeyBytes)),
    };
  };
  const keys = {
    send: direction(publicKey, peerPublicKey),
    receive: direction(peerPublicKey, publicKey),
  };
  shared.fill(0);
  return keys;
}
