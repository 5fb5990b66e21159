import { type Addon, loadAddon } from '#engine/addon.ts';
import { COUNTER_NAMES } from '#engine/counters.ts';
import { MESSAGE_WORDS, SLOT_BYTES } from '#engine/layout.ts';
import { RELAY_RUNS, RELAY_SLOTS, RELAY_WORDS } from './layout.ts';

/** What the C addon does for a relay, over the sockets and paths that it has for engines (`native/relay.h`). */
export interface RelayAddon
  extends Pick<
    Addon,
    | 'onReady'
    | 'watch'
    | 'socketOpen'
    | 'socketClose'
    | 'sendDatagram'
    | 'setPath'
    | 'clearPath'
    | 'limitUnsent'
  > {
  readonly relayLayout: Readonly<Record<string, number>>;
  relayBind(
    incoming: Uint8Array,
    messages: Int32Array,
    runs: Int32Array,
    counters: Float64Array,
  ): void;
  /** Receives a batch and splits it into runs; their number, or `-errno`. */
  relayReceive(socket: number): number;
  /** Splits messages that lie in the tables into runs: for tests. */
  relayGroup(messages: number): number;
  /** Sends the runs that have a path; in order within each path. */
  relaySend(runs: number): void;
  /** For tests: what would be sent, into `bytes`; `rows` receives path, length, segment, count of each send. */
  relaySendInto(runs: number, bytes: Uint8Array, rows: Int32Array): number;
}

/** The buffers that addon and JavaScript share, of fixed size: nothing is allocated per datagram. */
export interface RelayTables {
  readonly incoming: Uint8Array;
  readonly messages: Int32Array;
  readonly runs: Int32Array;
  readonly counters: Float64Array;
}

export const newRelayTables = (
  counters: Float64Array = new Float64Array(COUNTER_NAMES.length),
): RelayTables => ({
  incoming: new Uint8Array(RELAY_SLOTS * SLOT_BYTES),
  messages: new Int32Array(RELAY_SLOTS * MESSAGE_WORDS),
  runs: new Int32Array(RELAY_RUNS * RELAY_WORDS),
  counters,
});

export interface BoundAddon {
  readonly addon: RelayAddon;
  readonly tables: RelayTables;
}

/** The addon of this thread with its tables. BuriError: addon-missing, addon-unusable. */
export function bindRelayAddon(tables = newRelayTables()): BoundAddon {
  const addon = loadAddon() as Addon & RelayAddon;
  const { incoming, messages, runs, counters } = tables;
  addon.relayBind(incoming, messages, runs, counters);
  return { addon, tables };
}
