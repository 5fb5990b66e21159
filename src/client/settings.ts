import { z } from 'zod';
import * as field from '#wire/fields.ts';

/** What a daemon remembers in `DIR/state.json`: byte strings are base64url without padding. */
const bytes64 = (minBytes: number, maxBytes: number) =>
  z
    .string()
    .max(2 * maxBytes)
    .regex(/^[A-Za-z0-9_-]*$/)
    .transform((text): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url')))
    .refine((bytes) => bytes.length >= minBytes && bytes.length <= maxBytes);

const key = bytes64(32, 32);

export const settingsSchema = z.strictObject({
  version: z.literal(1),
  /** The identity that all of this belongs to. */
  identity: key,
  /** Whether the user wants to be online: login to logout. */
  loggedIn: z.boolean(),
  nick: field.displayName,
  server: z
    .strictObject({
      url: z.string().max(500),
      /** The cluster's key: from the URL, or pinned at the first contact. */
      clusterKey: key,
    })
    .optional(),
  /** What the server gave this device. */
  self: z
    .strictObject({
      clientId: field.clientId,
      ipv4: field.ipv4,
      ipv6: field.ipv6,
      pool4: field.ipv4Pool,
      pool6: field.ipv6Pool,
      nodeList: bytes64(1, 8192),
    })
    .optional(),
  /** The device certificate in force. */
  certificate: bytes64(1, 8192).optional(),
  /** UDP port of last time. */
  port: z.number().int().min(1).max(65_535).optional(),
  /** Latest time that an authenticated server told. */
  serverTimeMs: field.milliseconds,
  /** TAI64N: no tunnel timestamp after this one has been sent. */
  timestamp: bytes64(12, 12).optional(),
  /** End-to-end secrets of the networks. */
  secrets: z.record(field.networkId, key),
});

export type Settings = z.infer<typeof settingsSchema>;

export const newSettings = (identity: Uint8Array, nick: string): Settings => ({
  version: 1,
  identity,
  loggedIn: false,
  nick,
  serverTimeMs: 0,
  secrets: {},
});

/** The nickname of a device that was given none: its host name, as far as a nickname may look like it. */
export function nickFromHost(hostName: string): string {
  const nick = hostName.split('.')[0]?.slice(0, field.maxNameCharacters) ?? '';
  return field.displayName.safeParse(nick).success ? nick : 'unnamed';
}

export const settingsText = (settings: Settings): string =>
  `${JSON.stringify(settings, (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value,
  )}\n`;
