/** Every bound that the world holds the machines to, by name. */

/** Keypairs of one peer in the data plane: previous, current, next (whitepaper §6). */
export const maxKeypairsPerPeer = 3;
/** Packets that wait for keys or a path of one peer. */
export const maxStagedPerPeer = 16;
/** Reports of the data plane that the main thread has not taken yet. */
export const maxReportsWaiting = 1024;
/** Messages on the way on one control connection, each direction. */
export const maxMessagesInFlight = 512;
/** Probe requests of one member in any second (design: the budget of all probing). */
export const maxProbesPerSecond = 150;
/** Outputs that one input of a member may make. */
export const maxOutputsPerInput = 2000;
/** Ticks of one member at one moment: a deadline in the past that stays there is a busy loop. */
export const maxTicksPerMoment = 20;
/** Events of the whole world at one moment. */
export const maxEventsPerMoment = 10_000;
/** Mappings that a router keeps for the machines behind it: 5,000 have killed home routers. */
export const maxMappingsPerRouter = 1000;
