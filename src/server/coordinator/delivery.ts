/** From committed events to messages: who is told what, with the presence of this moment. */
import type { Change, MemberView, PendingRequest, ServerMessage } from '#wire/control.ts';
import type { Directory } from './directory.ts';
import type {
  CoordinatorEvent,
  NetworkDelta,
  NetworkView,
  StoredChange,
  StoredMember,
} from './events.ts';
import type { SyncItem } from './sync.ts';

/** Sends to a client if it has a connection. The same object may go to many. */
export type Tell = (clientId: string, message: ServerMessage) => void;

export class Delivery {
  readonly #directory: Directory;
  readonly #tell: Tell;
  /** A client is out of a network. */
  onRemoved: (clientId: string, network: string) => void = () => {};
  onTicketsRevoked: (clientId: string, serial: number) => void = () => {};

  constructor(directory: Directory, tell: Tell) {
    this.#directory = directory;
    this.#tell = tell;
  }

  deliver(event: CoordinatorEvent): void {
    switch (event.kind) {
      case 'delta':
        this.#broadcastDelta(event.delta, event.except);
        if (event.delta.activity !== undefined)
          this.#setActivity(event.delta.network, event.delta.activity);
        return;
      case 'entered':
        this.#directory.participate(event.client, event.view.network, event.view);
        this.#tell(event.client, this.viewMessage(event.view));
        return;
      case 'removed':
        this.#directory.withdraw(event.client, event.network);
        this.#tell(event.client, { t: 'removed', network: event.network, reason: event.reason });
        this.onRemoved(event.client, event.network);
        return;
      case 'tickets-revoked':
        this.onTicketsRevoked(event.client, event.serial);
        return;
      default:
        event satisfies never;
    }
  }

  /** Tells everybody who takes part with this client how it is now. */
  broadcastPresence(clientId: string): void {
    const present = this.#directory.get(clientId);
    if (present === undefined) return;
    for (const [network, { active }] of present.networks)
      if (active) this.#presenceInNetwork(network, clientId);
  }

  /** The client is gone: everybody who saw it is told, then it is forgotten. */
  goOffline(clientId: string): void {
    const present = this.#directory.get(clientId);
    if (present === undefined) return;
    const seen = [...present.networks].filter(([, { active }]) => active);
    this.#directory.remove(clientId);
    for (const [network] of seen) this.#presenceInNetwork(network, clientId);
  }

  /** What one client missed, in the order of synchronisation. */
  synchronise(clientId: string, items: readonly SyncItem[]): void {
    for (const item of items) {
      switch (item.kind) {
        case 'removed':
          this.#tell(clientId, { t: 'removed', network: item.network, reason: item.reason });
          break;
        case 'view':
          this.#tell(clientId, this.viewMessage(item.view));
          break;
        case 'delta':
          this.#resume(clientId, item.delta, item.active, item.memberIds);
          break;
        default:
          item satisfies never;
      }
    }
  }

  viewMessage(view: NetworkView): ServerMessage {
    const { network } = view;
    return {
      t: 'view',
      network,
      revision: view.revision,
      state: view.state,
      active: view.active,
      facts: view.facts,
      members: view.members.map((member) => this.#member(network, member)),
      pending: [...view.pending],
    };
  }

  #resume(
    clientId: string,
    delta: NetworkDelta,
    active: boolean,
    memberIds: readonly string[],
  ): void {
    const { network } = delta;
    const pending = delta.owner === clientId ? delta.pending : undefined;
    this.#tell(clientId, this.#deltaMessage(delta, pending, active));
    const told = new Set(
      delta.changes.map((change) => (change.op === 'member' ? change.member.clientId : '')),
    );
    for (const member of memberIds) {
      if (told.has(member)) continue;
      const presence = this.#directory.presenceIn(network, member);
      this.#tell(clientId, { t: 'presence', network, clientId: member, presence });
    }
  }

  #broadcastDelta(delta: NetworkDelta, except: string | undefined): void {
    const plain = this.#deltaMessage(delta, undefined);
    const facts = delta.changes.find((change) => change.op === 'facts')?.facts;
    for (const { clientId, networks } of this.#directory.presentIn(delta.network)) {
      if (clientId === except) continue;
      if (networks.get(delta.network)?.state === 'member') {
        const pending = clientId === delta.owner ? delta.pending : undefined;
        const active = clientId === delta.activity?.client ? delta.activity.active : undefined;
        const common = pending === undefined && active === undefined;
        this.#tell(clientId, common ? plain : this.#deltaMessage(delta, pending, active));
      } else if (facts !== undefined) {
        // Who waits is not told of members, but of what the network is called and to whom it belongs.
        this.#tell(clientId, {
          t: 'view',
          network: delta.network,
          revision: delta.to,
          state: 'pending',
          active: false,
          facts,
          members: [],
          pending: [],
        });
      }
    }
  }

  #setActivity(network: string, { client, active }: { client: string; active: boolean }): void {
    this.#directory.participate(client, network, { state: 'member', active });
    this.#presenceInNetwork(network, client);
  }

  #presenceInNetwork(network: string, clientId: string): void {
    const presence = this.#directory.presenceIn(network, clientId);
    const message: ServerMessage = { t: 'presence', network, clientId, presence };
    for (const other of this.#directory.presentIn(network))
      if (other.clientId !== clientId && other.networks.get(network)?.state === 'member')
        this.#tell(other.clientId, message);
  }

  #deltaMessage(
    delta: NetworkDelta,
    pending: readonly PendingRequest[] | undefined,
    active?: boolean,
  ): ServerMessage {
    const changes = delta.changes.map((change) => this.#change(delta.network, change));
    if (pending !== undefined) changes.push({ op: 'pending', pending: [...pending] });
    return {
      t: 'delta',
      network: delta.network,
      from: delta.from,
      to: delta.to,
      changes,
      ...(active === undefined ? {} : { active }),
    };
  }

  #change(network: string, change: StoredChange): Change {
    if (change.op !== 'member') return change;
    return { op: 'member', member: this.#member(network, change.member) };
  }

  #member(network: string, stored: StoredMember): MemberView {
    return { ...stored, presence: this.#directory.presenceIn(network, stored.clientId) };
  }
}
