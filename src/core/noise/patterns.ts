/** Tokens of a message pattern (Noise §7.1). */
export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk';

export interface HandshakePattern {
  /** Keys known before: what the initiator's side of the pre-messages holds, then the responder's. */
  readonly preMessages: readonly [initiator: readonly 's'[], responder: readonly 's'[]];
  /** Messages in turn, the initiator first. */
  readonly messages: readonly (readonly Token[])[];
}

export type PatternName = keyof typeof patterns;

/** Noise §7.4 and §7.5, and the psk modifier of §9.4. */
export const patterns = {
  /** One way, to a known key, sender anonymous. */
  N: { preMessages: [[], ['s']], messages: [['e', 'es']] },
  /** One way, both keys known. */
  K: { preMessages: [['s'], ['s']], messages: [['e', 'es', 'ss']] },
  /** The responder's key is known, the initiator's is sent under it. */
  IK: {
    preMessages: [[], ['s']],
    messages: [
      ['e', 'es', 's', 'ss'],
      ['e', 'ee', 'se'],
    ],
  },
  IKpsk2: {
    preMessages: [[], ['s']],
    messages: [
      ['e', 'es', 's', 'ss'],
      ['e', 'ee', 'se', 'psk'],
    ],
  },
} as const satisfies Record<string, HandshakePattern>;

export const protocolName = (pattern: PatternName): string =>
  `Noise_${pattern}_25519_ChaChaPoly_BLAKE2s`;
