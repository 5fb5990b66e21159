/** What happens to a login that is not the only thing that happens: the client over a real disk and connection, no engine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from '#client/client.ts';
import { SystemClock } from '#client/clock.ts';
import type { Device } from '#client/device.ts';
import { Notices } from '#client/notices.ts';
import { noProxy } from '#client/proxy.ts';
import { clusterKeyText } from '#client/server-url.ts';
import type { Sockets } from '#client/sockets.ts';
import { StateStore } from '#client/state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { Engine } from '#engine/engine.ts';
import { clusterKey, FakeControlServer, welcome } from '../support/fake-control-server.ts';

async function clientIn(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'buri-login-'));
  const notices = new Notices(() => {});
  const store = await StateStore.open(join(directory, 'state'), crypto, notices);
  const engine = new Proxy({} as Engine, { get: () => () => undefined });
  const device = { name: 'buri-none', up: async () => {}, down: async () => {} };
  const client = new Client({
    ...{ store, engine, notices },
    device: device as unknown as Device,
    sockets: { list: [], port: 1 } as unknown as Sockets,
    clock: new SystemClock(),
    configuredPort: undefined,
    proxies: noProxy,
    wantsPortMapping: false,
    hardNat: true,
    onFatal: (error) => assert.fail(error),
  });
  t.after(async () => {
    await client.stop();
    await store[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return { client, store, notices };
}

const startFake = (t: TestContext) =>
  FakeControlServer.start({ onLogin: ({ send }) => send(welcome()) }).then((server) => {
    t.after(() => server[Symbol.asyncDispose]());
    return server;
  });

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('a logout ends a login that waits for its server, and the next login is free to begin', async (t) => {
  const { client } = await clientIn(t);
  const silent = createTcpServer(() => {});
  silent.listen(0, '127.0.0.1');
  t.after(() => silent.close());
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const login = client.login({ url: `buri://127.0.0.1:${port}` });
  const second = client.login({ url: `buri://127.0.0.1:${port}` });
  await assert.rejects(second, { code: 'login-in-progress' });
  const cancelled = assert.rejects(login, { code: 'login-cancelled' });
  await client.logout();
  await cancelled;

  const server = await startFake(t);
  const { clientId } = await client.login({ url: server.url });
  assert.equal(clientId, '000-000-001');
});

test('a server that moved to another address is the same server: nothing of its networks is forgotten', async (t) => {
  const { client, store } = await clientIn(t);
  const [before, after] = [await startFake(t), await startFake(t)];
  await client.login({ url: `${before.url}#${clusterKeyText(clusterKey)}` });
  const secret = new Uint8Array(32).fill(7);
  await client.keepSecret('100-000-001', secret);
  await client.login({ url: `${after.url}#${clusterKeyText(clusterKey)}` });
  assert.equal(store.settings.server?.url, after.url);
  assert.deepEqual(store.settings.secrets, { '100-000-001': secret });

  await assert.rejects(client.login({ url: `buri://127.0.0.1:1#${clusterKeyText(clusterKey)}` }), {
    code: 'server-unreachable',
  });
  assert.equal(store.settings.server?.url, after.url);
  await until(() => client.link.state.kind === 'connected');
});

/** Lets everybody in, until it refuses with this code. */
async function refusing(t: TestContext) {
  const refused: { code: string | undefined; count: number } = { code: undefined, count: 0 };
  const connections: { close(): void }[] = [];
  const server = await FakeControlServer.start({
    onLogin: ({ send, socket }) => {
      connections.push(socket);
      const { code } = refused;
      if (code === undefined) return send(welcome());
      refused.count += 1;
      send({ t: 'refused', error: { code, message: `refused: ${code}` } });
    },
  });
  t.after(() => server[Symbol.asyncDispose]());
  const refuse = (code: string | undefined) => {
    refused.code = code;
    for (const connection of connections.splice(0)) connection.close();
  };
  return { url: `${server.url}#${clusterKeyText(clusterKey)}`, refused, refuse };
}

test('a server that does not know the device any more ends nothing: it is asked again, and status says why', async (t) => {
  const { client, store, notices } = await clientIn(t);
  const server = await refusing(t);
  await client.login({ url: server.url });
  const { member } = client;
  await client.keepSecret('100-000-001', new Uint8Array(32));
  for (const code of ['token-required', 'enrolment-closed']) {
    const before = server.refused.count;
    server.refuse(code);
    await until(() => server.refused.count > before && notices.list().length > 0);
    assert.deepEqual(
      notices.list().map((notice) => [notice.code, notice.message]),
      [['login-refused', `refused: ${code}`]],
    );
    assert.equal(client.member, member);
    assert.notEqual(client.link.state.kind, 'stopped');
    await assert.rejects(client.login({ url: server.url, token: 'wrong' }), { code });
    assert.equal(client.member, member, 'nor does a login by hand that fails');
    assert.equal(store.settings.loggedIn, true);
    server.refuse(undefined);
    await until(() => client.link.state.kind === 'connected');
    assert.equal(notices.list().length, 0);
  }
});

test('a device that the operator removed is logged out', async (t) => {
  const { client, store } = await clientIn(t);
  const server = await refusing(t);
  await client.login({ url: server.url });
  server.refuse('client-removed');
  await until(() => client.link.state.kind === 'stopped');
  assert.equal(store.settings.loggedIn, false);
  assert.equal(client.member, undefined);
});
