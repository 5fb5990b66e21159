/** A server as one node of several: its fabric, what it says of itself, and the others that clients may go to. */
import { randomBytes } from 'node:crypto';
import type { Crypto } from '#core/crypto.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import type { Cluster, ListedNode } from './cluster.ts';
import { decodeNodeFacts, encodeNodeFacts } from './coordinator/cluster/node-facts.ts';
import type { FederationOptions, LiveNode } from './coordinator/cluster/node-link.ts';
import type { Coordinator } from './coordinator/coordinator.ts';
import type { FabricItem } from './fabric/messages.ts';
import { NatsFabric } from './fabric/nats.ts';
import type { NatsUrl } from './fabric/nats-url.ts';
import { FabricSeal, fabricPurpose } from './fabric/seal.ts';
import type { Log } from './log.ts';
import type { Readiness } from './operations/endpoint.ts';
import { now } from './state.ts';
import { version } from './version.ts';

const bootBytes = 8;
const nameDigits = 16;
/** How often at most the log says that somebody with another key uses the same NATS. */
const forgedLogMs = 60_000;

export interface ClusterNodeOptions {
  readonly crypto: Crypto;
  readonly fabric: NatsUrl | undefined;
  readonly log: Log;
  readonly readiness: Readiness;
  /** The signed list of nodes is out of date. */
  readonly onNodes: () => void;
}

export class ClusterNode implements AsyncDisposable {
  readonly boot = randomBytes(bootBytes).toString('hex');
  readonly #options: ClusterNodeOptions;
  #fabric: NatsFabric | undefined;
  #addresses: Omit<ListedNode, 'nodeId'> = { control: [], stun: [] };
  #relay: RelayOffer | undefined;
  #others: readonly ListedNode[] = [];
  #forgedAt = 0;
  #forged = 0;

  constructor(options: ClusterNodeOptions) {
    this.#options = options;
  }

  /** For the coordinator. */
  get federation(): FederationOptions {
    return {
      boot: this.boot,
      facts: () => this.#facts(),
      onNodes: (nodes) => this.#heard(nodes),
      onStore: (error) =>
        this.#options.readiness.set('database', (error as Error | undefined)?.message),
    };
  }

  /** The other nodes that clients may log in to. */
  get others(): readonly ListedNode[] {
    return this.#others;
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#fabric?.counters };
  }

  setAddresses(addresses: Omit<ListedNode, 'nodeId'>): void {
    this.#addresses = addresses;
  }

  /** @param relay with addresses that mean the same everywhere. */
  setRelay(relay: RelayOffer | undefined): void {
    this.#relay = relay;
  }

  /** Joins the fabric, now or when it is there. */
  open(cluster: Cluster, coordinator: Coordinator): void {
    const { crypto, fabric: url, log, readiness } = this.#options;
    if (url === undefined) return;
    readiness.set('fabric', 'not connected yet');
    const name = Buffer.from(cluster.derive('buri fabric name 1')).toString('hex');
    this.#fabric = new NatsFabric({
      ...{ url, node: cluster.nodeId, boot: this.boot, now: () => now().wall },
      clusterName: name.slice(0, nameDigits),
      seal: new FabricSeal(crypto, cluster.derive(fabricPurpose)),
      onParcel: (parcel) => coordinator.received(parcel, now()),
      onState: (up, detail) => {
        readiness.set('fabric', up ? undefined : `${url.text} is not connected (${detail})`);
        if (up) log.info({ fabric: url.text }, 'the fabric is connected');
        else log.warn({ fabric: url.text, detail }, 'the fabric is not connected; trying again');
        coordinator.fabric(up, now());
      },
    });
    this.#fabric.open();
  }

  tell(to: string | undefined, item: FabricItem): void {
    this.#fabric?.tell(to, item);
    this.#noteForged();
  }

  /** What was told last leaves before what follows. */
  flush(): void {
    this.#fabric?.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fabric?.[Symbol.asyncDispose]();
  }

  #facts(): string {
    const relay = this.#relay;
    return encodeNodeFacts({
      control: [...this.#addresses.control],
      stun: [...this.#addresses.stun],
      software: `buri ${version}`,
      ...(relay === undefined
        ? {}
        : { relay: { ...relay, relayKey: Buffer.from(relay.relayKey).toString('hex') } }),
    });
  }

  #heard(nodes: readonly LiveNode[]): void {
    this.#others = nodes.flatMap(({ id, facts }) => {
      const known = decodeNodeFacts(facts);
      return known === undefined ? [] : [{ nodeId: id, control: known.control, stun: known.stun }];
    });
    this.#options.log.info({ nodes: nodes.map(({ id }) => id) }, 'other nodes');
    this.#options.onNodes();
  }

  #noteForged(): void {
    const forged = this.#fabric?.counters.forged ?? 0;
    const at = performance.now();
    if (forged === this.#forged || at - this.#forgedAt < forgedLogMs) return;
    this.#forged = forged;
    this.#forgedAt = at;
    this.#options.log.warn(
      { forged },
      'somebody without the key of this cluster uses its subjects; is a node running with another cluster.key?',
    );
  }
}
