import {
  type Deletion,
  type DeviceCertificate,
  type Document,
  type DocumentKind,
  type Membership,
  type NodeCertificate,
  openDocument,
  peekDocument,
  type Revocation,
} from '#wire/signed.ts';
import { sameBytes } from '../bytes.ts';
import type { Crypto } from '../crypto.ts';
import type { WallMs } from '../time.ts';

/** Why a document, or the entry that carries it, was not believed. Names are stable: they are counters. */
export type DocumentFault =
  | 'certificate-malformed'
  | 'certificate-forged'
  | 'certificate-stale'
  | 'membership-malformed'
  | 'membership-forged'
  | 'membership-stale'
  | 'membership-revoked'
  | 'membership-of-another'
  | 'addresses-inconsistent'
  | 'revocation-malformed'
  | 'revocation-forged'
  | 'revocation-of-another'
  | 'deletion-forged';

export type Opened<T, Fault extends string = DocumentFault> =
  | { readonly ok: true; readonly document: T }
  | { readonly ok: false; readonly fault: Fault };

/** A device certificate, signed by the identity that it names. Dates are not looked at. */
export function openDeviceCertificate(
  crypto: Crypto,
  bytes: Uint8Array,
): Opened<DeviceCertificate> {
  const claimed = peekDocument('device-certificate', bytes);
  if (claimed === undefined) return { ok: false, fault: 'certificate-malformed' };
  const document = signedBy(crypto, 'device-certificate', bytes, claimed.identity);
  return document === undefined
    ? { ok: false, fault: 'certificate-forged' }
    : { ok: true, document };
}

/** A membership signed by the cluster. Dates are not looked at. */
export function openMembership(
  crypto: Crypto,
  clusterKey: Uint8Array,
  bytes: Uint8Array,
): Opened<Membership> {
  if (peekDocument('membership', bytes) === undefined) {
    return { ok: false, fault: 'membership-malformed' };
  }
  const document = signedBy(crypto, 'membership', bytes, clusterKey);
  return document === undefined
    ? { ok: false, fault: 'membership-forged' }
    : { ok: true, document };
}

export function openRevocation(
  crypto: Crypto,
  clusterKey: Uint8Array,
  bytes: Uint8Array,
): Opened<Revocation> {
  if (peekDocument('revocation', bytes) === undefined) {
    return { ok: false, fault: 'revocation-malformed' };
  }
  const document = signedBy(crypto, 'revocation', bytes, clusterKey);
  return document === undefined
    ? { ok: false, fault: 'revocation-forged' }
    : { ok: true, document };
}

export function openDeletion(
  crypto: Crypto,
  clusterKey: Uint8Array,
  bytes: Uint8Array,
): Opened<Deletion> {
  const document = signedBy(crypto, 'deletion', bytes, clusterKey);
  return document === undefined ? { ok: false, fault: 'deletion-forged' } : { ok: true, document };
}

export type NodeCertificateFault =
  | 'certificate-malformed'
  | 'certificate-forged'
  | 'certificate-early'
  | 'certificate-expired';

/** A node certificate signed by the cluster, between its dates at `time` (protocol §3). */
export function openNodeCertificate(
  crypto: Crypto,
  clusterKey: Uint8Array,
  bytes: Uint8Array,
  time: WallMs,
): Opened<NodeCertificate, NodeCertificateFault> {
  if (peekDocument('node-certificate', bytes) === undefined) {
    return { ok: false, fault: 'certificate-malformed' };
  }
  const document = signedBy(crypto, 'node-certificate', bytes, clusterKey);
  if (document === undefined) return { ok: false, fault: 'certificate-forged' };
  if (time + clockToleranceMs < document.notBefore)
    return { ok: false, fault: 'certificate-early' };
  if (time > document.notAfter) return { ok: false, fault: 'certificate-expired' };
  return { ok: true, document };
}

/** A clock that is behind by less than this does not make a fresh document 'not yet valid'. */
export const clockToleranceMs = 5 * 60_000;

/** Whether a membership is in force at `time`, the best time known (protocol §3). */
export const inForce = (membership: Membership, time: WallMs): boolean =>
  time + clockToleranceMs >= membership.notBefore && time <= membership.notAfter;

/** The inner IPv6 address carries the IPv4 address in its last 32 bits. */
export function addressesAgree(ipv4: Uint8Array, ipv6: Uint8Array): boolean {
  return ipv4.length === 4 && ipv6.length === 16 && sameBytes(ipv6.subarray(12), ipv4);
}

function signedBy<Kind extends DocumentKind>(
  crypto: Crypto,
  kind: Kind,
  bytes: Uint8Array,
  publicKey: Uint8Array,
): Document<Kind> | undefined {
  return openDocument(kind, bytes, (message, signature) =>
    crypto.ed25519Verify(publicKey, message, signature),
  );
}
