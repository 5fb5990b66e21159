/** Operators' verbs, tokens, presence and resumption against the real process. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { ServerMessageOf } from '#wire/control.ts';
import { ControlClient, DeviceKeys, RefusedError } from '../support/control-client.ts';
import { buri, ServerProcess } from '../support/server-process.ts';

let server: ServerProcess;
let token: string;
before(async () => {
  server = await ServerProcess.start({ args: ['--grace', '1.5'] });
  token = await server.token();
});
after(async () => {
  await server[Symbol.asyncDispose]();
});

const login = (name: string, rest: object = {}) =>
  ControlClient.login({ url: server.url, keys: new DeviceKeys(name), login: { token, ...rest } });
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof RefusedError, `refused, not ${error}`);
  return error.code;
};
const isPresence =
  (clientId: string, presence: string) =>
  (message: { t: string }): message is ServerMessageOf<'presence'> => {
    const candidate = message as ServerMessageOf<'presence'>;
    return (
      message.t === 'presence' && candidate.clientId === clientId && candidate.presence === presence
    );
  };

test('a token enrols as many devices as it says, until it expires or is revoked', async () => {
  const refused = (name: string, given?: string) =>
    codeOf(
      ControlClient.login({
        url: server.url,
        keys: new DeviceKeys(name),
        ...(given === undefined ? {} : { login: { token: given } }),
      }),
    );
  assert.equal(await refused('tokenless'), 'token-required');
  assert.equal(await refused('guesser', 'buri-guess'), 'token-invalid');
  const once = (await server.operate('token', 'create')) as { token: string; id: string };
  await (await login('once', { token: once.token }))[Symbol.asyncDispose]();
  assert.equal(await refused('twice', once.token), 'token-used-up');
  const short = await server.operate('token', 'create', '--expires', '1s');
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.equal(await refused('late', short.token as string), 'token-expired');
  const many = await server.operate('token', 'create', '--uses', 'any', '--expires', 'never');
  await server.operate('token', 'revoke', many.id as string);
  assert.equal(await refused('revoked', many.token as string), 'token-invalid');
  const { tokens } = (await server.operate('token', 'list')) as {
    tokens: { id: string; state: string; uses: number }[];
  };
  const states = Object.fromEntries(tokens.map(({ id, state }) => [id, state]));
  assert.equal(states[once.id], 'used-up');
  assert.equal(states[short.id as string], 'expired');
  assert.equal(states[many.id as string], 'revoked');
});

test('tables for people, one line of JSON for programs, clear errors', async () => {
  await using anna = await login('anna the first');
  await anna.create('table network');
  const run = (...words: readonly string[]) => buri('server', ...words, '--data', server.data);
  const clients = await run('clients');
  assert.match(clients.stdout, new RegExp(`${anna.clientId} +online +anna the first`));
  const networks = await run('networks');
  assert.match(networks.stdout, /table network +mesh +1 +0 +anna the first/);
  assert.match((await run('url')).stdout, /^buri:\/\/\S+#\S{43}\n$/);
  assert.match((await run('token', 'create')).stdout, /^buri-[a-z2-9]{32}\n$/);
  const unknown = await run('remove', '123-456-789', '--json');
  assert.equal(unknown.code, 1);
  assert.equal(JSON.parse(unknown.stdout).error.code, 'client-not-found');
  for (const words of [
    ['remove', 'nonsense'],
    ['remove'],
    ['token', 'create', '--uses', '0'],
    ['token', 'create', '--expires', 'soon'],
    ['nonsense'],
  ])
    assert.equal((await run(...words)).code, 2, `${words}`);
  const nowhere = await buri('server', 'clients', '--data', '/nonexistent/buri');
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.stderr, /there is no/);
});

test('status says what runs and what was refused', async () => {
  await using client = await login('counted');
  client.sendBytes(new Uint8Array([1]));
  await client.closed();
  const status = (await server.operate('status')) as {
    running: boolean;
    url: string;
    faults: Record<string, number>;
  };
  assert.equal(status.running, true);
  assert.equal(status.url, server.url);
  assert.ok(status.faults['malformed-message']! >= 1);
});

test('remove beside the running server: the client is told and gone, its peers get a revocation', async () => {
  await using anna = await login('remover');
  const network = await anna.create('removals');
  const bert = await login('removed');
  await bert.join('removals');
  await server.operate('remove', bert.clientId);
  const refused = await bert.next((message) => message.t === 'refused');
  assert.ok(refused.t === 'refused' && refused.error.code === 'client-removed');
  assert.equal(await bert.closed(), 1008);
  await anna.next(
    (message) => message.t === 'delta' && message.changes.some((change) => change.op === 'gone'),
  );
  const { clients } = (await server.operate('clients')) as { clients: { clientId: string }[] };
  assert.ok(!clients.some(({ clientId }) => clientId === bert.clientId));
  assert.equal(
    await codeOf(login('removed', { token: 'none' })),
    'token-invalid',
    'a stranger now',
  );
  assert.ok(network);
});

test('a lost client is unconfirmed, then offline; one that logs out is offline at once', async () => {
  await using anna = await login('watcher');
  await anna.create('presence');
  const bert = await login('leaver');
  await bert.join('presence');
  const id = bert.clientId;
  bert.terminate();
  await anna.next(isPresence(id, 'unconfirmed'));
  const started = performance.now();
  await anna.next(isPresence(id, 'offline'));
  const tookMs = performance.now() - started;
  assert.ok(tookMs > 1_300 && tookMs < 4_000, `${tookMs} ms`);
  const again = await login('leaver');
  await anna.next(isPresence(id, 'online'));
  anna.received.length = 0;
  again.send({ t: 'logout' });
  await anna.next(isPresence(id, 'offline'));
  assert.ok(!anna.received.some(isPresence(id, 'unconfirmed')));
  assert.equal(await again.closed(), 1000);
});

test('a client resumes from its revision by a delta', async () => {
  await using anna = await login('resumer');
  const network = await anna.create('resumption');
  const bert = await login('absent');
  await bert.join('resumption');
  const view = await bert.next((message) => message.t === 'view');
  assert.ok(view.t === 'view');
  await bert[Symbol.asyncDispose]();
  await anna.granted({ op: 'set-access', network, locked: true });
  await anna.granted({ op: 'set-nick', nick: 'Renamed' });
  await using back = await login('absent', { known: [{ network, revision: view.revision }] });
  await back.next((message) => message.t === 'synchronised');
  const delta = back.last('delta');
  assert.equal(back.last('view'), undefined);
  assert.deepEqual([delta?.from, delta?.to], [view.revision, view.revision + 2]);
  assert.deepEqual(
    delta?.changes.map((change) => change.op),
    ['facts', 'member'],
  );
});

test('signals reach the other member, with the moment to begin; strangers get nothing', async () => {
  await using anna = await login('caller');
  await anna.create('signals');
  await using bert = await login('callee');
  await bert.join('signals');
  await using carl = await login('stranger');
  const sealed = new Uint8Array([9, 8, 7]);
  anna.send({ t: 'signal', to: bert.clientId, sealed, punch: true });
  const signal = await bert.next(
    (message): message is ServerMessageOf<'signal'> => message.t === 'signal',
  );
  assert.deepEqual([signal.from, [...signal.sealed]], [anna.clientId, [9, 8, 7]]);
  const punch = await anna.next(
    (message): message is ServerMessageOf<'punch'> => message.t === 'punch',
  );
  assert.equal(Math.min(punch.punchInMs, signal.punchInMs!), 0, 'the farther begins at once');
  carl.send({ t: 'signal', to: anna.clientId, sealed, punch: false });
  const undelivered = await carl.next((message) => message.t === 'undelivered');
  assert.ok(undelivered.t === 'undelivered' && undelivered.to === anna.clientId);
});

test('verbs work on the data when no server runs, and lock it meanwhile', async () => {
  const data = server.data;
  const offline = await ServerProcess.start({ args: ['--enrol', 'open'] });
  const bert = await ControlClient.login({ url: offline.url, keys: new DeviceKeys('offline') });
  const id = bert.clientId;
  bert.terminate();
  await offline.stop('SIGKILL');
  assert.ok(existsSync(`${offline.data}/admin.sock`), 'left behind by the kill');
  const { clients } = (await offline.operate('clients')) as { clients: { clientId: string }[] };
  assert.deepEqual(
    clients.map(({ clientId }) => clientId),
    [id],
  );
  assert.ok((await offline.operate('token', 'create')).token);
  await offline.operate('remove', id);
  assert.deepEqual((await offline.operate('clients')).clients, []);
  await offline[Symbol.asyncDispose]();
  assert.ok(data);
});
