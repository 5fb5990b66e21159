/** PostgreSQL on disks that fill up under a server: what was acknowledged is there, what was refused is not, and it goes on. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { needsRoot } from '../support/needs-root.ts';
import { PostgresProcess, postgresOwner, postgresSkip } from '../support/postgres.ts';
import { ServerProcess } from '../support/server-process.ts';
import { createUntilRefused, SmallDisk, tryCreate } from '../support/small-disk.ts';

/** What is left of the log beforehand: some dozen requests need as much. */
const logLeftBytes = 40_000;

describe('PostgreSQL on a full disk', { skip: needsRoot.skip || postgresSkip }, () => {
  const resources = new AsyncDisposableStack();
  let tables: SmallDisk;
  let log: SmallDisk;
  let postgres: PostgresProcess;
  let store: string;
  let anna: ControlClient;
  /** Networks that were acknowledged. */
  const made: string[] = [];

  before(async () => {
    const { uid, gid } = postgresOwner;
    const owned = [`uid=${uid}`, `gid=${gid}`, 'mode=0700'];
    tables = resources.use(new SmallDisk(16, ...owned));
    log = resources.use(new SmallDisk(24, ...owned));
    postgres = resources.use(await PostgresProcess.start({ log: log.path }));
    const location = `create tablespace small location '${tables.path}'`;
    await postgres.query(postgres.url('postgres'), location);
    store = await postgres.database('small');
    const args = ['--store', store, '--enrol', 'open'];
    const server = resources.use(await ServerProcess.start({ args }));
    anna = resources.use(
      await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') }),
    );
    made.push(await anna.create('kept'));
  });
  after(() => resources.disposeAsync());

  async function assertKept(): Promise<void> {
    const rows = await postgres.query(store, 'select network_id from networks');
    assert.deepEqual(rows.map(({ network_id }) => network_id).sort(), made.sort());
  }

  test('no room for the tables: refusals, until there is room again', async () => {
    tables.fill();
    made.push(...(await createUntilRefused(anna)));
    await assertKept();
    tables.makeRoom();
    made.push(await anna.create('there is room for tables'));
    await assertKept();
  });

  test('no room for the log, so that PostgreSQL ends in the middle of a commit', async () => {
    log.fill();
    await postgres.query(
      store,
      `do $$ begin
        while pg_walfile_name(pg_current_wal_insert_lsn() + ${logLeftBytes})
          <= (select max(name) from pg_ls_waldir() where length(name) = 24)
        loop perform pg_logical_emit_message(false, '', repeat('x', 10000)); end loop;
      end $$`,
    );
    const answers: Promise<string | undefined>[] = [];
    let isRunning = true;
    const ended = postgres.ended().then(() => {
      isRunning = false;
    });
    while (isRunning) {
      answers.push(tryCreate(anna));
      await Promise.race([answers.at(-1), ended]);
    }
    log.makeRoom();
    await postgres.up();
    for (const network of await Promise.all(answers)) if (network !== undefined) made.push(network);
    made.push(await anna.create('there is room for the log'));
    await assertKept();
  });
});
