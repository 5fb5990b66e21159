/** What a relay counts since its start: what it did, and every reason why it dropped something. Names are stable. */
export const RELAY_COUNTER_NAMES = [
  'allocated',
  'refreshed',
  'roamed',
  'released',
  'expired',
  'ticket-ended',
  'revoked',
  'challenged',
  'told-moved',
  'accepted-late',
  'forwarded-packets',
  'forwarded-bytes',
  'dropped-unknown-token',
  'dropped-wrong-source',
  'dropped-no-destination',
  'dropped-byte-rate',
  'dropped-packet-rate',
  'dropped-received-rate',
  'dropped-share',
  'dropped-malformed',
  'dropped-forged',
  'dropped-replayed',
  'dropped-control-rate',
  'dropped-ticket-rate',
  'dropped-slow-reader',
  'refused-bad-ticket',
  'refused-expired-ticket',
  'refused-revoked-ticket',
  'refused-wrong-time',
  'refused-unknown-token',
  'refused-full',
  'refused-draining',
] as const;

export type RelayCounter = (typeof RELAY_COUNTER_NAMES)[number];

export class RelayCounters {
  readonly #values = new Float64Array(RELAY_COUNTER_NAMES.length);

  add(counter: RelayCounter, by = 1): void {
    this.#values[INDEX[counter]]! += by;
  }

  get(counter: RelayCounter): number {
    return this.#values[INDEX[counter]]!;
  }

  all(): Record<RelayCounter, number> {
    return Object.fromEntries(
      RELAY_COUNTER_NAMES.map((name, i) => [name, this.#values[i]!]),
    ) as Record<RelayCounter, number>;
  }
}

const INDEX = Object.fromEntries(RELAY_COUNTER_NAMES.map((name, i) => [name, i])) as Readonly<
  Record<RelayCounter, number>
>;
