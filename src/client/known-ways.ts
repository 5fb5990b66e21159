import { z } from 'zod';
import { type KnownWays, maxReachedPeers } from '#core/member/last-good.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import * as field from '#wire/fields.ts';
import { maxRelays, relayEntry } from '#wire/relay-control.ts';
import { candidate, maxCandidates, natBehaviour } from '#wire/signal.ts';

/** How peers and relays were reached last, in `DIR/ways.cbor`: for starts without a server. Keys of relay tickets are in it. */
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
});

export const waysBytes = ({ peers, relays }: KnownWays): Uint8Array =>
  encodeCbor({ version: 1, peers, relays });

/** Undefined when the bytes are damaged, or of another version. */
export function waysOf(bytes: Uint8Array): KnownWays | undefined {
  const parsed = waysSchema.safeParse(decodeCbor(bytes, maxWaysBytes));
  return parsed.success ? { peers: parsed.data.peers, relays: parsed.data.relays } : undefined;
}
