/**
 * The table that JavaScript and C share for the datagrams of a relay; `native/relay.h` explains who fills in what. The numbers are the
 * same there, and a test compares them.
 */

/** A run: datagrams of one message that have the same source, header and kind, one behind the other. */
export const RELAY_OFFSET = 0;
export const RELAY_LENGTH = 1;
export const RELAY_SEGMENT = 2;
export const RELAY_COUNT = 3;
export const RELAY_KIND = 4;
export const RELAY_TOKEN = 5;
export const RELAY_DESTINATION = 7;
export const RELAY_FAMILY = 8;
export const RELAY_PORT = 9;
export const RELAY_ADDRESS = 10;
export const RELAY_PATH = 14;
export const RELAY_FROM = 15;
export const RELAY_WORDS = 16;

/** Kinds of runs: data that is delivered without a header, or behind one; a padded probe; everything else. */
export const RELAY_BARE = 1;
export const RELAY_WRAPPED = 2;
export const RELAY_PROBE = 3;
export const RELAY_CONTROL = 4;

export const RELAY_SLOTS = 64;
export const RELAY_RUNS = 4096;
export const RELAY_DATA_HEADER = 20;
export const RELAY_DELIVERED_HEADER = 12;
export const RELAY_PROBE_BYTES = 96;
