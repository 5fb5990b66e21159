import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Notices } from '#client/notices.ts';
import { StateStore } from '#client/state.ts';
import type { KnownWays } from '#core/member/last-good.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { encodeCbor } from '#wire/cbor.ts';
import { TestCluster, testDevice } from '../support/cluster.ts';

const isRoot = process.getuid?.() === 0;

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'buri-state-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'state');
}

async function open(directory: string) {
  const notices = new Notices(() => {});
  return { notices, store: await StateStore.open(directory, crypto, notices) };
}

const codes = (notices: Notices) => notices.list().map(({ code }) => code);
const asideOf = (directory: string, name: string) =>
  readdirSync(directory).filter((file) => file.startsWith(`${name}.corrupt-`));

test('identity, settings and networks come back after a restart; keys are readable by their owner only', async (t) => {
  const directory = scratch(t);
  const cluster = new TestCluster(1_800_000_000_000);
  const network = '100-000-001';
  const { t: _, ...view } = cluster.view(network, [cluster.member(network, testDevice(1))]);
  const cached = { id: network, view, revocations: [cluster.revocation(network, testDevice(2))] };
  const first = await open(directory);
  const identity = first.store.settings.identity;
  first.store.update({ nick: 'anna', port: 4711, secrets: { [network]: new Uint8Array(32) } });
  first.store.saveNetwork(cached);
  await first.store[Symbol.asyncDispose]();
  for (const name of ['identity.key', 'state.json', `networks/${network}.cbor`]) {
    assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name);
  }
  const second = await open(directory);
  assert.deepEqual(second.store.settings.identity, identity);
  assert.equal(second.store.settings.nick, 'anna');
  assert.equal(second.store.settings.port, 4711);
  assert.deepEqual(encodeCbor(await second.store.loadNetworks()), encodeCbor([cached]));
  assert.deepEqual(codes(second.notices), []);
  second.store.forgetServer();
  await second.store[Symbol.asyncDispose]();
  assert.deepEqual(readdirSync(join(directory, 'networks')), []);
});

test('a second daemon is kept off the directory, and let in when the first one ended', async (t) => {
  const directory = scratch(t);
  const first = await open(directory);
  await assert.rejects(open(directory), { code: 'state-in-use' });
  await first.store[Symbol.asyncDispose]();
  const second = await open(directory);
  await second.store[Symbol.asyncDispose]();
});

test('a damaged file is set aside, never overwritten, and the daemon says so', async (t) => {
  for (const [file, damage, notice] of [
    ['state.json', '{"version":1,', 'state-corrupt'],
    ['state.json', '{"version":7}', 'state-corrupt'],
    ['state.json', '\0\0\0\0', 'state-corrupt'],
    ['state.json', '', 'state-corrupt'],
    ['identity.key', '{}', 'identity-corrupt'],
    ['identity.key', 'x'.repeat(100_000), 'identity-corrupt'],
  ] as const) {
    await t.test(`${file}: ${JSON.stringify(damage.slice(0, 20))}`, async (st) => {
      const directory = scratch(st);
      await (await open(directory)).store[Symbol.asyncDispose]();
      const path = join(directory, file);
      writeFileSync(path, damage);
      const { store, notices } = await open(directory);
      assert.ok(codes(notices).includes(notice));
      const aside = asideOf(directory, file);
      assert.equal(aside.length, 1);
      assert.equal(readFileSync(join(directory, aside[0]!), 'utf8'), damage);
      store.update({ nick: 'again' });
      await store[Symbol.asyncDispose]();
      assert.notEqual(readFileSync(path, 'utf8'), damage);
    });
  }
});

test('a damaged network file is set aside', async (t) => {
  const directory = scratch(t);
  await (await open(directory)).store[Symbol.asyncDispose]();
  writeFileSync(join(directory, 'networks', '100-000-001.cbor'), 'no cbor');
  const { store, notices } = await open(directory);
  assert.deepEqual(await store.loadNetworks(), []);
  assert.deepEqual(codes(notices), ['cache-corrupt']);
  assert.equal(asideOf(join(directory, 'networks'), '100-000-001.cbor').length, 1);
  await store[Symbol.asyncDispose]();
});

test('how peers and relays were reached comes back after a restart, readable by its owner only', async (t) => {
  const directory = scratch(t);
  const first = await open(directory);
  assert.deepEqual(await first.store.loadWays(), { peers: [], relays: [], deletions: [] });
  const ways: KnownWays = {
    peers: [
      {
        ...{ clientId: '100-000-002', identity: 'ab'.repeat(32), reachedAt: 1_800_000_000_000 },
        candidates: [{ kind: 'host', endpoint: '192.0.2.1:4000' }],
        nat: { mapping: 'none', filtering: 'unknown' },
      },
    ],
    relays: [
      {
        ...{ id: 'node-1', kind: 'server', udp: ['192.0.2.2:3480'], ws: [] },
        ...{ ticket: new Uint8Array(300), key: new Uint8Array(32) },
      },
    ],
    deletions: [new Uint8Array(200).fill(7)],
  };
  first.store.saveWays(ways);
  await first.store[Symbol.asyncDispose]();
  const path = join(directory, 'ways.cbor');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const second = await open(directory);
  assert.deepEqual(encodeCbor(await second.store.loadWays()), encodeCbor(ways));
  second.store.forgetServer();
  await second.store.flush();
  assert.deepEqual(await second.store.loadWays(), { peers: [], relays: [], deletions: [] });
  writeFileSync(
    path,
    encodeCbor({ version: 1, peers: Array(257).fill(ways.peers[0]), relays: [] }),
  );
  assert.deepEqual(await second.store.loadWays(), { peers: [], relays: [], deletions: [] });
  assert.deepEqual(codes(second.notices), ['cache-corrupt']);
  assert.equal(asideOf(directory, 'ways.cbor').length, 1);
  await second.store[Symbol.asyncDispose]();
});

test('state of another identity is not mixed with this one', async (t) => {
  const directory = scratch(t);
  await (await open(directory)).store[Symbol.asyncDispose]();
  rmSync(join(directory, 'identity.key'));
  writeFileSync(
    join(directory, 'state.json'),
    JSON.stringify({
      version: 1,
      identity: Buffer.alloc(32, 9).toString('base64url'),
      ...{ loggedIn: true, nick: 'x', serverTimeMs: 0, secrets: {} },
    }),
  );
  const { store, notices } = await open(directory);
  assert.equal(store.settings.loggedIn, false);
  assert.deepEqual(codes(notices), ['state-of-another-identity']);
  await store[Symbol.asyncDispose]();
});

test('a read-only directory and a full disk are clear errors at start, and a notice later', {
  skip: isRoot ? false : 'mounting needs root',
}, async (t) => {
  const directory = scratch(t);
  execFileSync('mkdir', ['-p', directory]);
  const mount = (...options: string[]) =>
    execFileSync('mount', ['-t', 'tmpfs', '-o', options.join(), 'buri-test', directory]);
  const umount = () => execFileSync('umount', [directory]);
  mount('ro', 'size=64k');
  try {
    await assert.rejects(open(directory), { code: 'state-unwritable', message: /read-only/ });
  } finally {
    umount();
  }
  mount('size=64k');
  try {
    const { store, notices } = await open(directory);
    const filler = join(directory, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(100_000));
    } catch {}
    store.update({ nick: 'x'.repeat(64) });
    await assert.rejects(store.flush(), { code: 'disk-full' });
    rmSync(filler);
    await store[Symbol.asyncDispose]();
    assert.deepEqual(codes(notices), []);
    assert.equal(JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8')).nick.length, 64);
    writeFileSync(filler, '');
    try {
      writeFileSync(filler, Buffer.alloc(100_000));
    } catch {}
    await assert.rejects(open(directory), { code: 'disk-full' });
  } finally {
    umount();
  }
});
