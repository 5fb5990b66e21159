/** Databases that have lost what was committed, by a backup that is older or a standby that was behind: what clients believe then. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Mesh } from '#core/mesh/mesh.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { ControlClient, DeviceKeys, parseUrl } from '../support/control-client.ts';
import { PostgresProcess, postgresSkip } from '../support/postgres.ts';
import { buri, ServerProcess, temporaryDirectory } from '../support/server-process.ts';

/** A device that goes from one server to the next with what it believes. */
class Device {
  readonly #keys: DeviceKeys;
  #mesh: Mesh | undefined;
  #applied = 0;
  client!: ControlClient;

  constructor(name: string) {
    this.#keys = new DeviceKeys(name);
  }

  async login(url: string): Promise<void> {
    const { identity, tunnel, name } = this.#keys;
    this.#mesh ??= new Mesh({
      ...{ crypto, clusterKey: parseUrl(url).key },
      own: {
        ...{ identity: Buffer.from(identity).toString('hex'), tunnelKey: tunnel.publicKey },
        ...{ suites: [], extensionVersion: 1 },
      },
    });
    const known = this.#mesh.known();
    this.client = await ControlClient.login({
      url,
      keys: this.#keys,
      login: { known, nick: name },
    });
    this.#applied = 0;
    await this.client.next(({ t }) => t === 'synchronised');
  }

  /** Nicks of the members of a network, as this device believes. */
  members(network: string): string[] {
    const mesh = this.#mesh!;
    for (const message of this.client.received.slice(this.#applied)) {
      if (message.t === 'view') mesh.applyView(message);
      else if (message.t === 'delta')
        for (const stale of mesh.applyDelta(message).resync)
          this.client.send({ t: 'resync', network: stale });
      else if (message.t === 'removed') mesh.applyRemoved(message);
    }
    this.#applied = this.client.received.length;
    const members = mesh.networks.get(network)?.members.values() ?? [];
    return [...members].map(({ nick }) => nick).sort();
  }
}

async function allSee(devices: readonly Device[], network: string, nicks: readonly string[]) {
  const until = performance.now() + 30_000;
  for (const device of devices)
    for (;;) {
      const seen = device.members(network);
      if (seen.join() === nicks.join()) break;
      assert.ok(performance.now() < until, `${seen} instead of ${nicks}`);
      await sleep(50);
    }
}

test('an older backup is restored: all views are the restored ones, and an eviction removes the member everywhere', async () => {
  const place = temporaryDirectory('timelines');
  const [data, restored, file] = ['data', 'restored', 'backup'].map((name) => join(place, name));
  const args = ['--enrol', 'open'];
  const [anna, bert, carl] = ['anna', 'bert', 'carl'].map((name) => new Device(name));
  assert.ok(data && restored && file && anna && bert && carl);
  try {
    let network: string;
    {
      await using server = await ServerProcess.start({ data, args });
      for (const device of [anna, bert, carl]) await device.login(server.url);
      network = await anna.client.create('lan');
      for (const { client } of [bert, carl]) assert.ok((await client.join('lan')).ok);
      assert.equal((await buri('server', 'backup', file, '--data', data)).code, 0);
      for (let i = 0; i < 3; i++) {
        await bert.client.granted({ op: 'leave', network });
        assert.ok((await bert.client.join('lan')).ok);
      }
      await bert.client.granted({ op: 'set-nick', nick: 'bert of later' });
      await allSee([anna, bert, carl], network, ['anna', 'bert of later', 'carl']);
      for (const { client } of [anna, bert, carl]) client.terminate();
    }
    const made = await buri('server', 'restore', file, '--data', restored);
    assert.equal(made.code, 0, made.stderr);
    await using server = await ServerProcess.start({ data: restored, args });
    for (const device of [anna, bert]) await device.login(server.url);
    await allSee([anna, bert], network, ['anna', 'bert', 'carl']);
    await anna.client.granted({ op: 'evict', network, clientId: bert.client.clientId });
    await carl.login(server.url);
    await allSee([anna, carl], network, ['anna', 'carl']);
    await allSee([bert], network, []);
    for (const { client } of [anna, bert, carl]) client.terminate();
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});

test('a standby that was behind takes over under a running server: its clients believe what it holds, and evictions work once it is renumbered', {
  skip: postgresSkip,
}, async () => {
  await using postgres = await PostgresProcess.start();
  const store = await postgres.database();
  await using server = await ServerProcess.start({ args: ['--enrol', 'open', '--store', store] });
  const [anna, bert] = ['anna', 'bert'].map((name) => new Device(name));
  assert.ok(anna && bert);
  for (const device of [anna, bert]) await device.login(server.url);
  const network = await anna.client.create('lan');
  assert.ok((await bert.client.join('lan')).ok);
  await postgres.keep();
  const nick = async ({ client }: Device, text: string) => {
    const until = performance.now() + 20_000;
    while (!(await client.request({ op: 'set-nick', nick: text })).ok)
      assert.ok(performance.now() < until, 'the database is back');
  };
  await nick(anna, 'lost');
  await bert.client.granted({ op: 'leave', network });
  assert.ok((await bert.client.join('lan')).ok);
  await allSee([anna, bert], network, ['bert', 'lost']);
  await postgres.failOver();
  // As many revisions as were lost: by their numbers alone nobody could tell.
  for (let i = 0; i < 3; i++) await nick(bert, `bert ${i}`);
  await allSee([bert], network, ['anna', 'bert 2']);
  await server.operate('renumber', '--store', store);
  await allSee([anna, bert], network, ['anna', 'bert 2']);
  await anna.client.granted({ op: 'evict', network, clientId: bert.client.clientId });
  await allSee([anna], network, ['anna']);
  await allSee([bert], network, []);
  for (const { client } of [anna, bert]) client.terminate();
});
