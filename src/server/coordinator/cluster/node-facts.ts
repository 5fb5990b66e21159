/** What nodes know of each other, by the database: where clients reach them, and their own relays. */
import { z } from 'zod';
import { endpointText } from '#wire/fields.ts';
import { relayOffer } from '#wire/relay-control.ts';

const maxFactsLength = 16_384;

const facts = z.object({
  control: z.array(z.string().max(300)).max(8),
  stun: z.array(endpointText).max(8),
  software: z.string().max(64),
  relay: relayOffer
    .omit({ relayKey: true })
    .extend({ relayKey: z.string().regex(/^[0-9a-f]{64}$/) })
    .optional(),
});
export type NodeFacts = z.infer<typeof facts>;

export const encodeNodeFacts = (value: NodeFacts): string => JSON.stringify(value);

/** Undefined when a node of another version wrote something else. */
export function decodeNodeFacts(text: string): NodeFacts | undefined {
  if (text.length > maxFactsLength) return undefined;
  try {
    const result = facts.safeParse(JSON.parse(text));
    return result.success ? result.data : undefined;
  } catch {
    return undefined;
  }
}
