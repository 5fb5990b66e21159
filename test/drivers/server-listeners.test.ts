/** TLS, IPv6, and connections that never ask for anything. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { decodeStun } from '#wire/stun.ts';
import { encodeBindingRequest } from '#wire/stun-encode.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { commonName, writeSelfSigned } from '../support/self-signed.ts';
import { ServerProcess, temporaryDirectory } from '../support/server-process.ts';

const portOf = (url: string) => Number(/:([0-9]+)#/.exec(url)?.[1]);

test('with a TLS certificate the URL says buris, and a renewed certificate is taken over on SIGHUP', async () => {
  const place = temporaryDirectory('tls');
  const certificate = join(place, 'cert.pem');
  const key = join(place, 'key.pem');
  const make = (name: string) => writeSelfSigned(name, certificate, key);
  try {
    make('first');
    // As with 443 beside 8443: every listener speaks TLS, and takes over what is renewed.
    const other = await freePort();
    const args = ['--tls-cert', certificate, '--tls-key', key, '--enrol', 'open'];
    args.push('--listen', `127.0.0.1:${other}`);
    await using server = await ServerProcess.start({ args });
    assert.match(server.url, /^buris:\/\//);
    const port = portOf(server.url);
    const ports = [port, other];
    for (const each of ports) assert.equal(await commonName(each), 'first');
    await using through = await ControlClient.login({
      url: server.url.replace(/:[0-9]+#/, `:${other}#`),
      keys: new DeviceKeys('other'),
    });
    assert.ok(through.clientId);
    await using client = await ControlClient.login({
      url: server.url,
      keys: new DeviceKeys('tls'),
    });
    assert.ok(client.clientId);
    make('second');
    server.child.kill('SIGHUP');
    let name = 'first';
    for (let attempt = 0; attempt < 50 && name === 'first'; attempt++)
      name = await commonName(port);
    for (const each of ports) assert.equal(await commonName(each), 'second');
    assert.equal(client.closedWith, undefined, 'who is connected stays');
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

test('control and STUN serve IPv6 too, and say so', async () => {
  await using server = await ServerProcess.start({
    args: [
      '--enrol',
      'open',
      '--listen',
      '[::1]:0',
      '--public',
      '::1',
      '--stun',
      '[::1]:0,[::1]:0',
    ],
  });
  const url = server.url;
  assert.match(url, /^buri:\/\/\[::1\]:/);
  const { clients } = await server.operate('clients');
  assert.deepEqual(clients, []);
  const socket = createSocket('udp6');
  await new Promise<void>((resolve) => socket.bind(0, '::1', resolve));
  const answer = new Promise<Buffer>((resolve) => socket.once('message', resolve));
  const request = encodeBindingRequest({
    transactionId: crypto.random(12),
    software: 'buri 0.1.0',
  });
  socket.send(request, server.stunPorts[0]!, '::1');
  const message = decodeStun(await answer);
  assert.deepEqual(message?.xorMappedAddress, { address: '::1', port: socket.address().port });
  assert.deepEqual(message?.otherAddress, { address: '::1', port: server.stunPorts[1] });
  socket.close();
});

test('connections that never ask are bounded for one address, and cut in time', async () => {
  await using server = await ServerProcess.start({ args: ['--enrol', 'open'] });
  const port = portOf(server.url);
  const sockets: Socket[] = [];
  let ended = 0;
  await Promise.all(
    Array.from(
      { length: 600 },
      () =>
        new Promise<void>((resolve) => {
          const socket = connect(port, '127.0.0.1', () => resolve());
          socket.on('error', () => {});
          socket.on('close', () => {
            ended++;
          });
          sockets.push(socket);
        }),
    ),
  );
  await until(() => ended >= 88, 5_000);
  assert.equal(ended, 88, '512 may wait');
  await until(() => ended === 600, 16_000);
  assert.equal(ended, 600);
  await using client = await ControlClient.login({ url: server.url, keys: new DeviceKeys('late') });
  assert.ok(client.clientId);
});

async function until(holds: () => boolean, timeoutMs: number): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!holds() && performance.now() < end)
    await new Promise((resolve) => setTimeout(resolve, 20));
}
