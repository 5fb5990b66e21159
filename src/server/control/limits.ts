/** Every bound of the control endpoint, by name. */
import type { Rate } from '#core/limiter.ts';

/** From the connection to the answered login; and to the first handshake message: two round trips, and a packet lost. */
export const loginTimeoutMs = 10_000;
export const greetingTimeoutMs = 5_000;
/** Connections whose login is under way. */
export const maxHandshakes = 512;
export const maxHandshakesPerPrefix = 64;
export const maxHandshakesPerWidePrefix = 128;
/** Newcomers who wait for their turn, and how long; beyond, they are told when to come back. */
export const maxQueuedNewcomers = 4_096;
export const maxQueuedPerPrefix = 256;
export const maxQueuedPerWidePrefix = 1_024;
export const handshakePatienceMs = 8_000;
export const leastRetryMs = 1_000;
export const mostRetryMs = 30_000;
/** Connections that the system holds until they are looked at: whoever finds no place is not heard for a second, then for three. */
export const maxBacklog = 4_096;
/** Connections altogether. */
export const maxConnections = 50_000;

/** New connections of one address (or /64), and of its neighbourhood. */
export const connectionsPerPrefix: Rate = { burst: 500, intervalMs: 20 };
export const connectionsPerWidePrefix: Rate = { burst: 2_000, intervalMs: 5 };

/** Messages and bytes of one logged-in client: what is beyond waits in its own socket. */
export const messagesPerSession: Rate = { burst: 1_000, intervalMs: 5 };
export const bytesPerSession: Rate = { burst: 2_097_152, intervalMs: 1 / 262 };

/** Unsent bytes of one session: beyond, signals are dropped; beyond the next, the client is cut and resynchronises. */
export const maxQueuedForSignals = 1_048_576;
export const maxQueuedBytes = 33_554_432;
/** A closing connection that does not go is cut. */
export const closeTimeoutMs = 3_000;
/** Connections of one address, and of its neighbourhood, that have not become WebSockets, and how long one may take to ask. */
export const maxWaitingPerPrefix = 512;
export const maxWaitingPerWidePrefix = 2_048;
export const requestTimeoutMs = 10_000;
/** Most that Node reads of an HTTP request before the upgrade. */
export const maxHeaderBytes = 8_192;
