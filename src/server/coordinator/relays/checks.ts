/**
 * Whether relays answer where they say (protocol §11). The server asks with a ticket of its own: only the owner of the
 * relay's key can answer, and whoever is named as a relay and is none gets three small datagrams.
 */
import type { Now } from '#core/time.ts';
import type { Hub } from '../hub.ts';
import { maxRelayCheckFailures, relayCheckIntervalMs, relayRecheckMs } from '../limits.ts';
import type { RelayLists } from './lists.ts';
import { checkTarget } from './offer.ts';
import type { Registry, Relay } from './registry.ts';
import { issueTicket } from './tickets.ts';

/** No client has this identifier: they begin at 100-000-000. */
const checker = { clientId: '000-000-000', identity: new Uint8Array(32) };
const checkLimits = { bytesPerSecond: 1_000, packetsPerSecond: 10 };

export class Checks {
  readonly #hub: Hub;
  readonly #registry: Registry;
  readonly #lists: RelayLists;
  readonly #changed: (relay: Relay, now: Now) => void;

  constructor(
    hub: Hub,
    registry: Registry,
    lists: RelayLists,
    changed: (relay: Relay, now: Now) => void,
  ) {
    this.#hub = hub;
    this.#registry = registry;
    this.#lists = lists;
    this.#changed = changed;
  }

  /** A relay has made an offer. `refused`: what of it will not even be asked. */
  begin(relay: Relay, refused: readonly string[], now: Now): void {
    relay.failures = 0;
    this.#lists.touchAround(relay);
    this.#hub.federation?.all({ t: 'relays' });
    const { nodeList } = this.#hub.options;
    this.#hub.send(relay.session ?? this.#hub.sessions.ofClient(relay.owner ?? '')?.id ?? 0, {
      ...{ t: 'relay-state', id: relay.id, state: relay.state },
      ...(relay.kind === 'standalone' ? { nodeList: nodeList() } : {}),
      ...{ unreachable: [...refused, ...relay.unreachable].slice(0, 8), serverTime: now.wall },
    });
    this.ask(relay, now);
  }

  ask(relay: Relay, now: Now): void {
    if (relay.remote !== undefined) return;
    const targets = relay.udp.flatMap((listed) => {
      const ask = checkTarget(listed, relay.source);
      return ask === undefined ? [] : [{ listed, ask }];
    });
    this.#hub.schedule({ kind: 'relay-check', relay: relay.id }, now, relayCheckIntervalMs);
    const { crypto, sign, emit } = this.#hub.options;
    const serial = this.#hub.ticketSerials.next(now);
    const ticket = issueTicket(crypto, sign, relay, checker, { now, serial, ...checkLimits });
    if (targets.length === 0 || ticket === undefined) return;
    const { id, generation } = relay;
    emit({ kind: 'check-relay', check: { relay: id, generation, targets, ...ticket } });
  }

  /** @param unreachable as listed. */
  answered(id: string, generation: number, unreachable: readonly string[], now: Now): void {
    const relay = this.#registry.get(id);
    if (relay === undefined || relay.generation !== generation) return;
    const before = JSON.stringify([relay.state, relay.unreachable]);
    const silent = relay.udp.every((endpoint) => unreachable.includes(endpoint));
    relay.failures = silent ? relay.failures + 1 : 0;
    const believed = relay.state !== 'listed' || relay.failures >= maxRelayCheckFailures;
    if (!silent) relay.state = 'listed';
    else if (relay.kind === 'volunteer' && believed) relay.state = 'unreachable';
    if (!silent || believed || relay.kind !== 'volunteer')
      relay.unreachable = relay.udp.filter((endpoint) => unreachable.includes(endpoint));
    if (silent) this.#hub.schedule({ kind: 'relay-check', relay: id }, now, relayRecheckMs);
    if (JSON.stringify([relay.state, relay.unreachable]) === before) return;
    this.#changed(relay, now);
    this.#lists.touchAround(relay);
  }
}
