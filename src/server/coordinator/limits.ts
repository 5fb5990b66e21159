/** Every bound of the coordinator, by name. */

const secondMs = 1_000;
const hourMs = 3_600 * secondMs;
const dayMs = 24 * hourMs;

/** A membership statement lives this long, and is renewed once it is a day old while its client is online. */
export const statementLifetimeMs = 7 * dayMs;
export const statementRenewAfterMs = dayMs;
/** Statements are valid from a little before they are made: clocks differ. */
export const statementBackdateMs = hourMs;
/** Renewals fall on multiples of this, so that those of one network share a revision. */
export const renewalRoundMs = 10 * 60 * secondMs;

export const pingIntervalMs = 15 * secondMs;
export const pingTimeoutMs = 10 * secondMs;
/** How long the older connection of an identity has to prove that it is alive when another daemon logs in with it. */
export const copyChallengeMs = 3 * secondMs;
export const defaultGraceMs = 60 * secondMs;
/** While the server keeps newcomers waiting, nobody is called offline: looked at so often, and for no longer than this. */
export const crowdedCheckMs = 5 * secondMs;
export const maxCrowdedMs = 300 * secondMs;

/** A view is one control message of at most 8 MiB: so many members with certificates so long fit it. */
export const maxMembersPerNetwork = 4_096;
export const maxCertificateBytes = 1_024;
/** Certificates remembered as checked; the oldest are checked again. */
export const maxProvenCertificates = 65_536;
export const maxPendingPerNetwork = 1_000;
/** Revisions that deltas reach back; beyond, the whole view is sent. */
export const maxLoggedRevisions = 4_096;
/** Changes of one delta; more are sent as a view. */
export const maxDeltaChanges = 4_096;

/** Requests of one connection that wait for the database. */
export const maxRequestsInWork = 64;
/** Requests that change something, of one identity and behind one address prefix: this many at once, then one more each interval. */
export const changes = { burst: 1_000, intervalMs: 100 };
export const changesPerPrefix = { burst: 5_000, intervalMs: 20 };
/** The same of whole views that are asked for again. */
export const resyncs = { burst: 1_000, intervalMs: 200 };
export const resyncsPerPrefix = { burst: 5_000, intervalMs: 20 };
/** So much too early they are done, and nothing more is read meanwhile; what is earlier is refused. */
export const maxChangeDelayMs = 2 * secondMs;

/** Wrong passwords: this many at once, then one more each interval. */
export const passwordGuesses = { burst: 10, intervalMs: 30 * secondMs };
/** The same for everybody behind one address prefix against one network: offices share an address. */
export const passwordGuessesPerPrefix = { burst: 30, intervalMs: 10 * secondMs };
/** Wrong enrolment tokens from one address prefix. */
export const tokenGuesses = { burst: 20, intervalMs: 30 * secondMs };
/** Networks that one client may create: this many at once, then one more each interval. */
export const networkCreations = { burst: 100, intervalMs: 60 * secondMs };

/** Tickets of relays (protocol §11): renewed at half of this. */
export const relayTicketLifetimeMs = 6 * hourMs;
/** Tickets are valid from a little before they are made: clocks differ. */
export const relayTicketBackdateMs = 5 * 60 * secondMs;
/** How long a relay goes on with what it has when it has lost the server (protocol §11). */
export const relayAfterlifeMs = dayMs;
export const defaultRelayBytesPerSecond = 12_500_000;
export const defaultRelayPacketsPerSecond = 20_000;
export const maxStandaloneRelays = 256;
export const maxVolunteers = 1_024;
/** Offers of one relay: this many at once, then one more each interval. Each has the server ask its addresses. */
export const relayOffers = { burst: 5, intervalMs: 30 * secondMs };
/** How often the server asks whether the addresses of a relay answer; sooner after it did not. */
export const relayCheckIntervalMs = 5 * 60 * secondMs;
export const relayRecheckMs = 30 * secondMs;
/** A volunteer that was reachable leaves the lists after so many checks in a row that say otherwise. */
export const maxRelayCheckFailures = 2;
/** Lists made in one turn, and the pause between turns: each may cost a signature for every relay. */
export const relayListsPerTurn = 32;
export const relayListPauseMs = 40;
/** Changes that come together are told together. */
export const relayListDelayMs = 200;

/** Clients that send many probes to one address at a time, and how long each may (protocol §8). */
export const probersPerAddress = 2;
export const probeGrantMs = 30 * secondMs;
/** Pairs whose wish to probe is remembered. */
export const maxProbeWishes = 65_536;

/** Nodes of a cluster: beats on the fabric, and in the database. */
export const fabricBeatMs = secondMs;
export const nodeBeatMs = 3 * secondMs;
/** A node that was heard on the fabric and then is not for this long: its clients are unconfirmed. */
export const nodeSilentMs = 3_500;
/** One that is not heard on the fabric anyhow: so long may its beat in the database stand still, of which it makes one in `nodeBeatMs`. */
export const nodeStillMs = 8 * secondMs;
/** A node whose beat in the database stands still for this long is gone: its clients are offline after the grace period. */
export const nodeGoneMs = 12 * secondMs;
/** How long the clients of a node that ended in order have to be back at another before anybody is told. */
export const handoverMs = 8 * secondMs;
/** The other nodes wait this much longer than the one that lost a client. */
export const remoteGraceMs = 2 * secondMs;
/** Clocks of nodes differ less. Parcels of the fabric that are older, or from further in the future, are dropped. */
export const maxClockDifferenceMs = 2 * 60 * secondMs;
/** Between a hint and the look into the database: hints that come together are looked after together. */
export const catchUpDelayMs = 5;
/** How often what has changed is compared with the database: while the fabric works, and while it does not; and how often everybody is. */
export const compareIntervalMs = 30 * secondMs;
export const compareOfflineMs = secondMs;
export const compareWhollyMs = 10 * 60 * secondMs;
