/**
 * What the server keeps, as Kysely sees it. Columns are snake case in the database; times are milliseconds since
 * 1970; flags are 0 or 1, so that SQLite and PostgreSQL need no different code.
 */
import type { Kysely } from 'kysely';

export type Flag = 0 | 1;

export interface SettingRow {
  key: string;
  value: string;
}

export interface ClientRow {
  client_id: string;
  /** Ed25519 identity, 32 bytes. */
  identity: Uint8Array;
  /** Virtual IPv4 address as a number; the IPv6 address follows from it. */
  address4: number;
  nick: string;
  certificate: Uint8Array;
  certificate_serial: number;
  software: string;
  protocol_version: number;
  /** 1: has a control connection; 2: lost it without goodbye, and the grace period runs. After a restart both are 'unconfirmed'. */
  connected: 0 | 1 | 2;
  plan: string | null;
  created_at: number;
  last_seen_at: number;
  /** Node that has, or had last, its connection. */
  node: string | null;
  /** Counts its logins: of two nodes that speak of it, the one with the higher number knows better. */
  login_serial: number;
  /** Hexadecimal instance of its daemon, as of the last login. */
  instance: string;
}

export interface TokenRow {
  token_id: string;
  /** SHA-256 of the token; the token itself is shown once and never kept. */
  hash: Uint8Array;
  /** Null: any number. */
  max_uses: number | null;
  uses: number;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  /** Whom it enrols. */
  kind: 'device' | 'relay';
}

export interface NetworkRow {
  network_id: string;
  name: string;
  /** What makes a name unique: case folded, normal form C, one kind of space. */
  name_key: string;
  type: string;
  owner: string;
  revision: number;
  epoch: number;
  salt: Uint8Array;
  argon2_memory_kib: number;
  argon2_passes: number;
  argon2_parallelism: number;
  verifier_salt: Uint8Array;
  verifier_hash: Uint8Array;
  wrapped_secret: Uint8Array;
  has_password: Flag;
  locked: Flag;
  approval: string;
  plan: string | null;
  created_at: number;
}

/** Identifiers of deleted networks: never given out again, since old revocations name them. */
export interface RetiredNetworkRow {
  network_id: string;
  retired_at: number;
  /** Signed deletion as it travels; null of those deleted before there were any. */
  document: Uint8Array | null;
}

export interface MembershipRow {
  network_id: string;
  client_id: string;
  role: string;
  /** Takes part now (go-online, go-offline). */
  active: Flag;
  /** Signed membership as it travels. */
  statement: Uint8Array;
  serial: number;
  signer: string;
  issued_at: number;
  joined_at: number;
}

export interface JoinRequestRow {
  network_id: string;
  client_id: string;
  requested_at: number;
}

/** `joined`: a client became a member; `member`: the entry of one changed. */
export type ChangeKind = 'joined' | 'member' | 'gone' | 'facts' | 'pending' | 'activity';

/** What each revision of a network was about, from which deltas are made. */
export interface NetworkChangeRow {
  network_id: string;
  revision: number;
  kind: ChangeKind;
  /** Client id; empty for facts and pending. */
  subject: string;
}

export interface RevocationRow {
  network_id: string;
  client_id: string;
  serial: number;
  reason: string;
  document: Uint8Array;
  signer: string;
  issued_at: number;
}

/** Relays that enrolled, or that members offered; those with a connection are listed again after a restart. */
export interface RelayRow {
  relay_id: string;
  kind: 'standalone' | 'volunteer';
  /** X25519 key, 32 bytes. */
  relay_key: Uint8Array;
  /** Client id of the member that volunteers; null for a standalone relay. */
  owner: string | null;
  /** CBOR of what clients are told of it. */
  listing: Uint8Array;
  software: string;
  connected: Flag;
  created_at: number;
  last_seen_at: number;
  /** Node that it, or its member, is connected to. */
  node: string | null;
  state: 'checking' | 'listed' | 'unreachable';
  /** JSON: addresses that did not answer. */
  unreachable: string;
}

/** A node of the cluster. */
export interface NodeRow {
  node_id: string;
  /** Random at every start. */
  boot: string;
  /** Counted up every few seconds while the node lives: who watches needs no common clock. */
  beat: number;
  state: 'serving' | 'draining' | 'ended';
  /** JSON: addresses, relay, version. */
  facts: string;
  /** When this state started. */
  started_at: number;
}

/** Tickets of a client with serials up to this one are void at a relay. */
export interface RelayRevocationRow {
  client_id: string;
  /** Empty: at every relay. */
  relay_id: string;
  serial: number;
  revoked_at: number;
}

/** Of a transaction that was committed a moment ago; only PostgreSQL has them. */
export interface CommitMarkRow {
  /** Random. */
  mark: string;
  marked_at: number;
}

export interface Schema {
  settings: SettingRow;
  clients: ClientRow;
  enrolment_tokens: TokenRow;
  networks: NetworkRow;
  retired_networks: RetiredNetworkRow;
  memberships: MembershipRow;
  join_requests: JoinRequestRow;
  network_changes: NetworkChangeRow;
  revocations: RevocationRow;
  relays: RelayRow;
  relay_revocations: RelayRevocationRow;
  nodes: NodeRow;
  commit_marks: CommitMarkRow;
}

/** The database, or one transaction of it. */
export type Db = Kysely<Schema>;
