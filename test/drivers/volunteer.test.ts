/** A relay that volunteers through a daemon's socket. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { followDaemon } from '#cli/volunteer-link.ts';
import { LocalApi, type Verbs } from '#client/local-api.ts';
import { Volunteer } from '#client/volunteer.ts';
import type { BuriError } from '#core/errors.ts';
import type { ClientMessage } from '#wire/control.ts';
import type { VolunteerLine } from '#wire/volunteer.ts';

const clusterKey = new Uint8Array(32).fill(9);
const offer = {
  relayKey: new Uint8Array(32).fill(200),
  udp: ['0.0.0.0:3480'],
  ws: [],
  capacity: { allocations: 100, bytesPerSecond: 1_000_000 },
};

async function daemonOf(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'buri-volunteer-'));
  const socket = join(directory, 'buri.sock');
  const sent: ClientMessage[] = [];
  const server = { connected: true };
  const volunteer = new Volunteer({
    send: (message) => sent.push(message) > 0,
    clusterKey: () => clusterKey,
    isConnected: () => server.connected,
  });
  const api = await LocalApi.listen(
    socket,
    {} as Verbs,
    (error) => assert.fail(String(error)),
    volunteer,
  );
  t.after(async () => {
    await api[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return { socket, sent, server, volunteer, api };
}

const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
};

function follow(socket: string, withOffer: typeof offer | undefined) {
  const lines: VolunteerLine[] = [];
  const ending = new AbortController();
  const ended = followDaemon(socket, withOffer, (line) => lines.push(line), ending.signal);
  ended.catch(() => {});
  return { lines, ended, stop: () => ending.abort() };
}

test('a relay learns of the server, is offered to it, hears what it says, and is withdrawn at its end', async (t) => {
  const { socket, sent, volunteer } = await daemonOf(t);
  const relay = follow(socket, offer);
  await until(() => relay.lines.length === 1 && sent.length === 1);
  assert.deepEqual(relay.lines[0], { t: 'server', connected: true, clusterKey });
  assert.deepEqual(sent[0], { t: 'relay-offer', offer });
  const revoked = [{ clientId: '000-000-001', serial: 7 }];
  volunteer.message({
    t: 'relay-state',
    id: 'r-1',
    state: 'listed',
    unreachable: [],
    serverTime: 1,
  });
  volunteer.message({ t: 'relay-revoke', revoked });
  await until(() => relay.lines.length === 3);
  assert.deepEqual(relay.lines.slice(1), [
    { t: 'state', id: 'r-1', state: 'listed', unreachable: [] },
    { t: 'revoke', revoked },
  ]);
  relay.stop();
  await relay.ended;
  await until(() => sent.length === 2);
  assert.deepEqual(sent[1], { t: 'relay-offer' });
});

test('after a reconnection it is offered again, and meanwhile it knows', async (t) => {
  const { socket, sent, server, volunteer } = await daemonOf(t);
  const relay = follow(socket, offer);
  await until(() => sent.length === 1);
  server.connected = false;
  volunteer.lost();
  server.connected = true;
  volunteer.connected(1234);
  await until(() => relay.lines.length === 3 && sent.length === 2);
  assert.equal(relay.lines[1]?.t === 'server' && relay.lines[1].connected, false);
  assert.equal(relay.lines[2]?.t === 'server' && relay.lines[2].serverTime, 1234);
  assert.deepEqual(sent[1], { t: 'relay-offer', offer });
  relay.stop();
});

test('there is one volunteer at a time, and others may only listen', async (t) => {
  const { socket, sent } = await daemonOf(t);
  const first = follow(socket, offer);
  await until(() => sent.length === 1);
  await assert.rejects(follow(socket, offer).ended, { code: 'relay-busy' });
  const listener = follow(socket, undefined);
  await until(() => listener.lines.length === 1);
  listener.stop();
  await listener.ended;
  first.stop();
  await first.ended;
  await until(() => sent.length === 2);
  const next = follow(socket, offer);
  await until(() => sent.length === 3);
  next.stop();
});

test('a daemon that ends ends it, and what is no daemon is said to be none', async (t) => {
  const { socket, sent, api } = await daemonOf(t);
  const relay = follow(socket, offer);
  await until(() => sent.length === 1);
  await api[Symbol.asyncDispose]();
  await assert.rejects(relay.ended, { code: 'connection-lost' });
  await assert.rejects(follow(socket, offer).ended, { code: 'daemon-not-running' });
  const other = createServer((_, response) => response.end('{"t":"nonsense"}\n')).listen(socket);
  t.after(() => other.close());
  await assert.rejects(follow(socket, offer).ended, { code: 'not-a-daemon' });
});

test('a malformed offer, and one that is cut off, change nothing', async (t) => {
  const { socket, sent } = await daemonOf(t);
  const bad = { ...offer, udp: ['nowhere'] };
  await assert.rejects(
    follow(socket, bad).ended,
    (error: BuriError) => error.code === 'bad-request',
  );
  const raw = connect({ path: socket });
  raw.write(
    'POST /v1/relay-offer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{',
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  raw.destroy();
  const relay = follow(socket, offer);
  await until(() => sent.length === 1);
  relay.stop();
});
