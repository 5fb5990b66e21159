/** The cluster's key, this node's key, and the documents that vouch for the node (protocol §2, §3). */
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import type { Secret } from '#crypto/secret.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { signDocument } from '#wire/signed.ts';
import type { DataDirectory } from './data-directory.ts';
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

  /** BuriError: cluster-key-mismatch, when keys and database do not belong together. */
  static async open(crypto: Crypto, data: DataDirectory, store: Store): Promise<Cluster> {
    const recorded = await readSetting(store.db, 'cluster-key');
    if (recorded !== undefined && !data.hasKey('cluster.key'))
      throw mismatch(`${data.path}/cluster.key is missing`);
    const cluster = new Cluster(
      crypto,
      store,
      data.key('cluster.key', crypto),
      data.key('node.key', crypto),
    );
    const own = Buffer.from(cluster.publicKey).toString('base64url');
    if (recorded === undefined) await writeSetting(store.db, 'cluster-key', own);
    else if (recorded !== own) throw mismatch('cluster.key is not the key of this database');
    return cluster;
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

  /** Makes certificate and node list anew. */
  async renew(addresses: NodeAddresses, nowMs: number): Promise<void> {
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
        nodes: [
          {
            nodeId: this.nodeId,
            control: [...addresses.control],
            stun: addresses.stun.map(formatEndpoint),
            relay: [],
          },
        ],
      },
      this.sign,
    ) as Uint8Array<ArrayBuffer>;
  }

  /** Serials only go up, also when the clock does not. */
  async #nextSerial(nowMs: number): Promise<number> {
    const key = 'document-serial';
    const last = Number((await readSetting(this.#store.db, key)) ?? 0);
    const serial = Math.max(last + 1, nowMs);
    await writeSetting(this.#store.db, key, String(serial));
    return serial;
  }

  erase(): void {
    this.#clusterKey.erase();
    this.#nodeKey.erase();
  }
}

const mismatch = (what: string) =>
  new BuriError(
    'cluster-key-mismatch',
    `${what}; clients know the server by that key: restore it from a backup, or start a new --data`,
  );
