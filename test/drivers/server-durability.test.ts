/** Nothing that was acknowledged is lost: kill -9 in the middle of a thousand joins, then compare. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import type { ServerMessageOf } from '#wire/control.ts';
import { BusyError, ControlClient, DeviceKeys, verifierFor } from '../support/control-client.ts';
import { ServerProcess, temporaryDirectory } from '../support/server-process.ts';

const clientCount = 100;
const networkCount = 20;
/** Every client joins ten of the networks. */
const joinCount = 1_000;

interface Acknowledged {
  readonly clients: Map<string, { clientId: string; ipv4: string }>;
  readonly joins: Set<string>;
}

test('kill -9 in the middle of a thousand joins loses nothing acknowledged', async () => {
  const data = temporaryDirectory('durability');
  const args = ['--enrol', 'open'];
  let server = await ServerProcess.start({ data, args });
  try {
    const owner = await ControlClient.login({ url: server.url, keys: new DeviceKeys('owner') });
    const networks: string[] = [];
    for (let i = 0; i < networkCount; i++) networks.push(await owner.create(`net ${i}`, 'pw'));
    const acknowledged: Acknowledged = { clients: new Map(), joins: new Set() };
    const half = Promise.withResolvers<void>();
    const storm = Array.from({ length: clientCount }, (_, n) =>
      joinMany(server.url, n, networks, acknowledged, () => {
        if (acknowledged.joins.size >= joinCount / 2) half.resolve();
      }).catch(() => {}),
    );
    await half.promise;
    await server.stop('SIGKILL');
    await Promise.all(storm);
    const done = acknowledged.joins.size;
    assert.ok(done >= joinCount / 2 && done < joinCount, `killed after ${done} joins`);

    server = await ServerProcess.start({ data, args });
    await compare(server, acknowledged);
    await resume(server, networks, acknowledged);
  } finally {
    await server.stop();
    rmSync(data, { recursive: true, force: true });
  }
});

async function joinMany(
  url: string,
  n: number,
  networks: readonly string[],
  acknowledged: Acknowledged,
  progress: () => void,
): Promise<void> {
  const name = `client ${n}`;
  const client = await patiently(() => ControlClient.login({ url, keys: new DeviceKeys(name) }));
  const { clientId, ipv4 } = client.welcome;
  acknowledged.clients.set(name, { clientId, ipv4 });
  await Promise.all(
    Array.from({ length: joinCount / clientCount }, async (_, i) => {
      const index = (n + i * 2) % networkCount;
      const operation = {
        op: 'join',
        name: `net ${index}`,
        verifier: verifierFor('pw'),
      } as const;
      const result = await client.request(operation);
      if (!result.ok) return;
      assert.equal(result.network, networks[index]);
      acknowledged.joins.add(`${clientId} ${result.network}`);
      progress();
    }),
  );
}

async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof BusyError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs));
    }
  }
}

/** Every client logs in again, and is what it was told to be. */
async function compare(server: ServerProcess, acknowledged: Acknowledged): Promise<void> {
  const found = new Set<string>();
  for (const [name, { clientId, ipv4 }] of acknowledged.clients) {
    const client = await patiently(() =>
      ControlClient.login({ url: server.url, keys: new DeviceKeys(name) }),
    );
    assert.deepEqual([client.welcome.clientId, client.welcome.ipv4], [clientId, ipv4], name);
    const done = await client.next(
      (message): message is ServerMessageOf<'synchronised'> => message.t === 'synchronised',
    );
    for (const network of done.networks) found.add(`${clientId} ${network}`);
    for (const view of client.received)
      if (view.t === 'view') assert.ok(view.members.some((member) => member.clientId === clientId));
    client.terminate();
  }
  for (const join of acknowledged.joins) assert.ok(found.has(join), `${join} was acknowledged`);
}

/** The database is sound: work goes on where it stopped, and revisions have no holes. */
async function resume(
  server: ServerProcess,
  networks: readonly string[],
  acknowledged: Acknowledged,
): Promise<void> {
  const owner = await ControlClient.login({
    url: server.url,
    keys: new DeviceKeys('owner'),
    login: { known: networks.map((network) => ({ network, revision: 1 })) },
  });
  await owner.next((message) => message.t === 'synchronised');
  for (const network of networks) {
    const delta = owner.received.find(
      (message): message is ServerMessageOf<'delta'> =>
        message.t === 'delta' && message.network === network,
    );
    const joined = [...acknowledged.joins].filter((join) => join.endsWith(network)).length;
    assert.ok(delta, 'the log reaches back to the first revision');
    assert.equal(delta.from, 1);
    assert.equal(delta.to, delta.changes.length + 1, 'one revision for each who joined');
    assert.ok(delta.changes.length >= joined);
  }
  owner.terminate();
}
