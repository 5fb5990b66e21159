/**
 * This node among the others (docs/decisions/cluster.md): tells them what happened here, believes what they tell, and asks the
 * database whenever something may have been missed. Without a fabric nothing of this exists.
 *
 *   parcel ──in order──► applied        ──number missing, new boot──► compared with the database
 *   hint of a revision ──next──► nothing to do      ──behind──► caught up from the database
 */
import type { Now } from '#core/time.ts';
import type { FabricItem, FabricItemOf, Parcel } from '../../fabric/messages.ts';
import type { Db, NodeRow } from '../../store/schema.ts';
import type { Duty, Hub } from '../hub.ts';
import {
  catchUpDelayMs,
  compareIntervalMs,
  compareOfflineMs,
  fabricBeatMs,
  handoverMs,
  nodeBeatMs,
} from '../limits.ts';
import type { ParticipatingByClient } from '../sync.ts';
import { Comparison } from './comparison.ts';
import { type News, newsOf, type Told, unknownThere } from './news.ts';
import type { FederationOptions, LiveNode, NodeLink } from './node-link.ts';
import { beatNode, clearNode, forgetNodes, nodeRows, type Sighting } from './node-store.ts';
import { type DropReason, type Peer, Peers } from './peers.ts';
import type { Whereabouts } from './whereabouts.ts';

export type FederationDuty = Extract<
  Duty,
  { kind: 'fabric-beat' | 'node-beat' | 'catch-up' | 'compare' | 'node-grace' | 'handover' }
>;

/** What else of the coordinator is concerned. */
export interface FederationParts {
  readonly whereabouts: Whereabouts;
  readonly item: (item: FabricItem, from: Peer, now: Now) => void;
  /** The client was removed by an operator of another node. */
  readonly expel: (clientId: string) => void;
  /** Relays and tickets as the database has them. */
  readonly compareRelays: (nodes: readonly Peer[], now: Now) => Promise<void>;
  readonly nodeGone: (node: string, now: Now) => void;
  /** Our own connections against what the database says of them, after it was away. */
  readonly reassert: (now: Now) => Promise<void>;
  /** Whom this node had when it ended in order have had their time to be back. */
  readonly handedOver: (now: Now) => Promise<void>;
}

const retryMs = 500;

export class Federation implements NodeLink {
  readonly #hub: Hub;
  readonly #options: FederationOptions;
  readonly #parts: FederationParts;
  readonly #peers: Peers;
  readonly #comparison: Comparison;
  readonly #drops = new Map<DropReason, number>();
  #state: NodeRow['state'] = 'serving';
  /** Unix time since when it is in this state. */
  #stateAt = 0;
  #storeUp = true;
  /** Something that we were to write may have been written: nobody has been told of it. */
  #isInDoubt = false;
  #liveText = '';
  #comparing = false;
  #compareAgain = false;

  constructor(hub: Hub, options: FederationOptions, parts: FederationParts) {
    this.#hub = hub;
    this.#options = options;
    this.#parts = parts;
    this.#peers = new Peers(hub.options.node);
    this.#comparison = new Comparison(hub, {
      sighted: (sighting, networks, now) => this.#sighted(sighting, networks, now),
      expel: parts.expel,
    });
  }

  get isUp(): boolean {
    return this.#peers.isListening;
  }

  get drops(): ReadonlyMap<DropReason, number> {
    return this.#drops;
  }

  get peers(): Iterable<Peer> {
    return this.#peers.all();
  }

  /** How long whom this node had when it ended has still time to be back at another; 0 unless it ended in order, a moment ago. */
  async handoverLeftMs(now: Now): Promise<number> {
    const { node, store } = this.#hub.options;
    const row = (await nodeRows(store.db)).find(({ node_id }) => node_id === node);
    if (row?.state !== 'ended') return 0;
    const sinceMs = now.wall - row.started_at;
    return sinceMs < 0 ? 0 : Math.max(0, handoverMs - sinceMs);
  }

  async start(now: Now): Promise<void> {
    this.#stateAt = now.wall;
    await this.#hub.options.store.commits.run((tx) => forgetNodes(tx, now.wall));
    await this.#beatNode(now);
    await this.#compare(now);
    this.#schedule({ kind: 'node-beat' }, now, nodeBeatMs);
    this.#schedule({ kind: 'fabric-beat' }, now, fabricBeatMs);
    this.#schedule({ kind: 'compare' }, now, compareOfflineMs);
  }

  /** Whether our own end of the fabric works. */
  fabric(up: boolean, now: Now): void {
    if (up === this.isUp) return;
    this.#peers.listen(up, now);
    if (!up) {
      this.#schedule({ kind: 'compare' }, now, compareOfflineMs);
      return;
    }
    this.#beat();
    this.#compareSoon(now);
  }

  receive(parcel: Parcel, now: Now): void {
    const verdict = this.#peers.receive(parcel, now);
    if (verdict.kind === 'drop') {
      this.#drops.set(verdict.reason, (this.#drops.get(verdict.reason) ?? 0) + 1);
      // A node that has just started is in the database already.
      if (verdict.reason === 'unknown-boot')
        this.#schedule({ kind: 'node-beat' }, now, catchUpDelayMs);
      return;
    }
    const { peer, gap, back } = verdict;
    if (back) this.#isBack(peer);
    if (gap || back) this.#compareSoon(now);
    for (const item of parcel.items) this.#take(item, peer, now);
  }

  /** Tells all nodes. */
  all(item: FabricItem): void {
    this.#hub.options.emit({ kind: 'publish', to: undefined, item });
  }

  /** Tells one node; false when it cannot be heard now. */
  to(node: string, item: FabricItem): boolean {
    const peer = this.#peers.get(node);
    if (peer === undefined || peer.hearing === 'silent') return false;
    this.#hub.options.emit({ kind: 'publish', to: node, item });
    return true;
  }

  /** Somebody here holds less than the database. */
  behind(network: string, whole: boolean, now: Now | undefined): void {
    this.#comparison.behind(network, whole);
    if (now !== undefined && !this.#hub.isScheduled({ kind: 'catch-up' }))
      this.#schedule({ kind: 'catch-up' }, now, catchUpDelayMs);
  }

  news(tx: Db, told: readonly Told[]): Promise<News> {
    return newsOf(tx, this.#hub.directory, this.#hub.options.node, told);
  }

  heard({ sightings, networks, told }: News, now: Now): void {
    const { directory, options } = this.#hub;
    for (const sighting of sightings) this.#sighted(sighting, networks, now);
    for (const { clientId, network, active } of unknownThere(directory, options.node, told))
      directory.participate(clientId, network, { state: 'member', active });
  }

  #sighted(sighting: Sighting, networks: ParticipatingByClient, now: Now): void {
    const isDoubted = this.#peers.get(sighting.node ?? '')?.isDoubted === true;
    const list = networks.get(sighting.clientId) ?? [];
    this.#parts.whereabouts.sighted(sighting, list, isDoubted, now);
  }

  /** Something could not be written: once the database is back it is compared with what is true. */
  doubt(): void {
    this.#storeUp = false;
    this.#isInDoubt = true;
  }

  /** From now on the node takes no newcomers, or has ended: the others go on without it. */
  async leave(state: 'draining' | 'ended', now: Now): Promise<void> {
    this.#state = state;
    this.#stateAt = now.wall;
    this.#beat();
    await this.#beatNode(now);
  }

  async due(duty: FederationDuty, now: Now): Promise<void> {
    switch (duty.kind) {
      case 'fabric-beat':
        this.#schedule(duty, now, fabricBeatMs);
        this.#beat();
        this.#listen(now);
        return;
      case 'node-beat':
        this.#schedule(duty, now, nodeBeatMs);
        await this.#beatNode(now);
        return;
      case 'catch-up':
        await this.#comparison.catchUp(now);
        if (this.#comparison.isBehind)
          this.#schedule(duty, now, this.#comparison.failed ? retryMs : catchUpDelayMs);
        return;
      case 'compare':
        if (!this.#hub.isScheduled(duty))
          this.#schedule(duty, now, this.#isWhole() ? compareIntervalMs : compareOfflineMs);
        await this.#compare(now);
        return;
      case 'handover':
        if (duty.node === this.#hub.options.node) await this.#parts.handedOver(now);
        else this.#handedOver(this.#peers.get(duty.node), now);
        return;
      case 'node-grace':
        await this.#nodeGrace(duty.node, now);
        return;
      default:
        duty satisfies never;
    }
  }

  #take(item: FabricItem, peer: Peer, now: Now): void {
    const { whereabouts } = this.#parts;
    switch (item.t) {
      case 'beat':
        this.#hub.ticketSerials.atLeast(item.ticketSerial);
        if (item.state !== peer.state) this.#turned(peer, item.state, now);
        return;
      case 'network':
        this.#network(item, now);
        return;
      case 'online':
        whereabouts.arrived({ ...item, node: peer.id }, 'online', now);
        return;
      case 'lost':
        if (this.#hub.directory.get(item.clientId)?.node === peer.id)
          whereabouts.lost(item, item.presence, now);
        return;
      case 'expel':
        this.#parts.expel(item.clientId);
        return;
      case 'relays':
        this.#compareSoon(now);
        return;
      default:
        this.#parts.item(item, peer, now);
    }
  }

  #network({ network, revision }: FabricItemOf<'network'>, now: Now): void {
    const { delivery } = this.#hub;
    if (!delivery.isWatched(network)) {
      delivery.forget(network);
      return;
    }
    const head = delivery.heads.get(network);
    if (revision === undefined || head === undefined || head < revision)
      this.behind(network, false, now);
  }

  #turned(peer: Peer, state: NodeRow['state'], now: Now): void {
    peer.state = state;
    if (state === 'ended') this.#schedule({ kind: 'handover', node: peer.id }, now, handoverMs);
    this.#tellNodes(now);
  }

  /** Whoever has not gone on from a node that ended is not connected, unless the node is back by now. */
  #handedOver(peer: Peer | undefined, now: Now): void {
    if (peer?.state !== 'ended') return;
    this.#peers.doubt(peer);
    this.#doubted(peer, now);
  }

  #listen(now: Now): void {
    const { doubted, torn } = this.#peers.fallenSilent(now);
    for (const peer of doubted) this.#doubted(peer, now);
    if (torn) this.#compareSoon(now);
  }

  #doubted(peer: Peer, now: Now): void {
    this.#parts.whereabouts.suspect(peer.id);
    // Whether it beats on shows from the second look.
    this.#schedule({ kind: 'node-beat' }, now, catchUpDelayMs);
    const { graceMs } = this.#hub.options.config;
    const duty = { kind: 'node-grace', node: peer.id } as const;
    if (!this.#hub.isScheduled(duty)) this.#schedule(duty, now, graceMs);
  }

  /** Its clients are as the database says, and their grace period begins anew the next time. */
  #isBack(peer: Peer): void {
    this.#comparison.isBack(peer.id);
    this.#hub.cancel({ kind: 'node-grace', node: peer.id });
  }

  /** Offline is said only of clients of a node that the database has not heard of either, and only while that can be asked. */
  async #nodeGrace(node: string, now: Now): Promise<void> {
    const peer = this.#peers.get(node);
    if (peer === undefined || (!peer.isDoubted && peer.state !== 'ended')) return;
    const again = () => this.#schedule({ kind: 'node-grace', node }, now, nodeBeatMs);
    if (!this.#storeUp || !this.#peers.isGone(peer)) {
      again();
      return;
    }
    const { boot, beat } = peer;
    try {
      const cleared = await this.#hub.options.store.commits.run(async (tx) => {
        const row = (await nodeRows(tx)).find(({ node_id }) => node_id === node);
        if (row !== undefined && (row.boot !== boot || row.beat !== beat)) return false;
        await clearNode(tx, node, now.wall);
        return true;
      });
      if (!cleared) return;
      this.#parts.whereabouts.gone(node);
      this.#parts.nodeGone(node, now);
    } catch (error) {
      this.#hub.options.failed?.(error);
      again();
    }
  }

  /** Whether all nodes that live can be heard. */
  #isWhole(): boolean {
    if (!this.isUp) return false;
    for (const peer of this.#peers.all())
      if (peer.hearing === 'silent' && !this.#peers.isGone(peer)) return false;
    return true;
  }

  #beat(): void {
    const ticketSerial = this.#hub.ticketSerials.last;
    this.all({ t: 'beat', state: this.#state, ticketSerial });
  }

  async #beatNode(now: Now): Promise<void> {
    const { node, store } = this.#hub.options;
    const { boot, facts } = this.#options;
    const row = {
      ...{ node_id: node, boot, state: this.#state, facts: facts() },
      started_at: this.#stateAt,
    };
    try {
      // Not behind what waits for the database: a busy node is not a dead one.
      await beatNode(store.db, row);
      const rows = await nodeRows(store.db);
      const wasDown = !this.#storeUp;
      this.#storeUp = true;
      this.#options.onStore?.(undefined);
      const fresh = this.#peers.know(rows, now);
      for (const peer of fresh) this.#isBack(peer);
      if (fresh.some(({ state }) => state !== 'ended')) this.#compareSoon(now);
      this.#tellNodes(now);
      if (!wasDown) return;
      await this.#parts.reassert(now);
      this.#compareSoon(now);
    } catch (error) {
      this.#storeUp = false;
      this.#options.onStore?.(error);
      this.#hub.options.failed?.(error);
    }
  }

  /** The nodes that clients may go to. */
  #tellNodes(now: Now): void {
    const live: LiveNode[] = [];
    for (const peer of this.#peers.all())
      if (peer.state === 'serving' && !this.#peers.isGone(peer))
        live.push({ id: peer.id, facts: peer.facts });
    const text = JSON.stringify(live);
    if (text === this.#liveText) return;
    this.#liveText = text;
    this.#compareSoon(now);
    this.#options.onNodes?.(live);
  }

  #compareSoon(now: Now): void {
    this.#schedule({ kind: 'compare' }, now, catchUpDelayMs);
  }

  /** Clients, networks and relays against the database. */
  async #compare(now: Now): Promise<void> {
    if (this.#comparing) {
      // What is under way may have read the database before whatever this is about.
      this.#compareAgain = true;
      return;
    }
    this.#comparing = true;
    const wasInDoubt = this.#isInDoubt;
    this.#isInDoubt = false;
    try {
      await this.#comparison.clients(now);
      for (const network of await this.#comparison.networksBehind()) {
        this.behind(network, false, now);
        if (wasInDoubt) this.all({ t: 'network', network });
      }
      await this.#parts.compareRelays([...this.#peers.all()], now);
    } catch (error) {
      this.#isInDoubt ||= wasInDoubt;
      this.#hub.options.failed?.(error);
      this.#schedule({ kind: 'compare' }, now, compareOfflineMs);
    } finally {
      this.#comparing = false;
      if (this.#compareAgain) this.#schedule({ kind: 'compare' }, now, catchUpDelayMs);
      this.#compareAgain = false;
    }
  }

  #schedule(duty: FederationDuty, now: Now, delayMs: number): void {
    this.#hub.schedule(duty, now, delayMs);
  }
}
