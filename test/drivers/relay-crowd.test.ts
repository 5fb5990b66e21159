/** Crowds that open WebSockets to a relay and show no ticket. */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { maxStrangersPerPrefix, maxStrangersPerWidePrefix } from '#relay/limits.ts';
import { WebSockets } from '#relay/web-sockets.ts';
import { ControlEndpoint } from '#server/control/endpoint.ts';
import { connectionsPerPrefix } from '#server/control/limits.ts';
import { turnAway } from '#server/control/lobby.ts';
import { parseListenAddress } from '#server/listen-address.ts';
import { relayPath } from '#wire/relay.ts';
import { waitFor } from '../../lab/wait.ts';

/** Opens so many from an address; the outcomes: `open`, or the HTTP status. */
async function crowd(port: number, count: number, localAddress: string) {
  const sockets: WebSocket[] = [];
  const outcomes = await Promise.all(
    Array.from({ length: count }, () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${relayPath}`, { localAddress });
      sockets.push(socket);
      return new Promise<string>((resolve) => {
        socket.on('open', () => resolve('open'));
        socket.on('unexpected-response', (request, { statusCode }) => {
          resolve(`${statusCode}`);
          request.destroy();
        });
        socket.on('error', () => {});
      });
    }),
  );
  return { sockets, open: outcomes.filter((outcome) => outcome === 'open').length };
}

test('who shows no ticket holds few WebSockets, by address and neighbourhood; who does makes room', async () => {
  const used = new Set<number>();
  const webSockets = new WebSockets({
    onDatagram: ({ connection }) => used.add(connection),
    isUsed: (connection) => used.has(connection),
    onSlowReader: () => {},
    limitUnsent: () => {},
  });
  const server: Server = createServer();
  server.on('upgrade', (request, socket, head) => webSockets.upgrade(request, socket, head));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const first = await crowd(port, maxStrangersPerPrefix + 10, '127.5.0.1');
  assert.equal(first.open, maxStrangersPerPrefix);
  const rest = [];
  for (let i = 2; i < 8; i++) rest.push(await crowd(port, maxStrangersPerPrefix, `127.5.0.${i}`));
  assert.equal(webSockets.size, maxStrangersPerWidePrefix);
  assert.equal((await crowd(port, 1, '127.6.0.1')).open, 1, 'others come in');
  for (const socket of first.sockets)
    if (socket.readyState === socket.OPEN) socket.send(Buffer.of(1));
  await waitFor('all of them to be known', () => used.size === maxStrangersPerPrefix);
  assert.equal((await crowd(port, 5, '127.5.0.1')).open, 5, 'members are no strangers');
  webSockets.close();
  for (const { sockets } of [first, ...rest]) for (const socket of sockets) socket.terminate();
  server.close();
  server.closeAllConnections();
});

test('on a server, WebSockets to the relay count as connections of their address', async () => {
  const endpoint = new ControlEndpoint(undefined, () => {});
  const port = await endpoint.listen(parseListenAddress('127.0.0.1:0', '--listen'));
  let passed = 0;
  endpoint.onRelayUpgrade = (_request, socket) => {
    passed++;
    turnAway(socket, '404 Not Found');
  };
  endpoint.open();
  for (let i = 0; i < 6; i++) await crowd(port, 200, '127.7.0.1');
  const before = passed;
  await crowd(port, 1, '127.8.0.1');
  await endpoint.close();
  assert.ok(before >= connectionsPerPrefix.burst && before < 1_200, `${before} of 1,200`);
  assert.equal(passed, before + 1, 'others come in');
});
