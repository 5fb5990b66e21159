import type { AeadSuite } from '#core/crypto.ts';

/** WireGuard's constants (whitepaper §6.1), as an argument so that tests on real clocks can shorten them. */
export interface SessionTimes {
  /** The initiator replaces keys of this age when it sends. */
  readonly rekeyAfterMs: number;
  /** Keys of this age are neither used nor accepted; they are erased. */
  readonly rejectAfterMs: number;
  /** How long a handshake is tried before it has failed. */
  readonly rekeyAttemptMs: number;
  /** From an initiation to the next one; jitter comes on top. */
  readonly rekeyTimeoutMs: number;
  /** Silence after received data that a keepalive breaks. */
  readonly keepaliveTimeoutMs: number;
  /** What retransmissions are spread over, so that two ends do not initiate in step for ever. */
  readonly jitterMs: number;
  /** Cookies, and the secret they are made of, are that old at most. */
  readonly cookieLifetimeMs: number;
}

export const wireguardTimes: SessionTimes = {
  rekeyAfterMs: 120_000,
  rejectAfterMs: 180_000,
  rekeyAttemptMs: 90_000,
  rekeyTimeoutMs: 5_000,
  keepaliveTimeoutMs: 10_000,
  jitterMs: 333,
  cookieLifetimeMs: 120_000,
};

/** Messages under one key: the sender asks for new keys at `rekeyAfter` and stops at `rejectAfter`. */
export interface MessageLimits {
  readonly rekeyAfter: number;
  readonly rejectAfter: number;
}

/**
 * WireGuard's limits for ChaCha20-Poly1305 are 2^60 and 2^64 - 2^13 - 1; a JavaScript integer ends before that, and no link
 * gets there. AES-256-GCM loses its margin against forgery and distinguishing much earlier.
 */
export const messageLimits: Readonly<Record<AeadSuite, MessageLimits>> = {
  chacha20poly1305: { rekeyAfter: 2 ** 52, rejectAfter: 2 ** 53 - 2 ** 13 - 1 },
  aes256gcm: { rekeyAfter: 2 ** 28, rejectAfter: 2 ** 29 },
};
