/** Every bound of the attempts at hard NATs, by name (protocol §12). */

/** Sockets that the side with the changing ports opens, each for one mapping. */
export const maxPunchSockets = 256;
/** Probes at guessed ports in one attempt. */
export const maxPunchProbes = 1024;
/** A share of a port block that is taken at most: a carrier's subscriber has others at home. */
export const maxBlockSockets = 64;
export const blockShare = 8;
/** So many mappings tell where a block lies, when the attempt begins. */
export const blockSamples = 8;
/** Probes into a block are added until this is the chance to hit. */
export const blockOdds = 0.999;
/** And at least so many times what that takes, because the block is an estimate. */
export const blockMargin = 1.5;
export const maxBlockProbes = 200;

/**
 * Sockets of one side and probes of the other one, where the next ports can be told. So few that they leave at once, as far as the rate
 * of all probes allows: what others open in between takes ports away.
 */
export const minSequenceWindow = 16;
export const maxSequenceWindow = 48;
/** Between the sample and the punch, on one side: a round trip to the server and back, and to the peer. */
export const sequenceHorizonMs = 350;
/** Mappings of one's own: the ordinary probes that a signal sets off. */
export const ownMappings = 2;
export const sampleGapMs = 150;
/** Before anything is measured, others behind the same NAT are taken to open so many mappings a second. */
export const assumedForeignPerSecond = 8;
export const assumedForeignWeightMs = 300;
/** The same packets again: the first ones may have come before the other side had opened, or got lost. */
export const sequenceRoundsMs: readonly number[] = [0, 200, 500, 1000];
/** Packets leave at about this pace when nothing else is sent. */
export const packetsPerSecond = 115;

/** Sockets are opened and samples taken by then. */
export const prepareMs = 2500;
/** The answer to an offer, and the punch after it, come by then. */
export const agreeMs = 6000;
/** After the last packet: what is on its way may arrive. */
export const settleMs = 1500;
/** The longest attempt, from the punch on. A NAT that forgets after 30 s still knows all of it. */
export const maxRunMs = 13_000;
/** A winner is taken over by the engine by then. */
export const adoptMs = 3000;
/** Packets are sent in turns this far apart, as many as the rate of all probes allows. */
export const paceMs = 12;

/** The next attempt at a peer: 20 s after the first, then twice as long each time. */
export const firstRetryMs = 20_000;
/** One that was small is repeated once right away: both together stay within what a larger one is allowed. */
export const smallRetryMs = 500;
/** Offers of one peer are not taken up more often; after a small attempt. */
export const leastPauseMs = 10_000;
export const leastSmallPauseMs = 2000;
export const mostRetryMs = 600_000;
/** Whoever does not lead leaves the other one this long to begin. */
export const yieldMs = 4000;
/** Time to find out how a NAT chooses ports before it is taken to draw any of them at random. */
export const allocationWaitMs = 2500;
/** While another attempt goes on. */
export const busyRetryMs = 3000;

/** Sockets that were adopted and stay open, one for each peer that was met in this way; the engine has two more. */
export const maxAdopted = 256;
/** An adopted socket without a living path goes after this. */
export const adoptedIdleMs = 60_000;

/**
 * Time to live of the first packet of each socket, attempt by attempt: the ordinary one, then so few that it opens one's own NAT (or
 * a carrier's behind it) and dies before the other one, which may be of the kind that unsolicited input confuses.
 */
export const openerTtls: readonly (number | undefined)[] = [undefined, 2, 3, 5];
