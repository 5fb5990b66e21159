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
  return { client, store };
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
