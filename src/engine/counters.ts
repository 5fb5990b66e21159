/**
 * Counters of the engine by index in shared memory. The order is that of COUNTERS in `native/layout.h`, which also says what
 * each one counts; a test compares them. Names are stable.
 */
export const COUNTER_NAMES = [
  'out-super-packets',
  'out-packets',
  'out-bytes',
  'out-sends',
  'out-no-peer',
  'out-malformed',
  'out-key-spent',
  'out-socket-full',
  'out-send-error',
  'out-gso-refused',
  'out-staged',
  'out-staged-dropped',
  'in-messages',
  'in-packets',
  'in-bytes',
  'in-keepalives',
  'in-units',
  'in-unknown-kind',
  'in-unknown-index',
  'in-forged',
  'in-replayed',
  'in-malformed',
  'in-source-refused',
  'in-destination-refused',
  'in-truncated',
  'in-overflow',
  'in-receive-error',
  'in-device-error',
  'in-device-waits',
  'in-batch-full',
  'in-injected',
  'in-inject-refused',
  'in-mac1-refused',
  'up-dropped-handshake',
  'up-dropped-stun',
  'up-dropped-buri',
  'datagrams-sent',
  'datagrams-dropped',
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];

export const COUNTER = Object.fromEntries(
  COUNTER_NAMES.map((name, index) => [name, index]),
) as Readonly<Record<CounterName, number>>;
