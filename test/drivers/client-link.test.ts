import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { test } from 'node:test';
import { type ControlConnection, connect } from '#client/control-connection.ts';
import type { ControlError } from '#client/control-error.ts';
import { ControlLink, type LinkHandlers } from '#client/control-link.ts';
import { encodeCbor } from '#wire/cbor.ts';
import { decodeClientMessage, type ServerMessage } from '#wire/control.ts';
import { waitFor } from '../../lab/wait.ts';
import { Random } from '../../sim/random.ts';
import { keyOf } from '../support/cluster.ts';
import {
  connectOptions,
  FakeControlServer,
  type FakeServerOptions,
  helloReply,
  nodeCertificate,
  welcome,
} from '../support/fake-control-server.ts';

async function refusalOf(fake: FakeServerOptions, pin?: Uint8Array): Promise<ControlError> {
  await using server = await FakeControlServer.start(fake);
  const error = await connect(connectOptions(server.url, pin)).then(
    () => assert.fail('it connected'),
    (caught) => caught as ControlError,
  );
  assert.ok(error.message.length > 10 && error.message.length < 400, error.message);
  return error;
}

test('hello, handshake and login lead to a welcome, and messages that came with it are not lost', async () => {
  const presence: ServerMessage = {
    t: 'presence',
    network: '100-000-001',
    clientId: '000-000-002',
    presence: 'online',
  };
  await using server = await FakeControlServer.start({
    onLogin: (connection) => {
      connection.send(welcome());
      for (let i = 0; i < 100; i++) connection.send(presence);
    },
  });
  const connection = await connect(connectOptions(server.url));
  assert.equal(connection.welcome.clientId, '000-000-001');
  assert.equal(connection.serverAddress, '127.0.0.1');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const received: ServerMessage[] = [];
  const all = Promise.withResolvers<void>();
  connection.start({
    onMessage: (message) => {
      received.push(message);
      if (received.length === 100) all.resolve();
    },
    onClosed: (error) => all.reject(error),
  });
  await all.promise;
  assert.deepEqual(received[99], presence);
  await connection.close();
});

test('a server that cannot be believed or understood is refused with its own reason', async (t) => {
  const soon = Date.now() + 3_600_000;
  const cases: [string, string, FakeServerOptions, Uint8Array?][] = [
    ['another cluster key than the pinned one', 'server-key-mismatch', {}, keyOf('another')],
    [
      'a certificate that the cluster did not sign',
      'server-certificate-invalid',
      { reply: helloReply({ certificate: nodeCertificate({}, keyOf('mallory')) }) },
    ],
    [
      'an expired certificate',
      'server-certificate-invalid',
      { reply: helloReply({ certificate: nodeCertificate({ notAfter: Date.now() - 1 }) }) },
    ],
    [
      'a certificate of the future',
      'server-certificate-invalid',
      { reply: helloReply({ certificate: nodeCertificate({ notBefore: soon }) }) },
    ],
    [
      'a certificate for a key that the server does not hold',
      'connection-lost',
      { reply: helloReply({ certificate: nodeCertificate({ nodeKey: keyOf('stolen') }) }) },
    ],
    ['a forged handshake', 'server-certificate-invalid', { noise: new Uint8Array(48) }],
    ['a short handshake', 'server-certificate-invalid', { noise: new Uint8Array(3) }],
    [
      'a version that is not spoken here',
      'version-unsupported',
      { reply: encodeCbor({ t: 'unsupported', versions: [7, 8] }) },
    ],
    ['an answer in another version', 'version-unsupported', { reply: helloReply({ version: 9 }) }],
    ['nonsense', 'not-a-buri-server', { reply: new Uint8Array(100) }],
    ['no bytes', 'not-a-buri-server', { reply: new Uint8Array(0) }],
    [
      'a refused login',
      'token-required',
      {
        onLogin: (connection) =>
          connection.send({
            t: 'refused',
            error: { code: 'token-required', message: 'a token is needed' },
          }),
      },
    ],
    [
      'an end after the login',
      'connection-lost',
      { onLogin: (connection) => connection.socket.close() },
    ],
    [
      'another message than welcome',
      'protocol-error',
      { onLogin: ({ send }) => send({ t: 'ping', id: 1, serverTime: 1 }) },
    ],
    [
      'a time that its own certificate does not reach',
      'server-certificate-invalid',
      {
        onLogin: ({ send }) =>
          send({ ...welcome(), serverTime: Date.now() + 2 * 86_400_000 } as ServerMessage),
      },
    ],
    ['a text message', 'not-a-buri-server', { onLogin: ({ socket }) => socket.send('hello') }],
  ];
  for (const [name, code, fake, pin] of cases) {
    await t.test(name, async () => {
      assert.equal((await refusalOf(fake, pin)).code, code);
    });
  }
});

test('a busy server says when to come back; any other answer is no Buri server', async () => {
  for (const [answer, code, retryAfterMs] of [
    ['503 Busy\r\nretry-after: 5', 'server-busy', 5000],
    ['503 Busy', 'server-busy', undefined],
    ['503 Busy\r\nretry-after: 99999999', 'server-busy', undefined],
    ['404 Not Found', 'not-a-buri-server', undefined],
  ] as const) {
    await using server = createHttpServer();
    server.on('upgrade', (_request, socket) => socket.end(`HTTP/1.1 ${answer}\r\n\r\n`));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const error = await connect(connectOptions(`buri://127.0.0.1:${port}`)).then(
      () => assert.fail('it connected'),
      (caught) => caught as ControlError,
    );
    assert.deepEqual([error.code, error.retryAfterMs], [code, retryAfterMs], answer);
  }
});

test('random, truncated and edited frames end the connection and nothing else', async () => {
  const random = new Random('frames');
  const bytes = (length: number) => Uint8Array.from({ length }, () => random.below(256));
  for (let round = 0; round < 60; round++) {
    await using server = await FakeControlServer.start({
      onLogin: ({ send, socket, channel }) => {
        send(welcome());
        const frame = channel.seal(encodeCbor({ t: 'ping', id: 1, serverTime: 5 }))[0]!;
        const harm = round % 4;
        if (harm === 0) socket.send(bytes(random.below(2000)));
        if (harm === 1) socket.send(frame.subarray(0, random.below(frame.length)));
        if (harm === 2) {
          frame[random.below(frame.length)]! ^= 1 << random.below(8);
          socket.send(frame);
        }
        // Rightly sealed, wrong inside.
        if (harm === 3)
          for (const part of channel.seal(bytes(1 + random.below(200)))) socket.send(part);
      },
    });
    const connection = await connect(connectOptions(server.url));
    const reason = await new Promise<ControlError>((onClosed) => {
      connection.start({ onMessage: () => {}, onClosed });
    });
    assert.equal(reason.code, 'protocol-error', `round ${round}`);
  }
});

test('what answers but is no Buri server is called so', async () => {
  const http = createHttpServer((_, response) => response.writeHead(404).end());
  const tcp = createTcpServer((socket) => socket.end('220 mail.example.org ESMTP\r\n'));
  for (const server of [http, tcp]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await assert.rejects(
      connect(connectOptions(`buri://127.0.0.1:${port}`)),
      (error: ControlError) => ['not-a-buri-server', 'server-unreachable'].includes(error.code),
    );
    server.close();
  }
  await assert.rejects(connect(connectOptions('buri://127.0.0.1:1')), {
    code: 'server-unreachable',
  });
  await assert.rejects(connect(connectOptions('buri://no-such-name.invalid:1')), {
    code: 'server-unreachable',
  });
});

test('an attempt that is given up ends at once', async () => {
  const silent = createTcpServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const given = new AbortController();
  const attempt = connect({ ...connectOptions(`buri://127.0.0.1:${port}`), signal: given.signal });
  given.abort();
  await assert.rejects(attempt, { code: 'connection-lost' });
  silent.close();
});

test('attempts leave nothing behind on the signal that outlives them', async () => {
  const { signal } = new AbortController();
  await assert.rejects(connect({ ...connectOptions('buri://127.0.0.1:1'), signal }), {
    code: 'server-unreachable',
  });
  assert.equal(getEventListeners(signal, 'abort').length, 0, 'after an attempt that failed');
  await using server = await FakeControlServer.start({ onLogin: ({ send }) => send(welcome()) });
  const connection = await connect({ ...connectOptions(server.url), signal });
  await connection.close();
  assert.equal(getEventListeners(signal, 'abort').length, 0, 'after a connection that ended');
});

/** A link to the URL, with its events as promises. */
function linkTo(url: string, pin?: Uint8Array) {
  const connected: ControlConnection[] = [];
  const lost: ControlError[] = [];
  const messages: ServerMessage[] = [];
  let wake = () => {};
  const handlers: LinkHandlers = {
    options: () => {
      const { signal: _, ...rest } = connectOptions(url, pin);
      return rest;
    },
    onConnected: (connection) => {
      connected.push(connection);
      wake();
    },
    onMessage: (message) => {
      messages.push(message);
      wake();
    },
    onLost: (error) => {
      lost.push(error);
      wake();
    },
  };
  const link = new ControlLink(handlers);
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { link, connected, lost, messages, until };
}

test('a link that is lost comes back by itself, and requests in flight fail with the reason', async () => {
  let logins = 0;
  await using server = await FakeControlServer.start({
    onLogin: (connection) => {
      connection.send(welcome());
      if (++logins === 1) connection.socket.once('message', () => connection.socket.terminate());
    },
  });
  const { link, connected, lost, until } = linkTo(server.url);
  link.start();
  await until(() => connected.length === 1);
  await assert.rejects(link.request({ op: 'set-nick', nick: 'x' }), { code: 'connection-lost' });
  await until(() => connected.length === 2);
  assert.equal(lost.length, 1);
  assert.equal(link.state.kind, 'connected');
  await link.stop();
  assert.equal(link.state.kind, 'stopped');
  await assert.rejects(link.request({ op: 'set-nick', nick: 'x' }), { code: 'not-connected' });
});

test('after a sleep, or with the address gone, the next attempt does not wait', async () => {
  await using server = await FakeControlServer.start({
    onLogin: (connection) => connection.send(welcome()),
  });
  const { link, connected, lost, until } = linkTo(server.url);
  link.start();
  for (const count of [1, 2, 3]) {
    await until(() => connected.length === count);
    link.renew();
    // Once is enough: an attempt is under way.
    link.renew();
    const { state } = link;
    assert.ok(state.kind === 'waiting' ? state.retryAt <= performance.now() : true, state.kind);
  }
  await until(() => connected.length === 4);
  assert.equal(lost.length, 3);
  assert.equal(server.connections, 4);
  await link.stop();
});

test('requests are answered by number, whatever their order; a refusal keeps its code', async () => {
  await using server = await FakeControlServer.start({
    onLogin: ({ send, socket }) => {
      send(welcome());
      let seen = 0;
      socket.on('message', () => {
        if (++seen < 3) return;
        send({ t: 'response', id: 3, result: { ok: true, network: '100-000-003' } });
        send({ t: 'response', id: 99, result: { ok: true } });
        send({
          t: 'response',
          id: 2,
          result: { ok: false, error: { code: 'name-taken', message: 'taken' } },
        });
        send({ t: 'response', id: 1, result: { ok: true, network: '100-000-001' } });
      });
    },
  });
  const { link, connected, until } = linkTo(server.url);
  link.start();
  await until(() => connected.length === 1);
  const leave = (network: string) => link.request({ op: 'leave', network });
  const [first, second, third] = await Promise.allSettled([
    leave('100-000-001'),
    leave('100-000-002'),
    leave('100-000-003'),
  ]);
  assert.equal(first.status === 'fulfilled' && first.value.network, '100-000-001');
  assert.equal(second.status === 'rejected' && second.reason.code, 'name-taken');
  assert.equal(third.status === 'fulfilled' && third.value.network, '100-000-003');
  await link.stop();
});

test('a server whose time leaves its certificate behind must log this client in anew', async () => {
  await using server = await FakeControlServer.start({
    onLogin: ({ send }) => {
      send(welcome());
      send({ t: 'ping', id: 1, serverTime: Date.now() + 2 * 86_400_000 });
    },
  });
  const { link, lost, messages, until } = linkTo(server.url);
  link.start();
  await until(() => lost.length === 1);
  assert.equal(lost[0]?.code, 'connection-lost');
  assert.deepEqual(messages, []);
  await link.stop();
});

test('a wrong key is no reason to storm the server', async () => {
  await using server = await FakeControlServer.start({});
  const { link, lost, until } = linkTo(server.url, keyOf('another'));
  link.start();
  await until(() => lost.length === 1);
  const { state } = link;
  assert.equal(state.kind, 'waiting');
  assert.equal(lost[0]?.code, 'server-key-mismatch');
  assert.ok(state.kind === 'waiting' && state.retryAt - performance.now() > 20_000);
  assert.equal(server.connections, 1);
  await link.stop();
});

test('a server that is about to end answers what it was asked, and what is asked meanwhile goes to the next', async () => {
  const answered: string[] = [];
  let logins = 0;
  await using server = await FakeControlServer.start({
    onLogin: (connection) => {
      const number = ++logins;
      connection.send(welcome());
      connection.socket.on('message', (data: Buffer) => {
        const opened = connection.channel.open(new Uint8Array(data));
        if (opened.kind !== 'message') return;
        const asked = decodeClientMessage(opened.bytes);
        if (typeof asked === 'string' || asked.t !== 'request') return;
        const answer = () => {
          answered.push(`${number}`);
          connection.send({ t: 'response', id: asked.id, result: { ok: true } });
        };
        if (number > 1) answer();
        else {
          connection.send({ t: 'moving' });
          setTimeout(answer, 300);
        }
      });
    },
  });
  const lost: string[] = [];
  const link = new ControlLink({
    options: () => connectOptions(server.url),
    onConnected: () => {},
    onMessage: () => {},
    onLost: (error) => lost.push(error.code),
  });
  link.start();
  try {
    await waitFor('a connection', () => link.state.kind === 'connected');
    const first = link.request({ op: 'set-nick', nick: 'first' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const second = link.request({ op: 'set-nick', nick: 'second' });
    await Promise.all([first, second]);
    assert.deepEqual(answered, ['1', '2']);
    assert.deepEqual(lost, ['connection-lost'], 'once');
  } finally {
    await link.stop();
  }
});

test('servers that all end right after the login are not gone through at any pace', async () => {
  await using server = await FakeControlServer.start({
    onLogin: ({ send }) => {
      send(welcome());
      send({ t: 'moving' });
    },
  });
  const link = new ControlLink({
    options: () => connectOptions(server.url),
    onConnected: () => {},
    onMessage: () => {},
    onLost: () => {},
  });
  link.start();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await link.stop();
  assert.ok(
    server.connections >= 4 && server.connections <= 6,
    `${server.connections} connections`,
  );
});
