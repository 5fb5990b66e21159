/**
 * How a relay beside a daemon speaks through it: `POST /v1/relay-offer` on the local API, whose answer does not end. Its lines are
 * JSON objects; byte strings are base64url without padding. The daemon offers the relay to the server, again after each reconnection,
 * until the connection closes.
 */
import { z } from 'zod';
import * as field from './fields.ts';
import { relayOffer, relayRevocation } from './relay-control.ts';

export const volunteerPath = '/v1/relay-offer';
export const maxVolunteerLineBytes = 262_144;

const bytes64 = z
  .string()
  .max(100)
  .regex(/^[A-Za-z0-9_-]*$/)
  .transform((text, context): Uint8Array => {
    if (text.length % 4 !== 1) return bytesOf(text);
    context.addIssue({ code: 'custom', message: 'not base64url' });
    return z.NEVER;
  });

/** Without an offer: only to learn of the server. */
export const volunteerRequest = z.strictObject({
  offer: relayOffer.extend({ relayKey: bytes64.pipe(relayOffer.shape.relayKey) }).optional(),
});

export const volunteerLine = z.discriminatedUnion('t', [
  /** First, and whenever it changes. `clusterKey` is there once the daemon is logged in. */
  z.object({
    t: z.literal('server'),
    connected: z.boolean(),
    clusterKey: bytes64.optional(),
    serverTime: field.wallTime.optional(),
  }),
  z.object({
    t: z.literal('state'),
    id: field.relayId,
    state: z.enum(['checking', 'listed', 'unreachable', 'refused']),
    unreachable: z.array(field.endpointText),
    reason: z.string().optional(),
  }),
  z.object({ t: z.literal('revoke'), revoked: z.array(relayRevocation) }),
]);
export type VolunteerLine = z.infer<typeof volunteerLine>;

/** As it stands in a line or request: JSON has no bytes. */
export const volunteerText = (value: unknown): string =>
  JSON.stringify(value, (_, inner) => (inner instanceof Uint8Array ? textOf(inner) : inner));

function bytesOf(text: string): Uint8Array {
  const latin = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(latin, (character) => character.charCodeAt(0));
}

function textOf(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
