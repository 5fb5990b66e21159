/** `buri relay` and the role `relay` of `buri server` as processes: registered, listed to clients, revoked, ended. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import type { ServerMessageOf } from '#wire/control.ts';
import { relayCapability } from '#wire/relay-control.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { commonName, writeSelfSigned } from '../support/self-signed.ts';
import { ServerProcess, temporaryDirectory } from '../support/server-process.ts';

const program = new URL('../../bin/buri', import.meta.url).pathname;
const data = temporaryDirectory('relay');
after(() => rmSync(data, { recursive: true, force: true }));

interface Started {
  readonly child: ChildProcess;
  readonly facts: { relay: string; udp: string[]; ws: string[] };
  readonly ended: Promise<number | null>;
  /** Once a line of its log has this. */
  says(text: string): Promise<void>;
}

async function startRelay(args: readonly string[]): Promise<Started> {
  const child = spawn(program, ['relay', '--data', data, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const lines: string[] = [];
  const log = createInterface({ input: child.stderr! });
  const says = (text: string) =>
    new Promise<void>((resolve, reject) => {
      log.on('line', (line) => {
        if (line.includes(text)) resolve();
      });
      void ended.then((code) => reject(new Error(`ended with ${code}, without '${text}'`)));
    });
  return await new Promise((resolve, reject) => {
    log.on('line', (line) => {
      lines.push(line);
      if (line.includes('"ready"')) resolve({ child, facts: JSON.parse(line), ended, says });
    });
    void ended.then((code) => reject(new Error(`ended with ${code}: ${lines.join('\n')}`)));
  });
}

test('a standalone relay registers, is listed with UDP and WebSocket, and goes at its end', async () => {
  await using server = await ServerProcess.start({
    args: ['--enrol', 'open', '--relay', 'none'],
  });
  const { token } = await server.operate('token', 'create', '--relay');
  const relay = await startRelay([
    ...['--server', server.url, '--token', token as string],
    ...['--relay', '127.0.0.1:0', '--listen', '127.0.0.1:0'],
  ]);
  try {
    await using anna = await ControlClient.login({
      ...{ url: server.url, keys: new DeviceKeys('anna'), capabilities: [relayCapability] },
    });
    const { relays } = await anna.next<ServerMessageOf<'relays'>>(
      (message) => message.t === 'relays' && message.relays.length > 0,
      'the relay',
    );
    assert.equal(relays[0]?.id, relay.facts.relay);
    assert.deepEqual(relays[0]?.udp, relay.facts.udp);
    assert.deepEqual(relays[0]?.ws, relay.facts.ws);
  } finally {
    relay.child.kill('SIGTERM');
  }
  assert.equal(await relay.ended, 0);
  const listed = (await server.operate('relays')) as { relays: { state: string }[] };
  assert.deepEqual(
    listed.relays.map(({ state }) => state),
    ['offline'],
  );
});

test('a relay takes a renewed certificate over on SIGHUP, and goes on with the old one if it cannot', async () => {
  await using server = await ServerProcess.start({ args: ['--relay', 'none'] });
  const { token } = await server.operate('token', 'create', '--relay');
  const place = temporaryDirectory('relay-tls');
  const [cert, key] = [join(place, 'cert.pem'), join(place, 'key.pem')];
  writeSelfSigned('first', cert, key);
  const relay = await startRelay([
    ...['--server', server.url, '--token', token as string, '--relay', '127.0.0.1:0'],
    ...['--listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key],
  ]);
  try {
    const port = Number(new URL(relay.facts.ws[0]!).port);
    assert.equal(await commonName(port), 'first');
    writeFileSync(cert, 'damaged');
    const said = relay.says('were not taken over');
    relay.child.kill('SIGHUP');
    await said;
    assert.equal(await commonName(port), 'first');
    writeSelfSigned('second', cert, key);
    relay.child.kill('SIGHUP');
    for (let attempt = 0; attempt < 50 && (await commonName(port)) === 'first'; attempt++);
    assert.equal(await commonName(port), 'second');
    assert.ok(existsSync(join(data, 'nodes')), 'where else the server is');
  } finally {
    relay.child.kill('SIGTERM');
    rmSync(place, { recursive: true, force: true });
  }
  assert.equal(await relay.ended, 0);
});

test('a relay without a token, or with an URL without key, says what to do', async () => {
  await using server = await ServerProcess.start({ args: ['--relay', 'none'] });
  await assert.rejects(
    startRelay(['--server', server.url.replace(/#.*/, ''), '--relay', '127.0.0.1:0']),
    /must carry the server's key/,
  );
  rmSync(data, { recursive: true, force: true });
  await assert.rejects(startRelay(['--server', server.url, '--relay', '127.0.0.1:0']), /token/);
});

test("a server's own relay is listed, and its WebSocket is the server's port", async () => {
  await using server = await ServerProcess.start({ args: ['--enrol', 'open'] });
  await using anna = await ControlClient.login({
    ...{ url: server.url, keys: new DeviceKeys('anna'), capabilities: [relayCapability] },
  });
  const { relays } = await anna.next<ServerMessageOf<'relays'>>(
    (message) => message.t === 'relays' && message.relays.length > 0,
    'the relay',
  );
  assert.equal(relays[0]?.kind, 'server');
  assert.equal(relays[0]?.udp.length, 1);
  const port = new URL(server.url.replace('buri:', 'http:')).port;
  assert.deepEqual(relays[0]?.ws, [`ws://127.0.0.1:${port}/v1/relay`]);
});
