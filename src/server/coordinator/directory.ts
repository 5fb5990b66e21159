/**
 * Who is present and in which networks, in memory: the cache that deliveries and presence are decided by. It follows the
 * commits; whoever is offline is not in it.
 *
 *   offline ──login──► online ──lost──► unconfirmed ──grace over, logout──► offline
 *                        ▲  └──logout──► offline │
 *                        └────────login──────────┘
 */
import type { Presence } from '#wire/fields.ts';

export interface Participation {
  readonly state: 'member' | 'pending';
  readonly active: boolean;
}

/** Where a client is connected: the login that began it, of which the higher serial is the later. */
export interface Whereabouts {
  readonly node: string;
  readonly serial: number;
  /** Hexadecimal identity and instance. */
  readonly identity: string;
  readonly instance: string;
}

export interface Present extends Whereabouts {
  readonly clientId: string;
  presence: 'online' | 'unconfirmed';
  /** Unconfirmed because its node is not heard, not because its connection is lost. */
  suspect: boolean;
  readonly networks: Map<string, Participation>;
  /** Revisions that its connection was brought to; of connections of this node only. */
  readonly told: Map<string, number>;
}

export class Directory {
  readonly #clients = new Map<string, Present>();
  readonly #byNetwork = new Map<string, Set<Present>>();
  readonly #byIdentity = new Map<string, Present>();
  /** Told after each change of who takes part where; `network` undefined when a client comes or goes. */
  onChange: (clientId: string, network: string | undefined) => void = () => {};

  get(clientId: string): Present | undefined {
    return this.#clients.get(clientId);
  }

  get size(): number {
    return this.#clients.size;
  }

  all = () => this.#clients.values();
  ofIdentity = (identity: string) => this.#byIdentity.get(identity);

  /** Whoever is present, whether a member or waiting. */
  presentIn(network: string): Iterable<Present> {
    return this.#byNetwork.get(network) ?? [];
  }

  set(
    clientId: string,
    presence: 'online' | 'unconfirmed',
    networks: readonly ({ readonly network: string } & Participation)[],
    whereabouts: Whereabouts,
  ): Present {
    this.remove(clientId);
    const rest = { suspect: false, networks: new Map(), told: new Map() };
    const present: Present = { clientId, presence, ...whereabouts, ...rest };
    this.#clients.set(clientId, present);
    this.#byIdentity.set(whereabouts.identity, present);
    for (const { network, state, active } of networks)
      this.participate(clientId, network, { state, active });
    this.onChange(clientId, undefined);
    return present;
  }

  remove(clientId: string): void {
    const present = this.#clients.get(clientId);
    if (present === undefined) return;
    for (const network of [...present.networks.keys()]) this.withdraw(clientId, network);
    this.#clients.delete(clientId);
    if (this.#byIdentity.get(present.identity) === present)
      this.#byIdentity.delete(present.identity);
    this.onChange(clientId, undefined);
  }

  participate(clientId: string, network: string, participation: Participation): void {
    const present = this.#clients.get(clientId);
    if (present === undefined) return;
    present.networks.set(network, participation);
    let others = this.#byNetwork.get(network);
    if (others === undefined) {
      others = new Set();
      this.#byNetwork.set(network, others);
    }
    others.add(present);
    this.onChange(clientId, network);
  }

  withdraw(clientId: string, network: string): void {
    const present = this.#clients.get(clientId);
    if (present === undefined) return;
    present.networks.delete(network);
    present.told.delete(network);
    const others = this.#byNetwork.get(network);
    others?.delete(present);
    if (others?.size === 0) this.#byNetwork.delete(network);
    this.onChange(clientId, network);
  }

  /** What others see of a client in one network. */
  presenceIn(network: string, clientId: string): Presence {
    const present = this.#clients.get(clientId);
    return present?.networks.get(network)?.active === true ? present.presence : 'offline';
  }

  /** Whether two clients take part in one network now, so that they may signal to each other. */
  meet(a: string, b: string): boolean {
    const first = this.#clients.get(a);
    const second = this.#clients.get(b);
    if (first === undefined || second === undefined) return false;
    const [fewer, more] =
      first.networks.size <= second.networks.size ? [first, second] : [second, first];
    for (const [network, { active }] of fewer.networks)
      if (active && more.networks.get(network)?.active === true) return true;
    return false;
  }
}
