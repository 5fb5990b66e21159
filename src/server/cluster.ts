/** The cluster's key, this node's key, and the documents that vouch for the node (protocol §2, §3). */
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import type { Secret } from '#crypto/secret.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { signDocument } from '#wire/signed.ts';
import { type DataDirectory, readKeyFile } from './data-directory.ts';
import { readSetting, writeSetting } from './store/settings.ts';
import type { Store } from './store/store.ts';

const dayMs = 86_400_000;
/** A node certificate outlives a month of a stopped server; it is made anew at every start, and weekly. */
const certificateLifetimeMs = 90 * dayMs;
const nodeListLifetimeMs = 30 * dayMs;
export const documentRenewalMs = 7 * dayMs;
/** Clients whose clocks are a little behind must be able to log in. */
const backdateMs = dayMs;

export interface NodeAddresses {
  /** Where clients log in: `buri://HOST:PORT` or `buris://HOST:PORT`. */
  readonly control: readonly string[];
  readonly stun: readonly Endpoint[];
}

/** A node as it stands in the signed list. */
export interface ListedNode {
  readonly nodeId: string;
  readonly control: readonly string[];
  readonly stun: readonly string[];
}

/** Nodes that one list names: clients need a few, and it must fit a document. */
const maxListedNodes = 16;
const maxListBytes = 3_800;

export class Cluster {
  readonly #crypto: Crypto;
  readonly #clusterKey: Secret;
  readonly #nodeKey: Secret;
  readonly #store: Store;
  readonly publicKey: Uint8Array;
  readonly nodeKeyPair: KeyPair;
  readonly nodeId: string;
  #certificate = new Uint8Array();
  #nodeList = new Uint8Array();

  private constructor(crypto: Crypto, store: Store, clusterKey: Secret, nodeKey: Secret) {
    this.#crypto = crypto;
    this.#store = store;
    this.#clusterKey = clusterKey;
    this.#nodeKey = nodeKey;
    this.publicKey = crypto.ed25519PublicKey(clusterKey.bytes());
    const publicKey = crypto.x25519PublicKey(nodeKey.bytes());
    this.nodeKeyPair = { privateKey: nodeKey.bytes(), publicKey };
    this.nodeId = `node-${Buffer.from(publicKey).toString('hex').slice(0, 12)}`;
  }

  /**
   * @param keyFile where the cluster key is, if not in the directory.
   * BuriError: cluster-key-mismatch, when keys and database do not belong together; key-damaged, key-missing.
   */
  static async open(
    crypto: Crypto,
    data: DataDirectory,
    store: Store,
    keyFile?: string,
  ): Promise<Cluster> {
    const recorded = await readSetting(store.db, 'cluster-key');
    if (recorded !== undefined && keyFile === undefined && !data.hasKey('cluster.key'))
      throw mismatch(
        `${data.path}/cluster.key is missing; a further node of a cluster needs a copy of it (--cluster-key FILE)`,
      );
    const clusterKey =
      keyFile === undefined ? data.key('cluster.key', crypto) : readKeyFile(keyFile);
    const cluster = new Cluster(crypto, store, clusterKey, data.key('node.key', crypto));
    if (recorded === undefined) {
      const value = cluster.keyText;
      // Of two nodes that start a cluster at once, one is first.
      await store.db
        .insertInto('settings')
        .values({ key: 'cluster-key', value })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
    if ((await readSetting(store.db, 'cluster-key')) === cluster.keyText) return cluster;
    cluster.erase();
    throw mismatch('cluster.key is not the key of this database');
  }

  sign = (message: Uint8Array): Uint8Array =>
    this.#crypto.ed25519Sign(this.#clusterKey.bytes(), message);

  /** A secret of all nodes of the cluster, for one purpose. */
  derive(purpose: string): Uint8Array {
    const info = new TextEncoder().encode(purpose);
    return this.#crypto.hkdfSha256(this.#clusterKey.bytes(), new Uint8Array(), info, 32);
  }

  /** The key as it stands in the server's URL. */
  get keyText(): string {
    return Buffer.from(this.publicKey).toString('base64url');
  }

  get certificate(): Uint8Array {
    return this.#certificate;
  }

  get nodeList(): Uint8Array {
    return this.#nodeList;
  }

  /** Makes certificate and node list anew. The list begins with this node. */
  async renew(
    addresses: NodeAddresses,
    nowMs: number,
    others: readonly ListedNode[] = [],
  ): Promise<void> {
    const serial = await this.#nextSerial(nowMs);
    this.#certificate = signDocument(
      'node-certificate',
      {
        nodeId: this.nodeId,
        nodeKey: this.nodeKeyPair.publicKey,
        serial,
        notBefore: Math.max(0, nowMs - backdateMs),
        notAfter: nowMs + certificateLifetimeMs,
      },
      this.sign,
    ) as Uint8Array<ArrayBuffer>;
    this.#nodeList = signDocument(
      'node-list',
      {
        serial,
        issuedAt: nowMs,
        notAfter: nowMs + nodeListLifetimeMs,
        nodes: this.#listed(addresses, others),
      },
      this.sign,
    ) as Uint8Array<ArrayBuffer>;
  }

  /** As many as fit, in an order of this node's own: clients of several nodes spread over the others. */
  #listed(addresses: NodeAddresses, others: readonly ListedNode[]) {
    const self = { nodeId: this.nodeId, control: addresses.control };
    const listed = [{ ...self, stun: addresses.stun.map(formatEndpoint) }, ...shuffled(others)]
      .slice(0, maxListedNodes)
      .map(({ nodeId, control, stun }) => ({
        ...{ nodeId, control: [...control], stun: [...stun], relay: [] },
      }));
    while (listed.length > 1 && JSON.stringify(listed).length > maxListBytes) listed.pop();
    return listed;
  }

  /** Serials only go up, also when the clock does not. */
  #nextSerial(nowMs: number): Promise<number> {
    const key = 'document-serial';
    return this.#store.commits.run(async (tx) => {
      const last = Number((await readSetting(tx, key)) ?? 0);
      const serial = Math.max(last + 1, nowMs);
      await writeSetting(tx, key, String(serial));
      return serial;
    });
  }

  erase(): void {
    this.#clusterKey.erase();
    this.#nodeKey.erase();
  }
}

function shuffled<T>(list: readonly T[]): T[] {
  const order = list.map((value) => ({ value, key: Math.random() }));
  return order.sort((a, b) => a.key - b.key).map(({ value }) => value);
}

const mismatch = (what: string) =>
  new BuriError(
    'cluster-key-mismatch',
    `${what}; clients know the server by that key: restore it from a backup, or start a new --data`,
  );
