import { z } from 'zod';
import { type KnownWays, maxReachedPeers } from '#core/member/last-good.ts';
import { maxDeletions } from '#core/mesh/deletions.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import * as field from '#wire/fields.ts';
import { maxRelays, relayEntry } from '#wire/relay-control.ts';
import { candidate, maxCandidates, natBehaviour } from '#wire/signal.ts';
import { signedDocument } from '#wire/signed.ts';

/** How peers and relays were reached last, and which networks were deleted, in `DIR/ways.cbor`: for starts without a server. Keys of relay tickets are in it. */
export const waysFile = 'ways.cbor';
export const maxWaysBytes = 4 * 1024 * 1024;

const waysSchema = z.strictObject({
  version: z.literal(1),
  peers: z
    .array(
      z.strictObject({
        clientId: field.clientId,
        identity: z.string().regex(/^[0-9a-f]{64}$/),
        reachedAt: field.wallTime,
        candidates: z.array(candidate).max(maxCandidates),
        nat: natBehaviour,
      }),
    )
    .max(maxReachedPeers),
  relays: z.array(relayEntry).max(maxRelays),
  deletions: z.array(signedDocument).max(maxDeletions).default([]),
});

export const waysBytes = ({ peers, relays, deletions }: KnownWays): Uint8Array =>
  encodeCbor({ version: 1, peers, relays, deletions });

/** Undefined when the bytes are damaged, or of another version. */
export function waysOf(bytes: Uint8Array): KnownWays | undefined {
  const parsed = waysSchema.safeParse(decodeCbor(bytes, maxWaysBytes));
  if (!parsed.success) return undefined;
  const { peers, relays, deletions } = parsed.data;
  return { peers, relays, deletions };
}
