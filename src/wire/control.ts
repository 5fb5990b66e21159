/**
 * Messages of the control connection (protocol §4). Before the Noise handshake: `hello` and its answer, in the clear, bound
 * into the handshake by its prologue. After it: every message is CBOR, cut into frames, each one Noise transport message:
 *
 *     0        1
 *     flags    chunk …          flags bit 0: more frames of this message follow; other bits are zero
 */
import { z } from 'zod';
import { decodeCbor, encodeCbor } from './cbor.ts';
import * as field from './fields.ts';
import { relayMessagesOfClient, relayMessagesOfServer } from './relay-control.ts';
import { signedDocument as document } from './signed.ts';
import { stunTokenBytes } from './stun.ts';

export const controlVersion = 1;
/** Path of the WebSocket on the server. */
export const controlPath = '/v1/control';
export const maxHelloBytes = 2048;
/** Chunk of one frame: a Noise message of 65,535 bytes less tag and flags. */
export const maxChunkBytes = 65_535 - 16 - 1;
/** One whole message. */
export const maxClientMessageBytes = 65_536;
export const maxServerMessageBytes = 8 * 1024 * 1024;
/** Networks of one client. */
export const maxNetworksPerClient = 256;
export const maxSignalBytes = 2048;
/** Revocations of one network that come with its view. */
export const maxRevocationsPerView = 256;
/** Addresses of one client, IPv4 and IPv6, that it may prove to be its own. */
export const maxProofs = 4;

const id = z.number().int().min(1).max(0xffff_ffff);
const error = z.object({ code: z.string().max(64), message: z.string().max(1000) });

export const hello = z.object({
  t: z.literal('hello'),
  versions: z.array(z.number().int().min(1).max(255)).min(1).max(16),
  capabilities: z.array(z.string().max(32)).max(32),
});
export const helloReply = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('hello'),
    version: z.number().int().min(1).max(255),
    capabilities: z.array(z.string().max(32)).max(32),
    /** Ed25519 key of the cluster; believed only when it is pinned or this is the first contact. */
    clusterKey: field.bytesOf(32),
    /** Signed node certificate. */
    certificate: document,
  }),
  z.object({ t: z.literal('unsupported'), versions: z.array(z.number().int()).max(16) }),
]);

/** How a network lets people in: the verifier proves the password, the wrapped secret opens with it (protocol §5). */
const admission = z.object({
  salt: field.bytesOf(16),
  argon2: field.argon2Parameters,
  verifier: field.bytesOf(32),
  wrappedSecret: field.bytesOf(72),
  hasPassword: z.boolean(),
});

const operation = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('create'),
    name: field.displayName,
    type: field.networkType,
    admission,
  }),
  z.object({ op: z.literal('admission'), name: field.displayName }),
  z.object({ op: z.literal('join'), name: field.displayName, verifier: field.bytesOf(32) }),
  z.object({ op: z.literal('leave'), network: field.networkId }),
  z.object({ op: z.literal('delete'), network: field.networkId }),
  z.object({ op: z.literal('evict'), network: field.networkId, clientId: field.clientId }),
  z.object({ op: z.literal('approve'), network: field.networkId, clientId: field.clientId }),
  z.object({ op: z.literal('reject'), network: field.networkId, clientId: field.clientId }),
  z.object({ op: z.literal('transfer'), network: field.networkId, clientId: field.clientId }),
  z.object({ op: z.literal('set-nick'), nick: field.displayName }),
  z.object({ op: z.literal('set-pass'), network: field.networkId, admission }),
  z.object({
    op: z.literal('set-access'),
    network: field.networkId,
    locked: z.boolean().optional(),
    approval: field.approval.optional(),
  }),
  z.object({ op: z.literal('go-online'), network: field.networkId }),
  z.object({ op: z.literal('go-offline'), network: field.networkId }),
]);
export type Operation = z.infer<typeof operation>;

const addressProof = z.object({
  address: field.ipAddress,
  token: field.bytesOf(stunTokenBytes),
});
export type AddressProof = z.infer<typeof addressProof>;

export const clientMessage = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('login'),
    certificate: document,
    /** Random, new at every start of the daemon: tells a copied identity from a reconnect. */
    instance: field.bytesOf(16),
    nick: field.displayName,
    token: z.string().max(128).optional(),
    software: z.string().max(64),
    known: z
      .array(z.object({ network: field.networkId, revision: field.revision }))
      .max(maxNetworksPerClient),
  }),
  z.object({ t: z.literal('request'), id, operation }),
  /** Sealed for another client; the server only forwards it. `punch` asks for a timed simultaneous open. */
  z.object({
    t: z.literal('signal'),
    to: field.clientId,
    sealed: field.bytesUpTo(maxSignalBytes),
    punch: z.boolean(),
    /** Tokens from the server's STUN answers: the sender receives at the addresses that they were sent to (protocol §8). */
    proofs: z.array(addressProof).max(maxProofs).optional(),
    /** The sender would like to send the receiver more probes than the usual few. */
    probes: z.boolean().optional(),
  }),
  /** Ask for the whole view of one network again. */
  z.object({ t: z.literal('resync'), network: field.networkId }),
  z.object({ t: z.literal('pong'), id }),
  z.object({ t: z.literal('logout') }),
  ...relayMessagesOfClient,
]);
export type ClientMessage = z.infer<typeof clientMessage>;

export const member = z.object({
  clientId: field.clientId,
  nick: field.displayName,
  presence: field.presence,
  /** Signed device certificate and signed membership. */
  certificate: document,
  statement: document,
});
export type MemberView = z.infer<typeof member>;

export const networkFacts = z.object({
  name: field.displayName,
  type: field.networkType,
  owner: field.clientId,
  locked: z.boolean(),
  approval: field.approval,
  hasPassword: z.boolean(),
  /** Number of the end-to-end secret in force; counts up when it is replaced. */
  epoch: z.number().int().min(0).max(0xffff_ffff),
});
export type NetworkFacts = z.infer<typeof networkFacts>;

const pendingRequest = z.object({ clientId: field.clientId, nick: field.displayName });
export type PendingRequest = z.infer<typeof pendingRequest>;

const change = z.discriminatedUnion('op', [
  /** A member came, or its entry changed. */
  z.object({ op: z.literal('member'), member }),
  /** A member is no longer one: evicted, left. */
  z.object({ op: z.literal('gone'), clientId: field.clientId, revocation: document }),
  z.object({ op: z.literal('facts'), facts: networkFacts }),
  /** For the owner only: who waits for approval, whole list. */
  z.object({ op: z.literal('pending'), pending: z.array(pendingRequest).max(1000) }),
]);
export type Change = z.infer<typeof change>;

export const serverMessage = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('welcome'),
    clientId: field.clientId,
    ipv4: field.ipv4,
    ipv6: field.ipv6,
    /** Virtual address pools, `address/length`. */
    pool4: field.ipv4Pool,
    pool6: field.ipv6Pool,
    serverTime: field.wallTime,
    nodeList: document,
    /** How long a client lost without goodbye stays 'unconfirmed'. */
    graceMs: field.milliseconds,
    software: z.string().max(64),
  }),
  /** The login was refused, or the connection ends for a reason that a person should read. */
  z.object({ t: z.literal('refused'), error, retryAfterMs: field.milliseconds.optional() }),
  z.object({
    t: z.literal('response'),
    id,
    result: z.discriminatedUnion('ok', [
      z.object({
        ok: z.literal(true),
        network: field.networkId.optional(),
        state: z.enum(['member', 'pending']).optional(),
        wrappedSecret: field.bytesOf(72).optional(),
        admission: z
          .object({
            salt: field.bytesOf(16),
            argon2: field.argon2Parameters,
            hasPassword: z.boolean(),
          })
          .optional(),
      }),
      z.object({ ok: z.literal(false), error }),
    ]),
  }),
  /** The whole of a network. `state: pending` while this client waits for approval: then there are no members. */
  z.object({
    t: z.literal('view'),
    network: field.networkId,
    revision: field.revision,
    state: z.enum(['member', 'pending']),
    /** Whether this client is online in this network (go-online, go-offline). */
    active: z.boolean(),
    facts: networkFacts,
    members: z.array(member).max(16_384),
    pending: z.array(pendingRequest).max(1000),
    /** Of those who are out and whose statements may be in force still: to be believed, and told on, like those of deltas. */
    revocations: z.array(document).max(maxRevocationsPerView).optional(),
  }),
  /** What changed from revision `from` to revision `to`. Not applicable when `from` is not the one held: then `resync`. */
  z.object({
    t: z.literal('delta'),
    network: field.networkId,
    from: field.revision,
    to: field.revision,
    changes: z.array(change).max(4096),
    active: z.boolean().optional(),
  }),
  /** This client is no longer in the network: deleted, left, evicted, rejected. */
  z.object({
    t: z.literal('removed'),
    network: field.networkId,
    reason: z.enum(['deleted', 'left', 'evicted', 'rejected']),
    /** Signed, when it was deleted: members pass it on. */
    deletion: document.optional(),
  }),
  /** Presence is not durable and has no revision. */
  z.object({
    t: z.literal('presence'),
    network: field.networkId,
    clientId: field.clientId,
    presence: field.presence,
  }),
  /** The same of all members at once: whoever is not named is offline. */
  z.object({
    t: z.literal('presences'),
    network: field.networkId,
    online: z.array(field.clientId).max(16_384),
    unconfirmed: z.array(field.clientId).max(16_384),
  }),
  /** Login is complete: every network that this client is in has been brought up to date. */
  z.object({
    t: z.literal('synchronised'),
    networks: z.array(field.networkId).max(maxNetworksPerClient),
  }),
  /** Sealed by another client. `punchInMs`: begin the simultaneous open that long after receiving this. */
  z.object({
    t: z.literal('signal'),
    from: field.clientId,
    sealed: field.bytesUpTo(maxSignalBytes),
    punchInMs: field.milliseconds.optional(),
    /**
     * IP addresses at which the sender receives, as it proved to the server, and which no two others probe now: for half a
     * minute more than the usual few probes may go there. Only for whoever asked by `probes` (protocol §8).
     */
    proven: z.array(field.ipAddress).max(maxProofs).optional(),
  }),
  /** To the sender of a signal with `punch`: begin now plus `punchInMs`. */
  z.object({ t: z.literal('punch'), peer: field.clientId, punchInMs: field.milliseconds }),
  /** A signal could not be delivered: the other side has no control connection now. */
  z.object({ t: z.literal('undelivered'), to: field.clientId }),
  z.object({ t: z.literal('ping'), id, serverTime: field.wallTime }),
  /** This node is about to end: go on to another one, once what was asked here has been answered. */
  z.object({ t: z.literal('moving') }),
  /** Something a person should know, shown in `status`. */
  z.object({ t: z.literal('notice'), code: z.string().max(64), message: z.string().max(1000) }),
  ...relayMessagesOfServer,
]);
export type ServerMessage = z.infer<typeof serverMessage>;
export type ServerMessageOf<T extends ServerMessage['t']> = Extract<ServerMessage, { t: T }>;
export type OperationResult = ServerMessageOf<'response'>['result'];

export const encodeMessage = (message: ClientMessage | ServerMessage): Uint8Array =>
  encodeCbor(message);

/** Decoded and validated, or a text saying what is wrong with it. */
export const decodeClientMessage = (bytes: Uint8Array): ClientMessage | string =>
  validated(clientMessage.safeParse(decodeCbor(bytes, maxClientMessageBytes)));

export const decodeServerMessage = (bytes: Uint8Array): ServerMessage | string =>
  validated(serverMessage.safeParse(decodeCbor(bytes, maxServerMessageBytes)));

function validated<T>(result: z.ZodSafeParseResult<T>): T | string {
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  return `${issue?.path.join('.') || 'message'}: ${issue?.message ?? 'malformed'}`;
}
