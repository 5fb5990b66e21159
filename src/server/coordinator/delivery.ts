/** From committed events to messages: who is told what, with the presence of this moment. */
import type { Change, MemberView, PendingRequest, ServerMessage } from '#wire/control.ts';
import type { Directory, Present } from './directory.ts';
import type {
  CoordinatorEvent,
  NetworkDelta,
  NetworkView,
  StoredChange,
  StoredMember,
  WhyRemoved,
} from './events.ts';
import type { Participating, SyncItem } from './sync.ts';

/** Sends to a client if it has a connection. The same object may go to many. */
export type Tell = (clientId: string, message: ServerMessage) => void;

/** What happened to a network between two revisions, as the store tells it. */
export type CaughtUp =
  | {
      readonly network: string;
      readonly from: number;
      readonly to: number;
      readonly events: readonly CoordinatorEvent[];
    }
  /** It is deleted. */
  | { readonly network: string; readonly why: WhyRemoved };

/** Before every revision: no delta begins there. */
const nowhere = -1;

export class Delivery {
  readonly #directory: Directory;
  readonly #tell: Tell;
  readonly #isHere: (clientId: string) => boolean;
  /** Revisions up to which those who are present were told, by network. */
  readonly #heads = new Map<string, number>();
  /** By network: whom commits of this node have taken out at revisions that those who are present were not told yet. */
  readonly #outAhead = new Map<string, Map<string, number>>();
  /** A commit of this node has changed a network; without a revision it is deleted. */
  onChanged: (network: string, revision: number | undefined) => void = () => {};
  /**
   * Another node has changed the network before, and the store must be asked what that was; `whole` when even who is in it
   * may be out of date here.
   */
  onBehind: (network: string, whole: boolean) => void = () => {};
  /** A connection holds another revision than all others: it needs the view. */
  onOutOfStep: (clientId: string, network: string) => void = () => {};
  /** A client is out of a network. */
  onRemoved: (clientId: string, network: string) => void = () => {};
  onTicketsRevoked: (clientId: string, serial: number) => void = () => {};

  /** @param isHere whether a client has a connection of this node. */
  constructor(directory: Directory, isHere: (clientId: string) => boolean, tell: Tell) {
    this.#directory = directory;
    this.#isHere = isHere;
    this.#tell = tell;
  }

  /** What a commit of this node has brought. */
  deliver(events: readonly CoordinatorEvent[]): void {
    const revisions = revisionsOf(events);
    for (const event of events) {
      if (event.kind === 'delta') {
        const { network, to } = event.delta;
        this.onChanged(network, to);
        if (!this.#isNext(event.delta)) continue;
      } else if (event.kind === 'out-of-step') {
        this.onChanged(event.network, event.revision);
        this.distrust(event.network, event.revision);
      } else if (event.kind === 'removed' && event.why.reason === 'deleted') {
        this.onChanged(event.network, undefined);
        this.forget(event.network);
      } else if (event.kind === 'removed' && this.#isPast(event.network, revisions)) {
        continue;
      }
      this.#tellOf(event);
      if (event.kind === 'entered' && this.#isPast(event.view.network, revisions))
        this.onOutOfStep(event.client, event.view.network);
    }
    for (const event of events)
      if (event.kind === 'removed' && event.why.reason !== 'deleted')
        this.#noteOut(event.client, event.network, revisions.get(event.network));
  }

  #noteOut(client: string, network: string, revision: number | undefined): void {
    const head = this.#heads.get(network);
    if (head === undefined || revision === undefined || head >= revision) return;
    const out = this.#outAhead.get(network) ?? new Map<string, number>();
    this.#outAhead.set(network, out.set(client, revision));
  }

  /** Whether a commit of this node, or a login at it, knows more of who takes part than the database did at this revision. */
  #isAhead(client: string, network: string, revision: number): boolean {
    const told = this.#directory.get(client)?.told.get(network) ?? 0;
    return Math.max(told, this.#outAhead.get(network)?.get(client) ?? 0) > revision;
  }

  #forgetOut(network: string, revision: number): void {
    const out = this.#outAhead.get(network);
    for (const [client, at] of out ?? []) if (at <= revision) out?.delete(client);
    if (out?.size === 0) this.#outAhead.delete(network);
  }

  /**
   * The database had more to tell, and was asked, before this commit was heard of: what it says of who takes part is
   * out of date, and everything later is known already.
   */
  #isPast(network: string, revisions: ReadonlyMap<string, number>): boolean {
    const head = this.#heads.get(network);
    if (head === undefined || head <= (revisions.get(network) ?? head)) return false;
    this.onBehind(network, true);
    return true;
  }

  /** Networks that connections of this node take part in, with the revision up to which they were told. */
  get heads(): ReadonlyMap<string, number> {
    return this.#heads;
  }

  /** Whether a connection of this node takes part: of other networks nobody here needs to hear. */
  isWatched(network: string): boolean {
    for (const { told } of this.#directory.presentIn(network)) if (told.has(network)) return true;
    return false;
  }

  /** What happens to a network is of no interest until somebody here takes part in it. */
  forget(network: string): void {
    this.#heads.delete(network);
    this.#outAhead.delete(network);
  }

  /** What was told counts no more, for the database has lost it, or begun anew: whoever is here is to be told again. */
  distrust(network: string, revision = nowhere): void {
    if (this.#heads.has(network)) this.#heads.set(network, revision);
    this.#outAhead.delete(network);
    for (const { told } of this.#directory.presentIn(network))
      if (told.has(network)) told.set(network, nowhere);
  }

  /** What the store says of a network that another node has changed; false when it must be asked again. */
  catchUp(found: CaughtUp): boolean {
    const { network } = found;
    if ('why' in found) {
      this.forget(network);
      for (const { clientId: client } of [...this.#directory.presentIn(network)])
        this.#tellOf({ kind: 'removed', client, network, why: found.why });
      return true;
    }
    const { from, to, events } = found;
    const head = this.#heads.get(network);
    if (head === undefined || to < head) return true;
    if (from !== head) return false;
    this.#heads.set(network, to);
    for (const event of events)
      if (!('client' in event) || !this.#isAhead(event.client, network, to)) this.#tellOf(event);
    this.#forgetOut(network, to);
    return true;
  }

  /** A client has come that takes part in the network as of this revision; here, when it is connected to this node. */
  entered(clientId: string, network: string, revision: number, here: boolean): void {
    if (here) this.#begin(clientId, network, revision);
    const head = this.#heads.get(network);
    if (head === undefined || head === revision) return;
    this.onBehind(network, head > revision);
    if (here && head > revision) this.onOutOfStep(clientId, network);
  }

  /** Where a client takes part though its latest login does not say so: perhaps it has come there since, perhaps it is out. */
  unnamed(known: Present | undefined, named: readonly Participating[]) {
    const names = new Set(named.map(({ network }) => network));
    return [...(known?.networks ?? [])]
      .filter(([network]) => !names.has(network) && this.#heads.has(network))
      .map(([network, participation]) => ({ network, ...participation }));
  }

  /** A connection has been sent the view of this revision by other means. */
  viewed(clientId: string, network: string, revision: number): void {
    this.#directory.get(clientId)?.told.set(network, revision);
    const head = this.#heads.get(network);
    if (head !== undefined && head < revision) this.onBehind(network, false);
  }

  /** The first connection here that takes part: who else does, at other nodes, is not known yet. */
  #begin(clientId: string, network: string, revision: number): void {
    if (!this.isWatched(network)) {
      this.#heads.set(network, revision);
      this.onBehind(network, true);
    }
    this.#directory.get(clientId)?.told.set(network, revision);
  }

  #isNext({ network, from, to }: NetworkDelta): boolean {
    if (!this.isWatched(network)) {
      this.forget(network);
      return true;
    }
    const head = this.#heads.get(network) ?? from;
    if (head === from) {
      this.#heads.set(network, to);
      return true;
    }
    if (head < to) this.onBehind(network, false);
    return false;
  }

  #tellOf(event: CoordinatorEvent): void {
    switch (event.kind) {
      case 'delta':
        this.#broadcastDelta(event.delta, event.except);
        if (event.delta.activity !== undefined)
          this.#setActivity(event.delta.network, event.delta.activity);
        return;
      case 'entered':
        this.#enter(event.client, event.view);
        return;
      case 'participates': {
        const { client, network, state, active } = event;
        this.#directory.participate(client, network, { state, active });
        this.#presenceInNetwork(network, client);
        return;
      }
      case 'activity': {
        const { client, network, active } = event;
        this.#setActivity(network, { client, active });
        this.onOutOfStep(client, network);
        return;
      }
      case 'out-of-step':
        for (const { clientId } of this.#directory.presentIn(event.network))
          this.onOutOfStep(clientId, event.network);
        return;
      case 'removed':
        this.#directory.withdraw(event.client, event.network);
        this.#tell(event.client, { t: 'removed', network: event.network, ...event.why });
        this.onRemoved(event.client, event.network);
        return;
      case 'tickets-revoked':
        this.onTicketsRevoked(event.client, event.serial);
        return;
      default:
        event satisfies never;
    }
  }

  #enter(client: string, view: NetworkView): void {
    const { network, state, active, revision } = view;
    this.#directory.participate(client, network, { state, active });
    this.#tell(client, this.viewMessage(view));
    // The delta of the same commit says whether others are behind.
    if (this.#isHere(client)) this.#begin(client, network, revision);
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
          this.#tell(clientId, { t: 'removed', network: item.network, ...item.why });
          break;
        case 'view':
          this.#tell(clientId, this.viewMessage(item.view));
          break;
        case 'delta':
          this.#resume(clientId, item.delta, item.active);
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
      ...(view.revocations.length === 0 ? {} : { revocations: [...view.revocations] }),
    };
  }

  #resume(clientId: string, delta: NetworkDelta, active: boolean): void {
    const { network } = delta;
    const pending = delta.owner === clientId ? delta.pending : undefined;
    this.#tell(clientId, this.#deltaMessage(delta, pending, active));
    const online: string[] = [];
    const unconfirmed: string[] = [];
    for (const { clientId: other, presence, networks } of this.#directory.presentIn(network)) {
      const participation = networks.get(network);
      if (participation?.state !== 'member' || !participation.active) continue;
      if (presence === 'online') online.push(other);
      else unconfirmed.push(other);
    }
    this.#tell(clientId, { t: 'presences', network, online, unconfirmed });
  }

  #broadcastDelta(delta: NetworkDelta, except: string | undefined): void {
    const plain = this.#deltaMessage(delta, undefined);
    const facts = delta.changes.find((change) => change.op === 'facts')?.facts;
    for (const { clientId, networks, told } of this.#directory.presentIn(delta.network)) {
      const held = told.get(delta.network);
      if (clientId === except || (held !== undefined && held >= delta.to)) continue;
      if (networks.get(delta.network)?.state === 'member') {
        if (held !== undefined && held !== delta.from) {
          this.onOutOfStep(clientId, delta.network);
          continue;
        }
        if (held !== undefined) told.set(delta.network, delta.to);
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
    const { clientId, nick, certificate, statement } = stored;
    const presence = this.#directory.presenceIn(network, clientId);
    return { clientId, nick, certificate, statement, presence };
  }
}

/** Up to which revision of each network a commit has gone. */
function revisionsOf(events: readonly CoordinatorEvent[]): Map<string, number> {
  const revisions = new Map<string, number>();
  for (const event of events) {
    if (event.kind === 'delta') revisions.set(event.delta.network, event.delta.to);
    else if (event.kind === 'entered') revisions.set(event.view.network, event.view.revision);
  }
  return revisions;
}
