/**
 * The fabric over core NATS: every node hears two subjects, one for all and one of its own.
 *
 *     buri.CLUSTER.all      buri.CLUSTER.node.NODE      CLUSTER: 16 digits derived from the cluster key
 *
 * A connection that is lost comes back by itself; what could not be told meanwhile is not kept, for the others notice.
 */
import { connect, type NatsConnection, type Status } from '@nats-io/transport-node';
import type { WallMs } from '#core/time.ts';
import { decodeParcel, type FabricItem, type Parcel } from './messages.ts';
import type { NatsUrl } from './nats-url.ts';
import { Outbox } from './outbox.ts';
import type { FabricSeal } from './seal.ts';

export interface NatsFabricOptions {
  readonly url: NatsUrl;
  readonly node: string;
  readonly boot: string;
  /** Tells clusters apart that share a NATS. */
  readonly clusterName: string;
  readonly seal: FabricSeal;
  readonly now: () => WallMs;
  readonly onParcel: (parcel: Parcel) => void;
  readonly onState: (up: boolean, detail: string) => void;
}

export interface FabricCounters {
  sent: number;
  received: number;
  /** Not sealed by a node of this cluster. */
  forged: number;
  malformed: number;
  /** Could not be told, since NATS was away. */
  unsent: number;
}

const reconnectMs = 250;
const pingMs = 5_000;
/** Unanswered pings until the connection is given up. */
const maxPings = 2;
const closeMs = 1_000;

export class NatsFabric implements AsyncDisposable {
  readonly counters: FabricCounters = { sent: 0, received: 0, forged: 0, malformed: 0, unsent: 0 };
  readonly #options: NatsFabricOptions;
  readonly #outbox: Outbox;
  readonly #subject: string;
  #connection: NatsConnection | undefined;
  #up = false;
  #closed = false;
  #flushing: NodeJS.Immediate | undefined;

  constructor(options: NatsFabricOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.node, options.boot);
    this.#subject = `buri.${options.clusterName}`;
  }

  get isUp(): boolean {
    return this.#up;
  }

  /** Connects, and goes on trying until it is disposed of. */
  open(): void {
    const { url, node } = this.#options;
    connect({
      servers: [...url.servers],
      name: `buri ${node}`,
      ...(url.user === undefined ? {} : { user: url.user, pass: url.password ?? '' }),
      ...(url.tls ? { tls: {} } : {}),
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: reconnectMs,
      reconnectJitter: reconnectMs,
      pingInterval: pingMs,
      maxPingOut: maxPings,
      noEcho: true,
    }).then(
      (connection) => this.#connected(connection),
      (error: Error) => this.#failed(error),
    );
  }

  /** Tells all nodes, or one; what is told in one turn travels together. */
  tell(to: string | undefined, item: FabricItem): void {
    if (this.#closed) return;
    this.#outbox.add(to, item);
    this.#flushing ??= setImmediate(() => this.flush());
  }

  flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    if (this.#outbox.isEmpty) return;
    if (!this.#up || this.#connection === undefined) {
      this.counters.unsent++;
      this.#outbox.drop();
      return;
    }
    for (const { to, parcel } of this.#outbox.take(this.#options.now())) {
      const subject = to === undefined ? `${this.#subject}.all` : `${this.#subject}.node.${to}`;
      this.#connection.publish(subject, this.#options.seal.seal(subject, parcel));
      this.counters.sent++;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.flush();
    this.#closed = true;
    this.#up = false;
    const connection = this.#connection;
    if (connection === undefined) return;
    // What was told last should leave; a NATS that is away is not waited for.
    const patience = new Promise<void>((resolve) => {
      setTimeout(resolve, closeMs).unref();
    });
    await Promise.race([connection.flush().catch(() => {}), patience]);
    await Promise.race([connection.close().catch(() => {}), patience]);
  }

  #connected(connection: NatsConnection): void {
    if (this.#closed) {
      void connection.close();
      return;
    }
    this.#connection = connection;
    for (const subject of [`${this.#subject}.all`, `${this.#subject}.node.${this.#options.node}`])
      connection.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) this.#receive(subject, message.data);
        },
      });
    this.#turn(true, connection.getServer());
    void this.#watch(connection.status());
  }

  #receive(subject: string, data: Uint8Array): void {
    if (this.#closed) return;
    const opened = this.#options.seal.open(subject, data);
    if (opened === undefined) {
      this.counters.forged++;
      return;
    }
    const parcel = decodeParcel(opened);
    if (parcel === undefined) {
      this.counters.malformed++;
      return;
    }
    this.counters.received++;
    this.#options.onParcel(parcel);
  }

  async #watch(statuses: AsyncIterable<Status>): Promise<void> {
    for await (const status of statuses) {
      if (this.#closed) return;
      if (status.type === 'disconnect') this.#turn(false, status.server);
      else if (status.type === 'reconnect') this.#turn(true, status.server);
    }
    if (!this.#closed) this.#failed(new Error('the connection was closed for good'));
  }

  /** The library gives up on few things (a refused login is one): they may be mended meanwhile. */
  #failed(error: Error): void {
    if (this.#closed) return;
    this.#connection = undefined;
    this.#turn(false, error.message);
    setTimeout(() => {
      if (!this.#closed) this.open();
    }, pingMs).unref();
  }

  #turn(up: boolean, detail: string): void {
    this.#up = up;
    this.#options.onState(up, detail);
  }
}
