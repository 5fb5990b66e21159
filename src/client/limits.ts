/** Every bound of the client outside core, by name. */

/** From the first SYN to the welcome. */
export const connectTimeoutMs = 15_000;
/** From the first SYN to the proxy until it has connected; less than the above, so that its own reason is told. */
export const proxyTimeoutMs = 10_000;
/** The server pings every 15 s: silence beyond this means that the connection is dead. */
export const silenceMs = 32_000;
/** A server that takes nothing for this much is given up. */
export const maxUnsentBytes = 4 * 1024 * 1024;
/** WebSocket messages waiting to be looked at during the handshake. */
export const maxWaitingMessages = 4096;
/** One WebSocket message: a Noise message. */
export const maxWebSocketMessageBytes = 65_535;

/** Reconnection: 1, 2, 4 … 60 s, each shortened by up to a half so that clients of a restarted server spread out. */
export const reconnectFirstMs = 1000;
export const reconnectMostMs = 60_000;
/** A server may ask for no longer pause. */
export const mostRetryAfterMs = 600_000;
/** A server that ends is left by then, whatever it has not answered; and requests wait so long for the connection that follows. */
export const movingMs = 5_000;
/** So many servers in a row may end right after the login before the next one is waited for. */
export const maxQuickMoves = 3;
/** A connection that lived this long was a good one: the next attempt is a first one. */
export const reconnectSettledMs = 30_000;
/** After a change of the network the server has this long to answer. */
export const networkProbeMs = 1500;

/** Requests of local programs that wait for the server. */
export const maxRequestsInFlight = 64;
export const requestTimeoutMs = 20_000;

/** Relays over TCP: from the connection to the answer to the upgrade, each. */
export const upgradeTimeoutMs = 8000;
/** Attempts to reach a relay's WebSocket again: 0.5, 1 … 30 s, each shortened by up to a half. */
export const bridgeRetryFirstMs = 500;
export const bridgeRetryMostMs = 30_000;
/** A WebSocket that lived this long was a good one. */
export const bridgeSettledMs = 10_000;
/** The longest datagram that a bridge carries, relay header included. */
export const maxBridgedBytes = 16_384;
/** What waits to be written to a WebSocket, beside what the kernel holds: more is dropped, as a full line drops. */
export const bridgeBuffers = 6;
export const bridgeBufferBytes = 65_536;
/** Nothing joins a queue whose head waits longer. */
export const bridgeQueueMs = 200;
/** Unsent bytes that the kernel takes of a WebSocket before the queue here begins. */
export const bridgeUnsentBytes = 131_072;
