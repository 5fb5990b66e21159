/** Several coordinators over one database, and a fabric between them that loses, doubles and reorders, under virtual time. */
import type { CoordinatorConfig } from '#server/coordinator/context.ts';
import { decodeParcel } from '#server/fabric/messages.ts';
import { Outbox } from '#server/fabric/outbox.ts';
import { Store } from '#server/store/store.ts';
import { CoordinatorRig, type RigClient, type RigLogin } from './coordinator-rig.ts';

/** Probabilities, from 0 to 1. */
export interface Faults {
  readonly drop: number;
  readonly double: number;
  readonly reorder: number;
}

const noFaults: Faults = { drop: 0, double: 0, reorder: 0 };
/** How long a parcel takes, and one that is late. */
const delayMs = 1;
const lateMs = 40;

interface Flying {
  readonly at: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

interface Node {
  readonly rig: CoordinatorRig;
  readonly outbox: Outbox;
  boot: number;
  up: boolean;
}

export class ClusterRig implements AsyncDisposable {
  readonly store: Store;
  readonly nodes: Node[] = [];
  faults: Faults = noFaults;
  /** Nodes whose fabric is cut off. */
  readonly cut = new Set<number>();
  nowMs = 1_000_000;
  readonly #random: () => number;
  readonly #config: Partial<CoordinatorConfig>;
  #flying: Flying[] = [];
  #lastLogins = new Map<string, RigClient>();

  private constructor(store: Store, config: Partial<CoordinatorConfig>, random: () => number) {
    this.store = store;
    this.#config = config;
    this.#random = random;
  }

  static async open(
    count: number,
    config: Partial<CoordinatorConfig> = {},
    random: () => number = () => 0.5,
  ): Promise<ClusterRig> {
    const store = await Store.open(await CoordinatorRig.location());
    const cluster = new ClusterRig(store, config, random);
    for (let i = 0; i < count; i++) cluster.nodes.push(cluster.#node(i, 1));
    for (let i = 0; i < count; i++) await cluster.#start(i);
    await cluster.advance(3_500);
    return cluster;
  }

  rig(node: number): CoordinatorRig {
    return this.nodes[node]!.rig;
  }

  /** A client logs in at a node; the rest of the cluster has heard of it when this returns. */
  async login(node: number, name: string, rest: Partial<RigLogin> = {}): Promise<RigClient> {
    const client = await this.rig(node).login(name, rest);
    this.#lastLogins.set(name, client);
    await this.advance(50);
    return client;
  }

  /** kill -9: connections break, and nobody says anything. */
  kill(node: number): void {
    this.nodes[node]!.up = false;
    for (const client of this.rig(node).clients.values()) client.closedWith ??= 1006;
  }

  /** It ends in order: the others have heard of it when this returns. */
  async end(node: number): Promise<void> {
    const rig = this.rig(node);
    await rig.coordinator.federation?.leave('ended', rig.now);
    await this.advance(10);
    this.kill(node);
  }

  async revive(node: number): Promise<void> {
    const { boot } = this.nodes[node]!;
    this.nodes[node] = this.#node(node, boot + 1);
    await this.#start(node);
  }

  /** Lets time pass for all; everything happens at its time. */
  async advance(ms: number): Promise<void> {
    const until = this.nowMs + ms;
    for (;;) {
      this.#collect();
      let next = until;
      for (const { at } of this.#flying) next = Math.min(next, at);
      for (const { rig, up } of this.nodes)
        if (up) next = Math.min(next, rig.coordinator.deadline() ?? until);
      this.nowMs = Math.max(this.nowMs, next);
      for (const { rig } of this.nodes) rig.nowMs = this.nowMs;
      if (!(await this.#step()) && this.nowMs >= until) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  async #step(): Promise<boolean> {
    let worked = false;
    const due = this.#flying.filter(({ at }) => at <= this.nowMs);
    this.#flying = this.#flying.filter(({ at }) => at > this.nowMs);
    for (const { to, bytes } of due) {
      const parcel = decodeParcel(bytes);
      if (parcel === undefined) throw new Error('a parcel does not pass its own schema');
      const { rig, up } = this.nodes[to]!;
      if (up && !this.cut.has(to)) rig.coordinator.received(parcel, rig.now);
      await rig.pump();
      worked = true;
    }
    for (const { rig, up } of this.nodes) {
      const deadline = up ? rig.coordinator.deadline() : undefined;
      if (deadline === undefined || deadline > this.nowMs) continue;
      await rig.coordinator.tick(rig.now);
      await rig.pump();
      worked = true;
    }
    return worked;
  }

  #collect(): void {
    for (const [from, { outbox, rig, up }] of this.nodes.entries()) {
      if (!up || outbox.isEmpty) continue;
      for (const { to, parcel } of outbox.take(rig.now.wall))
        for (const [i] of this.nodes.entries())
          if (i !== from && (to === undefined || to === nodeName(i))) this.#fly(from, i, parcel);
    }
  }

  #fly(from: number, to: number, bytes: Uint8Array): void {
    const { drop, double, reorder } = this.faults;
    if (this.cut.has(from) || this.#random() < drop) return;
    const copies = this.#random() < double ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const late = this.#random() < reorder;
      const at = this.nowMs + delayMs + (late ? Math.floor(this.#random() * lateMs) : 0);
      this.#flying.push({ at, to, bytes });
    }
  }

  #node(index: number, boot: number): Node {
    const node = nodeName(index);
    const bootText = boot.toString(16).padStart(16, '0');
    const outbox = new Outbox(node, bootText);
    const rig = CoordinatorRig.on(this.store, this.#config, {
      node,
      cluster: { boot: bootText, facts: () => '{}' },
      publish: ({ to, item }) => outbox.add(to, item),
    });
    rig.nowMs = this.nowMs;
    return { rig, outbox, boot, up: true };
  }

  async #start(index: number): Promise<void> {
    const { rig } = this.nodes[index]!;
    await rig.coordinator.start(rig.now);
    rig.coordinator.fabric(true, rig.now);
  }
}

export const nodeName = (index: number): string => `node-${index + 1}`;
