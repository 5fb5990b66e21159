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

export interface Present {
  readonly clientId: string;
  presence: 'online' | 'unconfirmed';
  readonly networks: Map<string, Participation>;
}

export class Directory {
  readonly #clients = new Map<string, Present>();
  readonly #byNetwork = new Map<string, Set<Present>>();
  /** Told after each change of who takes part where; `network` undefined when a client comes or goes. */
  onChange: (clientId: string, network: string | undefined) => void = () => {};

  get(clientId: string): Present | undefined {
    return this.#clients.get(clientId);
  }

  get size(): number {
    return this.#clients.size;
  }

  /** Whoever is present, whether a member or waiting. */
  presentIn(network: string): Iterable<Present> {
    return this.#byNetwork.get(network) ?? [];
  }

  set(
    clientId: string,
    presence: 'online' | 'unconfirmed',
    networks: readonly ({ readonly network: string } & Participation)[],
  ): Present {
    this.remove(clientId);
    const present: Present = { clientId, presence, networks: new Map() };
    this.#clients.set(clientId, present);
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
