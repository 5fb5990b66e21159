/** Starting and ending: what stands in the way is said, and nothing is left behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { freePort } from '../support/postgres.ts';
import { buri, program, ServerProcess, temporaryDirectory } from '../support/server-process.ts';
import { createUntilRefused, SmallDisk } from '../support/small-disk.ts';

const place = temporaryDirectory('start');
after(() => rmSync(place, { recursive: true, force: true }));
let counter = 0;
const fresh = () => join(place, `data ${++counter}`);
const local = [
  '--listen',
  '127.0.0.1:0',
  '--stun',
  '127.0.0.1:0,127.0.0.1:0',
  '--relay',
  'none',
  '--public',
  '127.0.0.1',
];

/** A server that must not start: its error, one clear line. */
async function failing(...args: readonly string[]): Promise<string> {
  const result = await buri('server', ...local, ...args);
  assert.equal(result.code, 1, `it ended with ${result.code}: ${result.stderr}`);
  const lines = result.stderr.trim().split('\n');
  assert.equal(lines.length, 1, result.stderr);
  return lines[0]!;
}

test('secrets are readable by their owner alone; the database has none of them', async () => {
  const data = fresh();
  await using server = await ServerProcess.start({ data });
  assert.equal(statSync(data).mode & 0o777, 0o700);
  for (const name of ['cluster.key', 'node.key', 'admin.sock'])
    assert.equal(statSync(join(data, name)).mode & 0o777, 0o600, name);
  const key = readFileSync(join(data, 'cluster.key'), 'utf8').trim();
  const database = readFileSync(join(data, 'buri.db'), 'latin1');
  assert.ok(!database.includes(key));
  assert.ok(!database.includes(Buffer.from(key, 'base64url').toString('latin1')));
  assert.ok(!server.lines.join('\n').includes(key));
});

test('a server that waits for its database ends when it is told to', async () => {
  const store = `postgres://127.0.0.1:${await freePort()}/none`;
  const server = spawn(program, ['server', '--data', fresh(), ...local, '--store', store], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(server, 'exit');
  for await (const line of createInterface({ input: server.stderr }))
    if (line.includes('waiting for the database')) server.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('the URL is the same after a restart on the same port, and known without a server', async () => {
  const data = fresh();
  const first = await ServerProcess.start({ data });
  const { url } = first;
  assert.match(url, /^buri:\/\/127\.0\.0\.1:[0-9]+#[A-Za-z0-9_-]{43}$/);
  assert.equal((await first.operate('url')).url, url);
  assert.equal(await first.stop('SIGTERM'), 0);
  assert.ok(!existsSync(join(data, 'admin.sock')));
  const offline = await buri('server', 'url', '--data', data);
  assert.equal(offline.stdout, `${url}\n`);
  await using second = await ServerProcess.start({ data });
  assert.equal(second.url.split('#')[1], url.split('#')[1]);
});

test('a clean end tells clients to come back, and nobody that they are gone', async () => {
  const data = fresh();
  const args = ['--enrol', 'open'];
  const server = await ServerProcess.start({ data, args });
  const anna = await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') });
  const network = await anna.create('lan');
  const bert = await ControlClient.login({ url: server.url, keys: new DeviceKeys('bert') });
  await bert.join('lan');
  await anna.next((message) => message.t === 'delta');
  const stopped = server.stop('SIGINT');
  assert.equal(await anna.closed(), 1012);
  assert.equal(await stopped, 0);
  assert.equal(anna.last('presence'), undefined);
  await using second = await ServerProcess.start({ data, args });
  await using back = await ControlClient.login({ url: second.url, keys: new DeviceKeys('anna') });
  const view = await back.next((message) => message.t === 'view');
  assert.ok(view.t === 'view' && view.network === network);
  const presence = view.members.find((member) => member.clientId === bert.clientId)?.presence;
  assert.equal(presence, 'unconfirmed');
});

test('a second server on the same directory is refused', async () => {
  const data = fresh();
  await using _server = await ServerProcess.start({ data });
  assert.match(await failing('--data', data), /another server is using/);
});

test('a port in use is named, for control and for STUN', async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as AddressInfo;
  const data = fresh();
  const args = ['--data', data, '--public', '127.0.0.1'];
  const control = await buri('server', ...args, '--listen', `127.0.0.1:${port}`, '--stun', 'none');
  assert.equal(control.code, 1);
  assert.match(control.stderr, new RegExp(`127\\.0\\.0\\.1:${port}.*--listen`));
  holder.close();
  await using server = await ServerProcess.start();
  const stun = `127.0.0.1:${server.stunPorts[0]}`;
  const udp = await buri('server', ...args, '--listen', '127.0.0.1:0', '--stun', stun);
  assert.equal(udp.code, 1);
  assert.match(udp.stderr, new RegExp(`${stun}.*--stun`));
  const elsewhere = await buri('server', ...args, '--listen', '192.0.2.1:0', '--stun', 'none');
  assert.match(elsewhere.stderr, /no address of this machine/);
});

test('bad options are named', async () => {
  const data = fresh();
  assert.match(await failing('--data', data, '--pool4', '10.0.0.1/8'), /--pool4 10\.0\.0\.1\/8/);
  for (const [store, said] of [
    ['mysql://user:pass@h/d', /sqlite:PATH or in postgres/],
    ['postgres://user:pass@h/d?sslmode=x', /sslmode/],
  ] as const) {
    const text = await failing('--data', data, '--store', store);
    assert.match(text, said);
    assert.doesNotMatch(text, /pass/);
  }
  assert.match(await failing('--data', data, '--fabric', 'nats://h'), /--store postgres/);
  assert.match(await failing('--data', data, '--public', 'a:b:c'), /--public/);
  for (const args of [
    [],
    ['--data', data, '--enrol', 'x'],
    ['--data', data, '--grace', 'x'],
    ['--data', data, '--tls-cert', 'x'],
    ['extra', '--data', data],
  ]) {
    const result = await buri('server', ...args);
    assert.equal(result.code, 2, `${args}: ${result.stderr}`);
  }
});

test('a directory that cannot be written is refused: a file, a read-only file system', async () => {
  const file = fresh();
  writeFileSync(file, '');
  assert.match(await failing('--data', file), /no directory/);
  using disk = new SmallDisk(1, 'ro');
  assert.match(await failing('--data', join(disk.path, 'data')), /read-only/);
});

test('a full disk is refused at start', async () => {
  using disk = new SmallDisk(1);
  disk.fill();
  assert.match(await failing('--data', join(disk.path, 'data')), /no space|disk is full/);
});

test('a disk that fills up while it runs: refusals, nothing lost, and it goes on when there is room', async () => {
  using disk = new SmallDisk(4);
  await using server = await ServerProcess.start({
    data: join(disk.path, 'data'),
    args: ['--enrol', 'open'],
  });
  await using anna = await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') });
  const made = [await anna.create('kept')];
  disk.fill();
  made.push(...(await createUntilRefused(anna)));
  disk.makeRoom();
  made.push(await anna.create('there is room again'));
  const { networks } = (await server.operate('networks')) as { networks: { id: string }[] };
  assert.deepEqual(networks.map(({ id }) => id).sort(), made.sort());
});

test('a damaged or missing cluster key is an error, never a new key', async () => {
  const data = fresh();
  await (await ServerProcess.start({ data })).stop();
  const path = join(data, 'cluster.key');
  const key = readFileSync(path);
  writeFileSync(path, 'damaged');
  assert.match(await failing('--data', data), /does not hold a key/);
  assert.equal(readFileSync(path, 'utf8'), 'damaged');
  rmSync(path);
  assert.match(await failing('--data', data), /missing.*backup/);
  assert.ok(!existsSync(path));
  writeFileSync(path, `${Buffer.alloc(32, 7).toString('base64url')}\n`);
  assert.match(await failing('--data', data), /not the key of this database/);
  writeFileSync(path, key);
  chmodSync(path, 0o644);
  await (await ServerProcess.start({ data })).stop();
  assert.equal(statSync(path).mode & 0o777, 0o600, 'tightened');
});

test('another pool than the one in use is refused', async () => {
  const data = fresh();
  const server = await ServerProcess.start({ data, args: ['--enrol', 'open'] });
  await (await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') }))[
    Symbol.asyncDispose
  ]();
  await server.stop();
  assert.match(await failing('--data', data, '--pool4', '10.0.0.0/8'), /use the pool of before/);
});
