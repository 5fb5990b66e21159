/** How the other nodes are seen from the coordinator's parts. */
import type { Now } from '#core/time.ts';
import type { FabricItem } from '../../fabric/messages.ts';
import type { Db } from '../../store/schema.ts';
import type { News, Told } from './news.ts';

export interface LiveNode {
  readonly id: string;
  /** JSON that it wrote of itself (node-facts.ts). */
  readonly facts: string;
}

export interface FederationOptions {
  /** Random at every start, 16 hexadecimal digits. */
  readonly boot: string;
  /** JSON that the other nodes should know of this one: addresses, relay. */
  readonly facts: () => string;
  /** The database could be written just now, or not. */
  readonly onStore?: (error: unknown) => void;
  /** Nodes have come, gone or changed. */
  readonly onNodes?: (nodes: readonly LiveNode[]) => void;
}

export interface NodeLink {
  /** Tells all nodes. */
  all(item: FabricItem): void;
  /** Tells one node; false when it cannot be heard now. */
  to(node: string, item: FabricItem): boolean;
  /** Somebody here holds less of a network than the database. */
  behind(network: string, whole: boolean, now: Now | undefined): void;
  /** What the database knows of these members and this node does not: to be {@link heard} before they are told. */
  news(tx: Db, told: readonly Told[]): Promise<News>;
  heard(news: News, now: Now): void;
  /** Something could not be written: once the database is back it is compared with what is true. */
  doubt(): void;
}
