/**
 * Signed documents (protocol §3). A document travels as the CBOR map `{p: payload bytes, s: signature}`; the payload is
 * itself CBOR. The Ed25519 signature covers the domain and the payload bytes as they were received:
 *
 *     "buri/" kind "/1"  00  payload
 *
 * so that nothing is ever re-encoded to be verified, and no document passes for one of another kind.
 */
import { z } from 'zod';
import { decodeCbor, encodeCbor } from './cbor.ts';
import * as field from './fields.ts';

export const maxDocumentBytes = 4096;
export const maxNodes = 64;
/** A document as it travels, in fields of messages. */
export const signedDocument = field.bytesUpTo(maxDocumentBytes + 128);

/** The cluster's Ed25519 key vouches for one node's X25519 control key. */
export const nodeCertificate = z.object({
  nodeId: z.string().min(1).max(64),
  nodeKey: field.bytesOf(32),
  serial: field.serial,
  notBefore: field.milliseconds,
  notAfter: field.milliseconds,
});

/** The cluster's list of its nodes: where else a client may log in, ask STUN, find relays. */
export const nodeList = z.object({
  serial: field.serial,
  issuedAt: field.milliseconds,
  notAfter: field.milliseconds,
  nodes: z
    .array(
      z.object({
        nodeId: z.string().min(1).max(64),
        control: z.array(z.string().max(300)).max(8),
        stun: z.array(field.endpointText).max(8),
        relay: z.array(z.string().max(300)).max(8),
      }),
    )
    .max(maxNodes),
});

/** A device's Ed25519 identity binds its control key, its tunnel key and what it can do. */
export const deviceCertificate = z.object({
  identity: field.bytesOf(32),
  controlKey: field.bytesOf(32),
  tunnelKey: field.bytesOf(32),
  serial: field.serial,
  notAfter: field.milliseconds,
  suites: z.array(z.string().max(32)).min(1).max(8),
  extensionVersion: z.number().int().min(0).max(255),
});

/** An identity is a member of a network, with these addresses and this role, until `notAfter`. */
export const membership = z.object({
  network: field.networkId,
  networkType: z.string().max(16),
  identity: field.bytesOf(32),
  clientId: field.clientId,
  ipv4: field.ipv4,
  ipv6: field.ipv6,
  role: z.string().max(16),
  serial: field.serial,
  notBefore: field.milliseconds,
  notAfter: field.milliseconds,
  signer: z.enum(['cluster']),
});

/** An identity is no longer a member; beats every membership of the same network with a serial up to this one. */
export const revocation = z.object({
  network: field.networkId,
  identity: field.bytesOf(32),
  clientId: field.clientId,
  serial: field.serial,
  issuedAt: field.milliseconds,
  signer: z.enum(['cluster']),
});

/** A network is no more; beats every membership of it with a serial up to this one. */
export const deletion = z.object({
  network: field.networkId,
  serial: field.serial,
  issuedAt: field.milliseconds,
  signer: z.enum(['cluster']),
});

/** What a relay gives to whom, until when (protocol §11). The relay needs nothing else to serve this client. */
export const relayTicket = z.object({
  relay: field.relayId,
  /** X25519 key of the relay; only its owner opens `sealedKey`. */
  relayKey: field.bytesOf(32),
  identity: field.bytesOf(32),
  clientId: field.clientId,
  /** Counts up for each client: a relay refuses what is lower than it has seen, or than was revoked. */
  serial: field.serial,
  notBefore: field.milliseconds,
  notAfter: field.milliseconds,
  bytesPerSecond: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  packetsPerSecond: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  /** The 32 bytes of the MAC key in one message of Noise_N: ephemeral key 32, sealed 32, tag 16. */
  sealedKey: field.bytesOf(80),
});

const documents = {
  'node-certificate': nodeCertificate,
  'node-list': nodeList,
  'device-certificate': deviceCertificate,
  membership,
  revocation,
  deletion,
  'relay-ticket': relayTicket,
} as const;

export type DocumentKind = keyof typeof documents;
export type Document<Kind extends DocumentKind> = z.infer<(typeof documents)[Kind]>;
export type NodeCertificate = Document<'node-certificate'>;
export type DeviceCertificate = Document<'device-certificate'>;
export type Membership = Document<'membership'>;
export type Revocation = Document<'revocation'>;
export type Deletion = Document<'deletion'>;
export type RelayTicket = Document<'relay-ticket'>;

const envelope = z.strictObject({
  p: field.bytesUpTo(maxDocumentBytes),
  s: field.bytesOf(64),
});

/** The bytes that a signature of this kind covers. */
export function signedBytes(kind: DocumentKind, payload: Uint8Array): Uint8Array {
  const domain = new TextEncoder().encode(`buri/${kind}/1\0`);
  const message = new Uint8Array(domain.length + payload.length);
  message.set(domain);
  message.set(payload, domain.length);
  return message;
}

/** Encodes and signs; `sign` is Ed25519 over the bytes it is given. */
export function signDocument<Kind extends DocumentKind>(
  kind: Kind,
  document: Document<Kind>,
  sign: (message: Uint8Array) => Uint8Array,
): Uint8Array {
  const payload = encodeCbor(documents[kind].parse(document));
  return encodeCbor({ p: payload, s: sign(signedBytes(kind, payload)) });
}

/**
 * Verifies and decodes; undefined when it is malformed or not signed by that key. Dates are not looked at.
 * `verify` is Ed25519 over (message, signature); for a device certificate, whose signer is named inside, use
 * `peekDocument` first to learn the key.
 */
export function openDocument<Kind extends DocumentKind>(
  kind: Kind,
  bytes: Uint8Array,
  verify: (message: Uint8Array, signature: Uint8Array) => boolean,
): Document<Kind> | undefined {
  const opened = parse(kind, bytes);
  if (opened === undefined || !verify(signedBytes(kind, opened.payload), opened.signature))
    return undefined;
  return opened.document;
}

/** Decodes without verifying: for the signer's name only. */
export function peekDocument<Kind extends DocumentKind>(
  kind: Kind,
  bytes: Uint8Array,
): Document<Kind> | undefined {
  return parse(kind, bytes)?.document;
}

function parse<Kind extends DocumentKind>(kind: Kind, bytes: Uint8Array) {
  const outer = envelope.safeParse(decodeCbor(bytes, maxDocumentBytes + 128));
  if (!outer.success) return undefined;
  const inner = documents[kind].safeParse(decodeCbor(outer.data.p, maxDocumentBytes));
  if (!inner.success) return undefined;
  return { payload: outer.data.p, signature: outer.data.s, document: inner.data as Document<Kind> };
}
