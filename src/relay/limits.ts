/** Every bound of a relay, by name. */

/** Clients that hold an allocation at once. */
export const maxAllocations = 16_384;
/** Of one address (IPv6: /64) and of its neighbourhood (/24, /48): a home or office, and a carrier's NAT. */
export const maxPerPrefix = 512;
export const maxPerWidePrefix = 4096;
/** An allocation ends so long after the last refresh or data from it. */
export const lifetimeMs = 90_000;
/** While the server cannot be reached, tickets of live allocations count for so long beyond their end. */
export const orphanedMs = 24 * 3_600_000;
/** How long a relay goes on forwarding at its end. */
export const drainMs = 10_000;

/** The time of a request may be so far from the relay's. */
export const maxSkewMs = 60_000;
/** Requests may arrive in another order than they were sent: so much older than the newest one is still taken. */
export const reorderMs = 10_000;
/** Requests of a client in that time that are remembered; beyond, they are dropped. */
export const maxRemembered = 32;
/** Clients whose last request is remembered after their allocation has ended, for `maxSkewMs`. */
export const maxMourned = 4096;
/** Clients whose tickets were taken back; the oldest is forgotten first, its tickets have ended by then. */
export const maxRevoked = 65_536;

/** A cookie is good in the minute in which it was made and in the next one. */
export const cookieMs = 60_000;

/** Control messages of a prefix, of its neighbourhood, and tickets looked at in all: an Ed25519 and an X25519 each. */
export const controlPerPrefix = { burst: 600, intervalMs: 20 } as const;
export const controlPerWidePrefix = { burst: 4000, intervalMs: 2 } as const;
/** Of who sends from where its allocation is, with its token. */
export const controlPerHolder = { burst: 30, intervalMs: 200 } as const;
export const ticketsPerSecond = { burst: 500, intervalMs: 1 } as const;
export const maxLimiterKeys = 16_384;

/** Data from elsewhere than the allocation's address: its sender is told so at most that often. */
export const movedMs = 100;
/** Data from where an allocation was before it moved: what was under way then is forwarded for so long. */
export const lingerMs = 1000;

/** What a client may send at once of the rates in its ticket: this share of a second, and at least so much. */
export const burstSeconds = 0.25;
export const minBurstBytes = 262_144;
export const minBurstPackets = 256;
/** All together send one client so many times what its ticket lets it send: one of them alone cannot use that up. */
export const receivedPerSent = 4;

/** Under overload nobody gets more than a share, and nobody less than this many packets of a window. */
export const shareWindowMs = 10;
export const minSharePackets = 8;

/** WebSocket: what may wait for a client that reads slowly; beyond, datagrams are dropped. */
export const maxWaitingBytes = 524_288;
/** Unsent bytes that the kernel takes of a WebSocket before the queue here begins. */
export const maxUnsentBytes = 131_072;
export const maxWebSockets = 4096;
export const maxWebSocketsPerPrefix = 512;
export const maxWebSocketsPerWidePrefix = 2048;
/** Of these, WebSockets that have never had an allocation: anybody can open them. */
export const maxStrangersPerPrefix = 64;
export const maxStrangersPerWidePrefix = 256;
/** How long they may go without one; and how often the others are looked at. */
export const strangerPatienceMs = 10_000;
export const idleWebSocketMs = 30_000;
