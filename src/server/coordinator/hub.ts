/** What the parts of the coordinator share: who is connected, what is due, and the way out. */
import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { ServerMessage } from '#wire/control.ts';
import type { FabricItem } from '../fabric/messages.ts';
import type { Db } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { StunTokens } from '../stun-token.ts';
import { Agenda } from './agenda.ts';
import type { News, Told } from './cluster/news.ts';
import type { FederationOptions, NodeLink } from './cluster/node-link.ts';
import { type Context, type CoordinatorConfig, Guard, onlyOnce } from './context.ts';
import { Delivery } from './delivery.ts';
import { Directory } from './directory.ts';
import { Refusal } from './refusal.ts';
import { type Ticket, TicketSerials } from './relays/tickets.ts';
import { type SessionId, Sessions } from './sessions.ts';

export type Effect =
  | { readonly kind: 'send'; readonly session: SessionId; readonly message: ServerMessage }
  /** End the connection after what was sent before. Codes of RFC 6455 §7.4. */
  | { readonly kind: 'close'; readonly session: SessionId; readonly code: number }
  /** Read nothing more of the connection for so long. */
  | { readonly kind: 'pause'; readonly session: SessionId; readonly ms: number }
  /** For the other nodes, or for one. */
  | { readonly kind: 'publish'; readonly to: string | undefined; readonly item: FabricItem }
  /** Ask a relay whether it is where it says; the answer goes to `Coordinator.relayChecked`. */
  | { readonly kind: 'check-relay'; readonly check: RelayCheckOrder };

export interface RelayCheckOrder extends Ticket {
  readonly relay: string;
  readonly generation: number;
  /** As the relay is listed, and where to ask. */
  readonly targets: readonly { readonly listed: string; readonly ask: string }[];
}

export interface CoordinatorOptions {
  readonly store: Store;
  readonly crypto: Crypto;
  readonly config: CoordinatorConfig;
  /** Identifier of this node, unique in the cluster. */
  readonly node: string;
  /** Ed25519 by the cluster key. */
  readonly sign: (message: Uint8Array) => Uint8Array;
  /** This node is one of several; without it, it is the only one. */
  readonly cluster?: FederationOptions;
  /** The signed list of nodes as it is now. */
  readonly nodeList: () => Uint8Array;
  /** Knows the tokens of STUN answers; without it nobody may send many probes. */
  readonly tokens?: StunTokens;
  /** Newcomers wait for this node, or were told a moment ago to come back later. */
  readonly isCrowded?: () => boolean;
  /** Called in order; must not call back. */
  readonly emit: (effect: Effect) => void;
  /** A failure of the database: the client is told that nothing was done, the operator why. */
  readonly failed?: (error: unknown) => void;
}

export const closeNormal = 1000;
export const closeGoingAway = 1001;
export const closePolicy = 1008;
/** A newer connection of the same daemon took over. */
export const closeReplaced = 4001;

/** What is due at some time. */
export type Duty =
  | { readonly kind: 'ping'; readonly session: SessionId }
  | { readonly kind: 'grace'; readonly client: string }
  | { readonly kind: 'renew'; readonly client: string }
  | { readonly kind: 'challenge'; readonly identity: string }
  | { readonly kind: 'relay-ping'; readonly session: SessionId }
  | { readonly kind: 'relay-grace'; readonly relay: string }
  | { readonly kind: 'relay-check'; readonly relay: string }
  /** Lists of relays that have changed are sent. */
  | { readonly kind: 'relay-lists' }
  /** The tickets of a client are renewed. */
  | { readonly kind: 'relay-tickets'; readonly client: string }
  /** A connection that holds another revision than the others gets the view. */
  | { readonly kind: 'out-of-step' }
  | { readonly kind: 'fabric-beat' }
  | { readonly kind: 'node-beat' }
  | { readonly kind: 'catch-up' }
  | { readonly kind: 'compare' }
  | { readonly kind: 'node-grace'; readonly node: string }
  | { readonly kind: 'handover'; readonly node: string };

export class Hub {
  readonly options: CoordinatorOptions;
  readonly guard = new Guard();
  readonly directory = new Directory();
  readonly sessions = new Sessions();
  readonly delivery: Delivery;
  readonly ticketSerials = new TicketSerials();
  /** The other nodes; undefined: there are none. */
  federation: NodeLink | undefined;
  /** Time of the latest transaction. */
  latest: Now | undefined;
  readonly #agenda = new Agenda<string>();
  #nextPing = 1;

  constructor(options: CoordinatorOptions) {
    this.options = options;
    const isHere = (clientId: string) => this.sessions.ofClient(clientId) !== undefined;
    this.delivery = new Delivery(this.directory, isHere, (clientId, message) => {
      const session = this.sessions.ofClient(clientId);
      if (session !== undefined) this.send(session.id, message);
    });
  }

  context(now: Now): Context {
    const { crypto, config, node, sign } = this.options;
    this.latest = now;
    const { guard, ticketSerials } = this;
    const isAlone = this.federation === undefined;
    return {
      isAlone,
      crypto,
      config,
      node,
      sign,
      now,
      guard,
      ticketSerials,
      once: onlyOnce(),
    };
  }

  /** Work whose result tells clients of members: nobody is told before what the database knows of them is known here. */
  async telling<T>(tx: Db, work: Promise<T>, told: (result: T) => readonly Told[]) {
    const result = await work;
    return { result, news: await this.federation?.news(tx, told(result)) };
  }

  heard(news: News | undefined, now: Now): void {
    if (news !== undefined) this.federation?.heard(news, now);
  }

  schedule(duty: Duty, now: Now, delayMs: number): void {
    this.#agenda.set(keyOf(duty), after(now.monotonic, delayMs));
  }

  isScheduled(duty: Duty): boolean {
    return this.#agenda.has(keyOf(duty));
  }

  cancel(duty: Duty): void {
    this.#agenda.cancel(keyOf(duty));
  }

  deadline(): MonotonicMs | undefined {
    return this.#agenda.next();
  }

  takeDue(now: Now): Duty | undefined {
    const key = this.#agenda.takeDue(now.monotonic);
    return key === undefined ? undefined : (JSON.parse(key) as Duty);
  }

  send(session: SessionId, message: ServerMessage): void {
    this.options.emit({ kind: 'send', session, message });
  }

  close(session: SessionId, code: number): void {
    this.options.emit({ kind: 'close', session, code });
  }

  /** Tells why, then ends the connection. */
  refuse(session: SessionId, error: unknown): void {
    const { code, message, retryAfterMs } = this.asRefusal(error);
    this.send(session, {
      t: 'refused',
      error: { code, message },
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
    this.close(session, closePolicy);
  }

  /** Anything else than a refusal is a failure of the database: nothing was done. */
  asRefusal(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    this.options.failed?.(error);
    // It may have been done, if nobody could be asked.
    this.federation?.doubt();
    return new Refusal('server-storage');
  }

  newPingId(): number {
    const id = this.#nextPing;
    this.#nextPing = (id % 0x7fff_ffff) + 1;
    return id;
  }
}

/** The same duty is the same text: duties are made by literals, in one order of fields. */
const keyOf = (duty: Duty) => JSON.stringify(duty);

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
