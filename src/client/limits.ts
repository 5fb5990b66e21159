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
/** A connection that lived this long was a good one: the next attempt is a first one. */
export const reconnectSettledMs = 30_000;
/** After a change of the network the server has this long to answer. */
export const networkProbeMs = 3000;

/** Requests of local programs that wait for the server. */
export const maxRequestsInFlight = 64;
export const requestTimeoutMs = 20_000;
