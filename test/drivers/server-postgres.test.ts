/** What holds for operations and durability on SQLite holds on PostgreSQL: the same tests, on a real one. */
import { after, describe } from 'node:test';
import { CoordinatorRig } from '../support/coordinator-rig.ts';
import { PostgresProcess, postgresSkip } from '../support/postgres.ts';
import { ServerProcess } from '../support/server-process.ts';

if (postgresSkip !== false) describe('server on PostgreSQL', { skip: postgresSkip }, () => {});
else {
  const postgres = await PostgresProcess.start();
  const databases = new Map<string, string>();
  CoordinatorRig.location = () => postgres.database();
  ServerProcess.store = async (data) => {
    const known = databases.get(data) ?? (await postgres.database());
    databases.set(data, known);
    return known;
  };
  after(() => postgres[Symbol.asyncDispose]());
  await import('../../src/server/coordinator/operations/operations.test.ts');
  await import('./server-durability.test.ts');
}
