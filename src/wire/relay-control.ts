/** What the control connection says about relays (protocol §11): part of the unions of `control.ts`. */
import { z } from 'zod';
import * as field from './fields.ts';
import { maxTicketBytes, relayKeyBytes } from './relay.ts';
import { signedDocument } from './signed.ts';

/** In the hello of a client that wants `relays`, and of whoever can be a relay. */
export const relayCapability = 'relay';
export const maxRelays = 32;
export const maxRelayAddresses = 8;
export const maxRevocationsPerMessage = 1024;

const udp = z.array(field.endpointText).max(maxRelayAddresses);
const ws = z.array(field.webSocketUrl).max(maxRelayAddresses);

/** How a relay presents itself. An unspecified address means: where the control connection comes from. */
export const relayOffer = z.object({
  /** Its X25519 key: tickets are sealed to it. */
  relayKey: field.bytesOf(relayKeyBytes),
  udp,
  ws,
  capacity: z.object({
    allocations: z.number().int().min(1).max(0xffff_ffff),
    bytesPerSecond: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  }),
});
export type RelayOffer = z.infer<typeof relayOffer>;

export const relayKind = z.enum(['server', 'standalone', 'volunteer']);
export type RelayKind = z.infer<typeof relayKind>;

/** One relay that this client may use. An unspecified address means: the address where it logged in. */
export const relayEntry = z.object({
  id: field.relayId,
  kind: relayKind,
  udp,
  ws,
  /** Signed document `relay-ticket`. */
  ticket: field.bytesUpTo(maxTicketBytes),
  /** The MAC key that is sealed in the ticket. */
  key: field.bytesOf(relayKeyBytes),
});
export type RelayEntry = z.infer<typeof relayEntry>;

/** Tickets of this client with a serial up to this one are void. */
export const relayRevocation = z.object({ clientId: field.clientId, serial: field.serial });
export type RelayRevocation = z.infer<typeof relayRevocation>;

export const relayMessagesOfClient = [
  /** In place of `login`: a standalone relay. Its static key of the Noise handshake is `offer.relayKey`. */
  z.object({
    t: z.literal('relay-login'),
    offer: relayOffer,
    /** Random, new at every start. */
    instance: field.bytesOf(16),
    /** Needed at the first login: of `buri server token create --relay`. */
    token: z.string().max(128).optional(),
    software: z.string().max(64),
  }),
  /** A standalone relay's offer has changed; or a member volunteers. Without `offer`: it is no relay any more. */
  z.object({ t: z.literal('relay-offer'), offer: relayOffer.optional() }),
] as const;

export const relayMessagesOfServer = [
  /** All relays that this client may use; replaces the list before. */
  z.object({ t: z.literal('relays'), relays: z.array(relayEntry).max(maxRelays) }),
  /** To a relay: what became of its login or offer. `listed`: clients are told of it. */
  z.object({
    t: z.literal('relay-state'),
    id: field.relayId,
    state: z.enum(['checking', 'listed', 'unreachable', 'refused']),
    /** Addresses of the offer that do not answer as this relay. */
    unreachable: udp,
    /** Why it is refused. */
    reason: z.string().max(300).optional(),
    serverTime: field.wallTime,
    /** To a standalone relay when it logs in: the server's nodes, signed document `node-list`. Older servers leave it out. */
    nodeList: signedDocument.optional(),
  }),
  /** To a relay: drop these clients' allocations and refuse their tickets. */
  z.object({
    t: z.literal('relay-revoke'),
    revoked: z.array(relayRevocation).min(1).max(maxRevocationsPerMessage),
  }),
] as const;
