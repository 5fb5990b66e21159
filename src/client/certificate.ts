import { sameBytes } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import type { WallMs } from '#core/time.ts';
import { type DeviceCertificate, openDocument, signDocument } from '#wire/signed.ts';
import type { DeviceKeys } from './identity.ts';

const lifeMs = 365 * 86_400_000;
/** A certificate that has less than this left is replaced at the next login. */
const renewBeforeMs = lifeMs / 2;

/** Version of the extensions to WireGuard that this program speaks. */
export const extensionVersion = 1;

/**
 * The device's certificate: the one held while it says what is true and has long to live, else a new one. Serials begin at
 * the time, so that they go up even when the state was lost and only the identity kept.
 */
export function currentCertificate(
  crypto: Crypto,
  keys: DeviceKeys,
  suites: readonly string[],
  held: Uint8Array | undefined,
  time: WallMs,
): Uint8Array {
  const identity = crypto.ed25519PublicKey(keys.identity.bytes());
  const controlKey = crypto.x25519PublicKey(keys.control.bytes());
  const tunnelKey = crypto.x25519PublicKey(keys.tunnel.bytes());
  const old =
    held &&
    openDocument('device-certificate', held, (message, signature) =>
      crypto.ed25519Verify(identity, message, signature),
    );
  const isTrue = (document: DeviceCertificate) =>
    sameBytes(document.controlKey, controlKey) &&
    sameBytes(document.tunnelKey, tunnelKey) &&
    document.extensionVersion === extensionVersion &&
    document.suites.join() === suites.join();
  if (held !== undefined && old !== undefined && isTrue(old)) {
    if (old.notAfter - time > renewBeforeMs) return held;
  }
  const document: DeviceCertificate = {
    identity,
    controlKey,
    tunnelKey,
    serial: Math.max((old?.serial ?? 0) + 1, time),
    notAfter: time + lifeMs,
    suites: [...suites],
    extensionVersion,
  };
  const sign = (message: Uint8Array) => crypto.ed25519Sign(keys.identity.bytes(), message);
  return signDocument('device-certificate', document, sign);
}
