/**
 * What nodes of a cluster tell each other (docs/decisions/cluster.md). All of it is hints: whatever must not be lost is in the
 * database before it is told here, and a receiver that misses a number reads the database.
 *
 * A parcel is CBOR, sealed by `seal.ts`, published to all nodes or to one:
 *
 *     {from, boot, seq, time, items: […]}
 *
 * `boot` is random at each start of a node; `seq` counts its parcels to all nodes from 1, without gaps. Parcels to one node
 * have numbers of their own, above `directFrom`, so that a repeated one is known as well.
 */
import { z } from 'zod';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { maxNetworksPerClient, maxProofs, maxSignalBytes } from '#wire/control.ts';
import * as field from '#wire/fields.ts';

export const maxParcelBytes = 262_144;
export const maxParcelItems = 512;
/** Numbers of parcels to one node begin here. */
export const directFrom = 2 ** 40;

export const nodeId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const boot = z.string().regex(/^[0-9a-f]{16}$/);
const hex = (lengthBytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * lengthBytes}}$`));

const participation = z.object({
  network: field.networkId,
  state: z.enum(['member', 'pending']),
  active: z.boolean(),
  revision: field.revision,
});

const item = z.discriminatedUnion('t', [
  /** Every second. `ticketSerial`: the highest that the node has given out. */
  z.object({
    t: z.literal('beat'),
    state: z.enum(['serving', 'draining', 'ended']),
    ticketSerial: field.serial,
  }),
  /** A network has reached this revision; it is deleted when there is none. */
  z.object({
    t: z.literal('network'),
    network: field.networkId,
    revision: field.revision.optional(),
  }),
  /** A client has logged in at the sender. */
  z.object({
    t: z.literal('online'),
    clientId: field.clientId,
    serial: field.serial,
    identity: hex(32),
    instance: hex(16),
    networks: z.array(participation).max(maxNetworksPerClient),
  }),
  /** The connection that began with this login has ended: without goodbye, or for good. */
  z.object({
    t: z.literal('lost'),
    clientId: field.clientId,
    serial: field.serial,
    presence: z.enum(['unconfirmed', 'offline']),
  }),
  z.object({
    t: z.literal('signal'),
    from: field.clientId,
    to: field.clientId,
    sealed: field.bytesUpTo(maxSignalBytes),
    punch: z.boolean(),
    probes: z.boolean(),
    proven: z.array(field.ipAddress).max(maxProofs),
    /** Round trip to the sender's client. */
    rttMs: field.milliseconds.optional(),
  }),
  z.object({ t: z.literal('undelivered'), client: field.clientId, to: field.clientId }),
  z.object({
    t: z.literal('punch'),
    client: field.clientId,
    peer: field.clientId,
    inMs: field.milliseconds,
  }),
  /** A second daemon with this identity wants in: does the connection that you have answer? */
  z.object({ t: z.literal('challenge'), identity: hex(32) }),
  z.object({ t: z.literal('challenged'), identity: hex(32) }),
  /** The operator has removed a client, or a relay. */
  z.object({ t: z.literal('expel'), clientId: field.clientId }),
  z.object({ t: z.literal('expel-relay'), relay: field.relayId }),
  /** Relays have come, gone or changed. */
  z.object({ t: z.literal('relays') }),
  /** Tickets up to this serial are void; at every relay when none is named. */
  z.object({
    t: z.literal('revoke'),
    relay: field.relayId.optional(),
    clientId: field.clientId,
    serial: field.serial,
  }),
]);
export type FabricItem = z.infer<typeof item>;
export type FabricItemOf<T extends FabricItem['t']> = Extract<FabricItem, { t: T }>;

const parcel = z.object({
  from: nodeId,
  boot,
  seq: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  time: field.wallTime,
  items: z.array(item).max(maxParcelItems),
});
export type Parcel = z.infer<typeof parcel>;

export const encodeParcel = (value: Parcel): Uint8Array => encodeCbor(value);

/** Undefined when it is none. */
export function decodeParcel(bytes: Uint8Array): Parcel | undefined {
  const result = parcel.safeParse(decodeCbor(bytes, maxParcelBytes));
  return result.success ? result.data : undefined;
}
