/** Control connections through HTTP proxies, good and bad, on real sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { connect } from '#client/control-connection.ts';
import type { ControlError } from '#client/control-error.ts';
import { isRefusal } from '#client/control-link.ts';
import { chooseProxy } from '#client/proxy.ts';
import { openWebSocket } from '#client/web-socket.ts';
import { connectOptions, FakeControlServer, welcome } from '../support/fake-control-server.ts';
import { FakeProxy } from '../support/http-proxy.ts';
import { selfSigned } from '../support/self-signed.ts';

const login = 'anna:geheim%21';
const loginHeader = `Basic ${Buffer.from('anna:geheim!').toString('base64')}`;

const options = (url: string, proxy: string, signal = new AbortController().signal) => ({
  ...connectOptions(url),
  proxies: chooseProxy(proxy, {}),
  signal,
});

const failureOf = (attempt: Promise<unknown>): Promise<ControlError> =>
  attempt.then(
    () => assert.fail('it connected'),
    (error) => error as ControlError,
  );

test('a login goes through a proxy, with user and password, and ends there too', async () => {
  await using server = await FakeControlServer.start({ onLogin: ({ send }) => send(welcome()) });
  await using proxy = await FakeProxy.start();
  const connection = await connect(options(server.url, `http://${login}@127.0.0.1:${proxy.port}`));
  assert.equal(connection.welcome.clientId, '000-000-001');
  // That of the server's URL, not that of the proxy, which is the same here by chance only.
  assert.equal(connection.serverAddress, '127.0.0.1');
  assert.match(proxy.heads[0] ?? '', new RegExp(`\\r\\nProxy-Authorization: ${loginHeader}\\r\\n`));
  await connection.close();
  while (proxy.open > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('behind a proxy a server known by name only has no address', async () => {
  await using server = await FakeControlServer.start({ onLogin: ({ send }) => send(welcome()) });
  await using proxy = await FakeProxy.start();
  const named = server.url.replace('127.0.0.1', 'localhost');
  const connection = await connect(options(named, `http://127.0.0.1:${proxy.port}`));
  assert.equal(connection.serverAddress, undefined);
  assert.match(proxy.heads[0] ?? '', /^CONNECT localhost:/, 'the proxy looks the name up');
  await connection.close();
});

test('TLS goes through a proxy from end to end', async (t) => {
  const certificate = selfSigned();
  const https = createHttpsServer(certificate).listen(0, '127.0.0.1');
  await once(https, 'listening');
  const sockets = new WebSocketServer({ server: https });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  t.after(() => {
    for (const client of sockets.clients) client.terminate();
    https.close();
  });
  await using proxy = await FakeProxy.start();
  const { port } = https.address() as AddressInfo;
  const choice = chooseProxy(`127.0.0.1:${proxy.port}`, {});
  const socket = openWebSocket(`wss://127.0.0.1:${port}/v1/relay`, choice, {});
  await once(socket, 'open');
  socket.send(Buffer.from('hello'));
  const [answer] = await once(socket, 'message');
  assert.equal(String(answer), 'hello');
  socket.terminate();
});

test('each thing that a proxy can do wrong has its own reason, which tells no password', async (t) => {
  const refusing = (text: string) => () => text;
  const endless = (_: string, socket: Socket) => {
    const more = () => socket.write(`X-Filler: ${'x'.repeat(1000)}\r\n`);
    const timer = setInterval(more, 1);
    socket.on('close', () => clearInterval(timer));
    return 'HTTP/1.1 200 OK\r\n';
  };
  const hangUp = (_: string, socket: Socket) => {
    socket.end();
    return '';
  };
  const cases: [string, string, RegExp, (head: string, socket: Socket) => string | undefined][] = [
    [
      'a wrong password',
      'proxy-authentication',
      /does not accept/,
      refusing('HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n'),
    ],
    [
      'NTLM only',
      'proxy-authentication',
      /ntlm.*Basic only/,
      refusing('HTTP/1.1 407 Auth\r\nProxy-Authenticate: NTLM\r\n\r\n'),
    ],
    [
      'a filter',
      'proxy-refused',
      /403 Filtered.*443/,
      refusing('HTTP/1.1 403 Filtered\r\n\r\n<html>'),
    ],
    ['no way to the server', 'proxy-refused', /502/, refusing('HTTP/1.1 502 Bad Gateway\r\n\r\n')],
    ['garbage', 'proxy-broken', /no HTTP proxy/, refusing('\x00\x01SSH-2.0-OpenSSH\r\n')],
    ['endless headers', 'proxy-broken', /longer than/, endless],
    ['no answer', 'proxy-broken', /without an answer/, hangUp],
    [
      'no Buri server behind',
      'not-a-buri-server',
      /no Buri server/,
      refusing('HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'),
    ],
    [
      'an end behind',
      'server-unreachable',
      /cannot reach/,
      (_, socket) => {
        socket.end('HTTP/1.1 200 OK\r\n\r\n');
        return '';
      },
    ],
  ];
  for (const [name, code, words, answer] of cases) {
    await t.test(name, async () => {
      await using proxy = await FakeProxy.start({ answer });
      const url = `http://${login}@127.0.0.1:${proxy.port}`;
      const error = await failureOf(connect(options('buri://192.0.2.1:8443', url)));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, words);
      assert.ok(!/geheim/.test(`${error.stack}${JSON.stringify(error)}`));
      assert.equal(isRefusal(error), code === 'not-a-buri-server');
      while (proxy.open > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    });
  }
});

test('a proxy that is not there is said to be so', async () => {
  const proxy = await FakeProxy.start();
  const { port } = proxy;
  await proxy[Symbol.asyncDispose]();
  const error = await failureOf(connect(options('buri://192.0.2.1', `127.0.0.1:${port}`)));
  assert.equal(error.code, 'proxy-unreachable');
  assert.match(error.message, /nothing listens there/);
});

test('an attempt that is given up leaves nothing at the proxy', async () => {
  await using proxy = await FakeProxy.start({ answer: () => '' });
  const ending = new AbortController();
  const attempt = failureOf(
    connect(options('buri://192.0.2.1', `127.0.0.1:${proxy.port}`, ending.signal)),
  );
  while (proxy.heads.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  ending.abort();
  assert.equal((await attempt).code, 'connection-lost');
  while (proxy.open > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});
