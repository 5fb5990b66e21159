/** The durable half of a server: directory, store, keys, coordinator. Operators' verbs open it when no server runs. */
import { dirname, resolve } from 'node:path';
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { Cluster } from './cluster.ts';
import type { FederationOptions } from './coordinator/cluster/node-link.ts';
import type { EnrolMode } from './coordinator/context.ts';
import { Coordinator, type Effect } from './coordinator/coordinator.ts';
import { containsAddress, parsePool4 } from './coordinator/pool.ts';
import type { TicketLimits } from './coordinator/relays/tickets.ts';
import { DataDirectory } from './data-directory.ts';
import { isPostgresUrl } from './store/postgres-url.ts';
import { openPatiently, Store } from './store/store.ts';
import { StunTokens } from './stun-token.ts';
import { version } from './version.ts';

export interface StateOptions {
  readonly data: string;
  /** `sqlite:PATH` or `postgres://…`; in the data directory when absent. */
  readonly store?: string | undefined;
  /** The cluster key, if not in the data directory. */
  readonly clusterKeyFile?: string | undefined;
  /** As one of several nodes, when the store is one that nodes can share. */
  readonly federation?: FederationOptions | undefined;
  readonly enrol: EnrolMode;
  readonly pool4: string;
  /** No address will be given out: whatever the pool is. */
  readonly anyPool?: boolean;
  readonly graceMs: number;
  readonly relayLimits?: TicketLimits | undefined;
  readonly emit: (effect: Effect) => void;
  readonly isCrowded?: () => boolean;
  readonly failed: (error: unknown) => void;
  /** Waits for a database that is not there yet; without it that is an error. */
  readonly waiting?: {
    readonly signal: AbortSignal;
    readonly waiting: (error: Error) => void;
  };
}

export interface ServerState extends AsyncDisposable {
  readonly directory: DataDirectory;
  readonly store: Store;
  readonly cluster: Cluster;
  readonly coordinator: Coordinator;
  readonly tokens: StunTokens;
}

export const now = (): Now => ({
  monotonic: monotonicMs(performance.now()),
  wall: wallMs(Date.now()),
});

/** BuriError: data-unwritable, data-in-use, disk-full, data-corrupt, data-newer, cluster-key-mismatch, pool-in-use… */
export async function openState(crypto: Crypto, options: StateOptions): Promise<ServerState> {
  const pool4 = parsePool4(options.pool4);
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(DataDirectory.open(options.data));
  const location = storeLocation(options.store, directory.databasePath);
  const { failed, waiting } = options;
  const store = stack.use(
    waiting === undefined
      ? await Store.open(location, { failed })
      : await openPatiently(location, { failed, ...waiting }),
  );
  await store.probe();
  const cluster = await Cluster.open(crypto, directory, store, options.clusterKeyFile);
  stack.defer(() => cluster.erase());
  if (options.anyPool !== true) await checkPool(store, options.pool4);
  const tokens = new StunTokens(crypto, cluster.derive('buri stun token 1'));
  const coordinator = new Coordinator({
    store,
    tokens,
    crypto,
    config: {
      enrol: options.enrol,
      pool4,
      graceMs: options.graceMs,
      ...(options.relayLimits === undefined ? {} : { relayLimits: options.relayLimits }),
      software: `buri ${version}`,
    },
    node: cluster.nodeId,
    // Whoever keeps data in PostgreSQL may have company, now or later.
    ...(options.federation === undefined || store.kind !== 'postgres'
      ? {}
      : { cluster: options.federation }),
    sign: cluster.sign,
    nodeList: () => cluster.nodeList,
    ...(options.isCrowded === undefined ? {} : { isCrowded: options.isCrowded }),
    emit: options.emit,
    failed: options.failed,
  });
  const owned = stack.move();
  return {
    directory,
    store,
    cluster,
    coordinator,
    tokens,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What `--store` means; `otherwise` when it is not given. BuriError: store-unsupported. */
export function storeLocation(given: string | undefined, otherwise: string): string {
  if (given === undefined) return otherwise;
  if (isPostgresUrl(given)) return given;
  const match = /^sqlite:(.+)$/.exec(given);
  if (match === null)
    throw new BuriError(
      'store-unsupported',
      `--store ${given.replace(/:\/\/.*/, '://…')}: data is kept in sqlite:PATH or in postgres://…`,
    );
  const path = resolve(match[1]!);
  if (dirname(path) === path) throw new BuriError('store-unsupported', `--store ${given}: no file`);
  return path;
}

/** Addresses are given for life: a pool that does not hold those in use would be two pools. */
async function checkPool(store: Store, text: string): Promise<void> {
  const pool = parsePool4(text);
  const rows = await store.db
    .selectFrom('clients')
    .select((eb) => [eb.fn.min('address4').as('least'), eb.fn.max('address4').as('most')])
    .execute();
  const { least = null, most = null } = (rows[0] ?? {}) as { least?: number; most?: number };
  if (least === null || most === null) return;
  if (!containsAddress(pool, least) || !containsAddress(pool, most))
    throw new BuriError(
      'pool-in-use',
      `--pool4 ${text} does not contain the addresses that devices have already; use the pool of before`,
    );
}
