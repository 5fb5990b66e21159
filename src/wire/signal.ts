/**
 * End-to-end signalling between two clients (protocol §6): what is inside `sealed`. The bytes on the wire are one message of
 * Noise_K_25519_ChaChaPoly_BLAKE2s between the two tunnel keys, prologue
 *
 *     "buri signal 1"  sender's client id (11 characters)  recipient's client id (11 characters)
 *
 * and the payload is the CBOR map below.
 */
import { z } from 'zod';
import { decodeCbor, encodeCbor } from './cbor.ts';
import { maxSignalBytes } from './control.ts';
import * as field from './fields.ts';

export const maxCandidates = 16;
/** A signal is not believed longer than this after it was made, in server time. */
export const signalLifetimeMs = 30_000;

export const candidateKind = z.enum(['host', 'server-reflexive', 'mapped', 'configured', 'relay']);
export type CandidateKind = z.infer<typeof candidateKind>;

export const candidate = z.object({
  kind: candidateKind,
  endpoint: field.endpointText,
  /** Of kind `relay`: the relay that the sender has an allocation on. `endpoint` is there for people to read. */
  relay: field.relayId.optional(),
});
export type Candidate = z.infer<typeof candidate>;

const portNumber = z.number().int().min(0).max(65_535);

/** Which public port a NAT gives a new mapping, as far as samples show. */
export const portAllocation = z.object({
  /** `preserving`: the port inside; `block`: any of a few, as carriers hand them out (RFC 7422). */
  pattern: z.enum(['preserving', 'sequential', 'block', 'random']),
  /** From one mapping to the next, negative when ports count down; of `sequential`. */
  step: z.number().int().min(-4096).max(4096).optional(),
  /** An estimate; of `block`. */
  block: z.object({ first: portNumber, size: z.number().int().min(1).max(65_536) }).optional(),
});
export type PortAllocation = z.infer<typeof portAllocation>;

export const natBehaviour = z.object({
  mapping: z.enum([
    'endpoint-independent',
    'address-dependent',
    'address-and-port-dependent',
    'none',
    'unknown',
  ]),
  filtering: z.enum([
    'endpoint-independent',
    'address-dependent',
    'address-and-port-dependent',
    'none',
    'unknown',
  ]),
  /** Absent until known, and where nothing is translated. */
  allocation: portAllocation.optional(),
  /** Whether two hosts behind it reach each other by its public endpoints; absent until known. */
  hairpin: z.boolean().optional(),
});
export type NatBehaviour = z.infer<typeof natBehaviour>;

/** Where the sender can be met in an attempt at hard NATs: public ports `first`, `first + step`, … of its NAT. */
export const punchPorts = z.object({
  address: field.ipAddress,
  first: z.number().int().min(1).max(65_535),
  count: z.number().int().min(1).max(65_535),
  step: z
    .number()
    .int()
    .min(-4096)
    .max(4096)
    .refine((step) => step !== 0, 'not 0'),
});
export type PunchPorts = z.infer<typeof punchPorts>;

/** An attempt at hard NATs (protocol §12): in an offer the proposal, in an answer the agreement to the same one. */
export const punchTerms = z.object({
  attempt: z.number().int().min(0).max(0xffff_ffff),
  technique: z.enum(['birthday', 'block', 'sequence']),
  ports: punchPorts.optional(),
  /** The sender takes no part now, and why: `off`, `busy`, `crossed`, `direct`, `disagree`, `no-room`, `not-ready`, `too-soon`, `unproven`. */
  refused: z.string().max(32).optional(),
});
export type PunchTerms = z.infer<typeof punchTerms>;

export const signalPayload = z.object({
  /** `offer` asks for an `answer`; both carry candidates. */
  kind: z.enum(['offer', 'answer']),
  /** Counts up for each recipient; one at or below the last seen is a replay. */
  counter: field.serial,
  /** Server time. */
  expiresAt: field.milliseconds,
  candidates: z.array(candidate).max(maxCandidates),
  nat: natBehaviour,
  /** Present when this is about an attempt at hard NATs too. */
  hard: punchTerms.optional(),
});
export type SignalPayload = z.infer<typeof signalPayload>;

export const encodeSignal = (payload: SignalPayload): Uint8Array => encodeCbor(payload);

export function decodeSignal(bytes: Uint8Array): SignalPayload | undefined {
  const result = signalPayload.safeParse(decodeCbor(bytes, maxSignalBytes));
  return result.success ? result.data : undefined;
}
