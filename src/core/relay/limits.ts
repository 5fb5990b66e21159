/** Every bound of the relay machine, by name. */

/** Relays that are looked at; the list has no more (protocol §11). */
export { maxRelays } from '#wire/relay-control.ts';
/** Relays that peers named and this client takes an allocation on for them. */
export const maxWanted = 8;
/**
 * Of these, relays that nobody named: taken because those in common with a peer bring nothing. The first two 4 s apart, then
 * others in their place after 8, 16 … 600 s.
 */
export const maxOthers = 2;
export const otherEveryMs = 4000;
export const otherMostMs = 600_000;
/** Such an allocation ends when nobody has wanted it for so long. */
export const wantedLapseMs = 300_000;
/** Relays that peers are told of. */
export const maxAnnounced = 4;

/** A WebSocket is tried as well when UDP has not brought an allocation by then. */
export const bridgeAfterMs = 400;
/** The bridge is kept so long after UDP has taken over, so that a UDP path that hardly works does not make it come and go. */
export const bridgeLingerMs = 10_000;

/** An allocation and the mapping in front of it are refreshed that often, until the mapping's lifetime is known… */
export const refreshMs = 25_000;
/** …and never less often: an allocation lives 90 s after the last refresh. */
export const refreshMostMs = 60_000;
export const refreshLeastMs = 5000;
/** The share of a mapping's lifetime after which it is refreshed. */
export const lifetimeShare = 0.7;

/** A request is repeated after max(3 RTT, this), at most so often; then its way rests. */
export const patienceMs = 300;
export const maxTries = 5;
/** Unanswered refreshes after which other ways to the relay are tried, and after which the allocation is given up. */
export const doubtAfter = 2;
export const lostAfter = 4;
/** A relay's word that our data comes from elsewhere is followed at most that often. */
export const movedMs = 1000;
/** What hints at another mapping has an allocation asked for that was confirmed longer ago than this. */
export const recheckMs = 2000;
/** Cookies that one request takes: they change every minute. */
export const maxCookies = 3;
/** The rest of a way that failed: 1, 2, 4 … 30 s. */
export const restFirstMs = 1000;
export const restMostMs = 30_000;
/** While there is no allocation on any relay, for so long a time: then as above, lest it go on for ever. */
export const restAloneMs = 3000;
export const aloneMs = 300_000;
/** A relay that is full or does not take the ticket is left alone this long, one that ends at least so long. */
export const refusedMs = 60_000;
export const drainedMs = 15_000;
/** A relay that has left the list forwards our data for so long, and of so many at most. */
export const leftMs = 60_000;
export const maxLeft = 8;
/** Without an allocation for so long a relay is taken for gone, if there is another one. */
export const ailingMs = 1200;

/** So long after the first answer of any relay the two nearest are chosen. */
export const settleMs = 250;
/** Without any answer two are chosen by their order after this. */
export const choiceAfterMs = 400;
/** How often the distance of all relays is measured again, and of those that did not answer. */
export const measureEveryMs = 600_000;
export const measureSilentMs = 30_000;
/** Another home must be nearer by this share and this much. */
export const homeShare = 0.2;
export const homeGainMs = 10;
/** A member's machine must be nearer than a server by this much to be preferred. */
export const volunteerPenaltyMs = 20;
/** A cookie that a measurement brought may be used to allocate this long. */
export const cookieFreshMs = 5000;
