/** The control connection of a standalone relay against the real server process. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RelayControl, type RelayState } from '#client/relay-control.ts';
import { parseServerUrl } from '#client/server-url.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { RelayRevocation } from '#wire/relay-control.ts';
import { relayCapability } from '#wire/relay-control.ts';
import { signDocument } from '#wire/signed.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { clusterKey, clusterSeed, FakeControlServer } from '../support/fake-control-server.ts';
import { ServerProcess } from '../support/server-process.ts';

let server: ServerProcess;
before(async () => {
  server = await ServerProcess.start({
    args: ['--grace', '1.5', '--enrol', 'open', '--roles', 'control,stun'],
  });
});
after(() => server[Symbol.asyncDispose]());

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 20_000; !holds(); await sleep(20))
    if (performance.now() > end) throw new Error(`${what} did not come about`);
}

test('a relay logs in, hears what is revoked, tells new addresses, and says goodbye', async (t) => {
  const { token } = await server.operate('token', 'create', '--relay');
  const revoked: RelayRevocation[] = [];
  const states: RelayState[] = [];
  const errors: string[] = [];
  let key: Uint8Array | undefined;
  const offer = { udp: ['0.0.0.0:9'], ws: [], capacity: { allocations: 1, bytesPerSecond: 1e6 } };
  const url = parseServerUrl(server.url);
  const control = new RelayControl(
    {
      ...{ crypto, url, pin: undefined, offer, token: token as string },
      privateKey: crypto.random(32),
    },
    {
      onConnected: (clusterKey, state) => {
        key = clusterKey;
        states.push(state);
      },
      onLost: (error) => errors.push(error.code),
      onRevoked: (list) => revoked.push(...list),
      onState: (state) => states.push(state),
      onServerTime: (time) => assert.ok(Math.abs(time - Date.now()) < 60_000),
    },
  );
  t.after(() => control.stop());
  control.start();
  await until(() => control.isConnected, 'the login');
  assert.deepEqual(key, url.clusterKey);
  assert.equal(states[0]?.state, 'listed');
  await using anna = await ControlClient.login({
    ...{ url: server.url, keys: new DeviceKeys('anna'), capabilities: [relayCapability] },
  });
  const listed = () => anna.last('relays')?.relays.map(({ udp }) => udp.join());
  await until(() => listed()?.join() === '0.0.0.0:9', 'the list');
  control.offer({ ...offer, udp: ['0.0.0.0:10'] });
  await until(() => listed()?.join() === '0.0.0.0:10', 'the new address');
  const bert = await ControlClient.login({ url: server.url, keys: new DeviceKeys('bert') });
  await server.operate('remove', bert.clientId);
  await until(() => revoked.length > 0, 'the revocation');
  assert.equal(revoked[0]?.clientId, bert.clientId);
  await bert.closed();
  await control.stop();
  await until(() => listed()?.length === 0, 'the empty list');
  assert.deepEqual(errors, []);
});

test('a relay goes on to another node, also when it starts anew and its first one is gone', async (t) => {
  const asked: string[] = [];
  let nodeList: Uint8Array | undefined;
  const node = (name: string) =>
    FakeControlServer.start({
      onLogin: ({ send }) => {
        asked.push(name);
        const state = { t: 'relay-state', id: 'r-1', state: 'listed' } as const;
        send({ ...state, unreachable: [], serverTime: Date.now(), ...(nodeList && { nodeList }) });
      },
    });
  const first = await node('first');
  const url = parseServerUrl(first.url);
  await using second = await node('second');
  nodeList = signDocument(
    'node-list',
    {
      ...{ serial: 1, issuedAt: 0, notAfter: 1 },
      nodes: [first, second].map(({ url }, i) => ({
        ...{ nodeId: `n${i}`, control: [url], stun: [], relay: [] },
      })),
    },
    (message) => crypto.ed25519Sign(clusterSeed, message),
  );
  let known: Uint8Array | undefined;
  const start = () => {
    const control = new RelayControl(
      {
        ...{ crypto, url, pin: clusterKey, token: undefined },
        ...{ privateKey: crypto.random(32), nodeList: known },
        offer: { udp: [], ws: [], capacity: { allocations: 1, bytesPerSecond: 1e6 } },
      },
      {
        onConnected: (_key, state) => {
          known = state.nodeList;
        },
        onLost: () => {},
        onRevoked: () => {},
        onState: () => {},
        onServerTime: () => {},
      },
    );
    t.after(() => control.stop());
    control.start();
    return control;
  };
  const control = start();
  await until(() => control.isConnected, 'the login');
  await first[Symbol.asyncDispose]();
  await until(() => asked.length === 2 && control.isConnected, 'a login elsewhere');
  await control.stop();
  const again = start();
  await until(() => again.isConnected, 'a login after the restart');
  assert.deepEqual(asked, ['first', 'second', 'second']);
});

test('a relay without a token is told so, and goes on trying', async () => {
  const errors: string[] = [];
  const control = new RelayControl(
    {
      ...{ crypto, url: parseServerUrl(server.url), pin: undefined, token: undefined },
      privateKey: crypto.random(32),
      offer: { udp: [], ws: [], capacity: { allocations: 1, bytesPerSecond: 1e6 } },
    },
    {
      onConnected: () => assert.fail('it is not known'),
      onLost: ({ code }) => errors.push(code),
      onRevoked: () => {},
      onState: () => {},
      onServerTime: () => {},
    },
  );
  control.start();
  await until(() => errors.length >= 2, 'a second attempt');
  assert.ok(
    errors.every((code) => code === 'token-required'),
    errors.join(),
  );
  await control.stop();
});
