/** A whole database into an empty one, of whichever kind, in one transaction, counted and compared. */
import { createHash } from 'node:crypto';
import { BuriError } from '#core/errors.ts';
import type { Db, Schema } from './schema.ts';
import type { Store } from './store.ts';

/** `nodes` tells of processes, `commit_marks` of transactions of this database: they are not copied. */
type Table = Exclude<keyof Schema, 'nodes' | 'commit_marks'>;

/** In an order that references allow, with what a row is found by. */
const tables: Readonly<Record<Table, readonly string[]>> = {
  settings: ['key'],
  clients: ['client_id'],
  enrolment_tokens: ['token_id'],
  networks: ['network_id'],
  retired_networks: ['network_id'],
  memberships: ['network_id', 'client_id'],
  join_requests: ['network_id', 'client_id'],
  network_changes: ['network_id', 'revision', 'kind', 'subject'],
  revocations: ['network_id', 'client_id'],
  relays: ['relay_id'],
  relay_revocations: ['client_id', 'relay_id'],
};
const names = Object.keys(tables) as Table[];
const rowsPerQuery = 200;
/** Written by every start, so that it says nothing of whether a database is in use. */
const ownSettings = new Set(['write-probe']);

export interface TableSum {
  readonly table: string;
  readonly rows: number;
  /** XOR of SHA-256 of all rows, hexadecimal: the same in whatever order. */
  readonly checksum: string;
}

/** BuriError: target-not-empty, copy-differs. Then nothing has been written that counts. */
export async function copyStore(from: Store, to: Store): Promise<TableSum[]> {
  const sums = await from.read((source) =>
    to.commits.run(async (target) => {
      await assertEmpty(target, to.place);
      const written: TableSum[] = [];
      for (const table of names) written.push(await copyTable(source, target, table));
      return written;
    }),
  );
  const found = await sumsOf(to);
  for (const [i, sum] of sums.entries()) {
    const there = found[i]!;
    if (there.rows !== sum.rows || there.checksum !== sum.checksum)
      throw new BuriError(
        'copy-differs',
        `${sum.table}: ${sum.rows} rows were copied, ${there.rows} are there, and they are not the same; ` +
          'something else writes to the target. Empty it and try again',
      );
  }
  return sums;
}

/** What is in a database. */
export const sumsOf = (store: Store): Promise<TableSum[]> =>
  store.read(async (tx) => {
    const sums: TableSum[] = [];
    for (const table of names) {
      const sum = new Sum(table);
      for await (const rows of rowsOf(tx, table)) for (const row of rows) sum.add(row);
      sums.push(sum.result);
    }
    return sums;
  });

async function copyTable(source: Db, target: Db, table: Table): Promise<TableSum> {
  const sum = new Sum(table);
  if (table === 'settings') await target.deleteFrom('settings').execute();
  for await (const rows of rowsOf(source, table)) {
    for (const row of rows) sum.add(row);
    await target
      .insertInto(table)
      .values(rows as never)
      .execute();
  }
  return sum.result;
}

async function* rowsOf(db: Db, table: Table): AsyncGenerator<Row[]> {
  for (let offset = 0; ; offset += rowsPerQuery) {
    let query = db.selectFrom(table).selectAll();
    for (const column of tables[table]) query = query.orderBy(column as never);
    const rows = (await query.limit(rowsPerQuery).offset(offset).execute()) as Row[];
    if (rows.length > 0) yield rows;
    if (rows.length < rowsPerQuery) return;
  }
}

async function assertEmpty(target: Db, place: string): Promise<void> {
  const settings = await target.selectFrom('settings').select('key').execute();
  const client = await target.selectFrom('clients').select('client_id').limit(1).execute();
  if (client.length > 0 || settings.some(({ key }) => !ownSettings.has(key)))
    throw new BuriError(
      'target-not-empty',
      `${place} holds the data of a server already; give an empty database`,
    );
}

type Row = Readonly<Record<string, string | number | Uint8Array | null>>;

class Sum {
  readonly #table: string;
  readonly #checksum = Buffer.alloc(32);
  #rows = 0;

  constructor(table: string) {
    this.#table = table;
  }

  get result(): TableSum {
    return { table: this.#table, rows: this.#rows, checksum: this.#checksum.toString('hex') };
  }

  add(row: Row): void {
    const columns = Object.keys(row).sort();
    const cells = columns.map((column) => {
      const value = row[column];
      return [column, value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value];
    });
    const digest = createHash('sha256').update(JSON.stringify(cells)).digest();
    for (let i = 0; i < digest.length; i++) this.#checksum[i]! ^= digest[i]!;
    this.#rows++;
  }
}
