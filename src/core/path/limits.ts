/** Every bound of the path machine, by name. */

/** Peers that the machine looks after; the engine has as many indices. */
export const maxPeers = 65_536;
/** Local sockets: one for each family, and those that a birthday probe opens. */
export const maxSockets = 18;
/** Signalled candidates of a peer (protocol §6). */
export { maxCandidates } from '#wire/signal.ts';
/** Candidates of a peer that share one IP address: stops a list that aims at the ports of a third party. */
export const maxCandidatesPerAddress = 4;
/** Relays that a peer may name; and addresses of relays that are remembered, lest one be taken for a peer's. */
export const maxPeerRelays = 4;
export const maxRelayAddresses = 64;
/** Addresses learnt from authenticated packets of a peer that it did not signal. */
export const maxPeerReflexive = 8;
/** How many are learnt of one peer, and of one IP address: at once, and in a minute. */
export const learntBurst = 12;
export const learntPerMinute = 12;
export const learntOfAddressBurst = 6;
export const learntOfAddressPerMinute = 6;
/** Endpoints of a peer that answers to what was sent elsewhere came from: its NAT's, of the same pairs. */
export const maxRewritten = 16;
/** Pairs of (socket, remote endpoint) of a peer. */
export const maxPairs = 64;

/** A burst at an unproven address: 5 probes in 1.4 s, denser at the start because both sides begin together. */
export const burstOffsetsMs: readonly number[] = [0, 120, 350, 750, 1400];
/** Time to live of the packet that opens the own NAT before a punch: it dies behind it (one hop to the NAT, one to its provider). */
export const openerTtl = 2;
/** Probes at an address that has not answered yet which do not count against its minute: a burst and an opener. */
export const firstBurstProbes = burstOffsetsMs.length + 1;
/** First bursts at all ports of an IP address that has not answered: a NAT's own port, and one that is mapped. */
export const firstBurstsPerAddress = 2;
/** At a relay nothing has to be opened: only loss asks for more than one. */
export const relayBurstOffsetsMs: readonly number[] = [0, 250, 600, 1200, 2000];
/** Later bursts are shorter: the minute has room for few. */
export const laterBurstOffsetsMs: readonly number[] = [0, 350];
export const unprovenProbesPerMinute = 10;
/** Probes at an address whose owner proved it to the server, in the time that the server grants (protocol §8). */
export const provenProbes = 1024;
export const provenMs = 30_000;
/** Addresses under such a grant at a time: a server that lies aims us at no more. */
export const maxProvenAddresses = 4;
/** Addresses whose probes are counted. */
export const maxCountedAddresses = 16_384;
/** Addresses never heard of that one peer may make us probe: at once, and in a minute. */
export const newAddressesBurst = 48;
export const newAddressesPerMinute = 12;

/** All probes together never pass 150 in any second: what has gathered, and what comes in. */
export const probesPerSecond = 120;
export const probesAtOnce = 30;
/** Probes of new addresses leave this much of the bucket to those of paths in use. */
export const probesReserved = 10;
/** Of these at most so many only measure paths that carry traffic. */
export const measuringPerSecond = 40;
/** Answers to one peer's requests. */
export const responsesPerSecond = 50;
export const responsesAtOnce = 100;
/** Requests that may still be answered. */
export const maxTransactions = 2048;
export const transactionLifetimeMs = 5000;
/** Transactions of a peer that were seen, so that a copy has no effect. */
export const maxSeenTransactions = 256;
/** Requests older than this are recordings (protocol §7). */
export const requestLifetimeMs = 30_000;

/** NAT mappings of 30 s are common (RFC 4787 asks for 2 minutes): refreshed in time, until their lifetime is known. */
export const keepaliveMs = 25_000;
export const keepaliveLeastMs = 5000;
export const keepaliveMostMs = 110_000;
/** The share of a mapping's lifetime after which it is refreshed. */
export const lifetimeShare = 0.7;
/** Over a relay no mapping hangs on the peer's packets: both refresh their allocations. It is asked that often all the same. */
export const relayKeepaliveMs = 300_000;
/** Relays in common that a peer which is not reached directly has to have; and how often more are asked for. */
export const relaysWanted = 2;
export const relayWantMs = 60_000;
/**
 * Probes over a relay that nobody has answered: it may be one that forwards nothing. With such relays only, another one is asked for
 * after this, and again.
 */
export const silentAfter = 4;
export const relaySilentMs = 1500;
export const otherRelayMs = 5000;
export const keepalivePeers = 64;
/** While sending with nothing received for max(3 RTT, this): probe. */
export const silenceMs = 400;
/**
 * Unanswered probes after which the path is doubted (another proven pair takes over, signalling starts), and after which it
 * is given up. More, up to a bound, where probes are known to get lost.
 */
export const doubtAfter = 2;
export const doubtAfterMost = 5;
export const lostAfter = 4;
export const lostAfterMost = 12;

/** A burst and a round trip of one second: by then a pair that works has worked. */
export const establishMs = 4000;
/** Signals to a peer without a path: 1, 2, 4 … 30 s, each ± a fifth. */
export const signalFirstMs = 1000;
export const signalMostMs = 30_000;
/** While a relay carries the traffic, and no direct path is to be expected, or nobody needs one. */
export const signalRelayedMostMs = 60_000;
export const signalHopelessMostMs = 300_000;
/** The side with the higher tunnel key lets the other one begin. */
export const signalYieldMs = 1500;
/** News (other candidates of ours) need not wait a second after the last signal. */
export const signalNewsMs = 200;
/** Data that waits shortens a long pause to this. */
export const signalWantedMs = 5000;
/** After a punch its burst is given time before the next signal. */
export const signalAfterPunchMs = 2500;
/** A punch that the server announces is never waited for longer. */
export const maxPunchDelayMs = 5000;
/** Candidates known but no punch announced: begin alone. */
export const punchFallbackMs = 1500;
/** What every path takes in one piece, less IP and UDP headers: 576 bytes (RFC 1122) and 1,280 (RFC 8200). */
export const leastPayloadBytes = { 4: 548, 6: 1232 } as const;
/** The largest packet of the inside, unless told otherwise. */
export const innerMtuBytes = 1400;
/** What WireGuard's transport adds to a packet of the inside. */
export const transportOverheadBytes = 32;
/** RTT promotions are at least this far apart. */
export const dwellMs = 5000;
