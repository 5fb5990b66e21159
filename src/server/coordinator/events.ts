/**
 * What a committed transaction means for those who are connected. Rules return events; who is told what, with which
 * presence, is decided when they are delivered, after the commit.
 */
import type { NetworkFacts, PendingRequest, ServerMessageOf } from '#wire/control.ts';
import type { ClientRow, Flag } from '../store/schema.ts';

/** Where the database has seen a member last. Clients are told its presence as this node knows it. */
export interface SeenMember {
  readonly clientId: string;
  readonly active: Flag;
  readonly node: string | null;
  readonly connected: ClientRow['connected'];
  readonly serial: number;
}

export interface StoredMember extends SeenMember {
  readonly nick: string;
  readonly certificate: Uint8Array;
  readonly statement: Uint8Array;
}

export type StoredChange =
  | { readonly op: 'member'; readonly member: StoredMember }
  | { readonly op: 'gone'; readonly clientId: string; readonly revocation: Uint8Array }
  | { readonly op: 'facts'; readonly facts: NetworkFacts };

/** A network went from one revision to another. */
export interface NetworkDelta {
  readonly network: string;
  readonly from: number;
  readonly to: number;
  readonly changes: readonly StoredChange[];
  /** Whole list, for the owner's eyes, when it changed. */
  readonly pending?: readonly PendingRequest[];
  readonly owner: string;
  /** A member takes part now, or does not (go-online, go-offline): the others see it as presence. */
  readonly activity?: { readonly client: string; readonly active: boolean };
}

export interface NetworkView {
  readonly network: string;
  readonly revision: number;
  readonly state: 'member' | 'pending';
  readonly active: boolean;
  readonly facts: NetworkFacts;
  readonly members: readonly StoredMember[];
  readonly pending: readonly PendingRequest[];
  /** Of those who are out, the newest first. */
  readonly revocations: readonly Uint8Array[];
}

/** Why a client is not in a network any more, as it is told. */
export type WhyRemoved = Pick<ServerMessageOf<'removed'>, 'reason' | 'deletion'>;

export type CoordinatorEvent =
  /** To every member; `except` has had it by other means. */
  | { readonly kind: 'delta'; readonly delta: NetworkDelta; readonly except?: string }
  /** The client is in the network now, as a member or waiting. */
  | { readonly kind: 'entered'; readonly client: string; readonly view: NetworkView }
  /** The same of a client of another node, or one that is to be told by other means. */
  | {
      readonly kind: 'participates';
      readonly client: string;
      readonly network: string;
      readonly state: 'member' | 'pending';
      readonly active: boolean;
    }
  /** Another node has noted that a member takes part, or does not. */
  | {
      readonly kind: 'activity';
      readonly client: string;
      readonly network: string;
      readonly active: boolean;
    }
  /** No delta says what has changed: whoever is connected needs the view. */
  | { readonly kind: 'out-of-step'; readonly network: string; readonly revision: number }
  | {
      readonly kind: 'removed';
      readonly client: string;
      readonly network: string;
      readonly why: WhyRemoved;
    }
  /** The client is one no more: relays refuse its tickets up to this serial. */
  | { readonly kind: 'tickets-revoked'; readonly client: string; readonly serial: number };
