/** `buri relay --socket` as a process, beside a daemon's local API whose server is played by the test. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { LocalApi, type Verbs } from '#client/local-api.ts';
import { Volunteer } from '#client/volunteer.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { ClientMessage, ServerMessageOf } from '#wire/control.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import { temporaryDirectory } from '../support/server-process.ts';

const program = new URL('../../bin/buri', import.meta.url).pathname;
const patienceMs = 60_000;

const until = async (what: string, condition: () => boolean) => {
  for (const end = Date.now() + patienceMs; !condition(); ) {
    assert.ok(Date.now() < end, `${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

/** A daemon's local API, and the server behind it. */
class Daemon {
  readonly directory = temporaryDirectory('volunteer');
  readonly socket = join(this.directory, 'buri.sock');
  readonly offers: (RelayOffer | undefined)[] = [];
  clusterKey: Uint8Array | undefined = crypto.ed25519PublicKey(new Uint8Array(32).fill(3));
  state: Pick<ServerMessageOf<'relay-state'>, 'state' | 'reason'> = { state: 'checking' };
  volunteer = this.#volunteer();
  #api: LocalApi | undefined;

  async start(): Promise<void> {
    this.#api = await LocalApi.listen(
      this.socket,
      {} as Verbs,
      (error) => assert.fail(String(error)),
      this.volunteer,
    );
  }

  async stop(): Promise<void> {
    await this.#api?.[Symbol.asyncDispose]();
  }

  say(state: Daemon['state']): void {
    this.volunteer.message({
      ...{ t: 'relay-state', id: 'r-1', unreachable: [], serverTime: Date.now() },
      ...state,
    });
  }

  #volunteer(): Volunteer {
    return new Volunteer({
      send: (message) => this.#take(message),
      clusterKey: () => this.clusterKey,
      isConnected: () => this.clusterKey !== undefined,
    });
  }

  #take(message: ClientMessage): boolean {
    assert.equal(message.t, 'relay-offer');
    const { offer } = message as { readonly offer?: RelayOffer };
    this.offers.push(offer);
    if (offer !== undefined) setImmediate(() => this.say(this.state));
    return true;
  }
}

async function daemonOf(t: TestContext): Promise<Daemon> {
  const daemon = new Daemon();
  t.after(async () => {
    await daemon.stop();
    rmSync(daemon.directory, { recursive: true, force: true });
  });
  await daemon.start();
  return daemon;
}

function startRelay(t: TestContext, daemon: Daemon, args: readonly string[] = []) {
  const all = ['relay', '--socket', daemon.socket, '--relay', '127.0.0.1:0', ...args];
  const { BURI_SERVER: _, ...env } = process.env;
  const child = spawn(program, all, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  t.after(() => child.kill('SIGKILL'));
  const line = (text: string) => until(text, () => lines.some((one) => one.includes(text)));
  return { child, lines, ended, line };
}

test('it is ready when the server has taken its offer, keeps its key, and is withdrawn at its end', async (t) => {
  const daemon = await daemonOf(t);
  const data = join(daemon.directory, 'relay');
  const keys: string[] = [];
  for (const _ of [1, 2]) {
    const relay = startRelay(t, daemon, ['--data', data, '--listen', '127.0.0.1:0']);
    await relay.line('"ready"');
    const offer = daemon.offers.at(-1);
    keys.push(Buffer.from(offer!.relayKey).toString('hex'));
    assert.match(offer!.udp.join(), /^127\.0\.0\.1:\d+$/);
    assert.match(offer!.ws.join(), /^ws:\/\/127\.0\.0\.1:\d+\/v1\/relay$/);
    daemon.say({ state: 'listed' });
    await relay.line('"listed"');
    relay.child.kill('SIGTERM');
    assert.equal(await relay.ended, 0, relay.lines.join('\n'));
    await until('the withdrawal', () => daemon.offers.at(-1) === undefined);
  }
  assert.equal(keys[0], keys[1]);
});

test('it waits for the login, and follows the daemon through restarts and to another server', async (t) => {
  const daemon = await daemonOf(t);
  daemon.clusterKey = undefined;
  const relay = startRelay(t, daemon);
  await relay.line('waiting until');
  daemon.clusterKey = crypto.ed25519PublicKey(new Uint8Array(32).fill(3));
  daemon.volunteer.connected(Date.now());
  await relay.line('"ready"');
  await daemon.stop();
  await relay.line('connection-lost');
  const before = daemon.offers.length;
  await daemon.start();
  await until('the offer', () => daemon.offers.length > before && daemon.offers.at(-1) != null);
  daemon.clusterKey = crypto.ed25519PublicKey(new Uint8Array(32).fill(4));
  daemon.volunteer.connected(Date.now());
  await relay.line('another server');
  const then = daemon.offers.length;
  await until('a new offer', () => daemon.offers.length > then && daemon.offers.at(-1) != null);
  relay.child.kill('SIGINT');
  assert.equal(await relay.ended, 0, relay.lines.join('\n'));
});

test('it says why it cannot volunteer', async (t) => {
  const daemon = await daemonOf(t);
  daemon.state = { state: 'refused', reason: 'too many of them' };
  const refused = startRelay(t, daemon);
  assert.equal(await refused.ended, 1);
  assert.match(refused.lines.join('\n'), /does not take this relay: too many of them/);
  const both = startRelay(t, daemon, ['--server', 'buri://127.0.0.1#KEY']);
  assert.equal(await both.ended, 2);
  const token = startRelay(t, daemon, ['--token', 'x']);
  assert.equal(await token.ended, 2);
  await daemon.stop();
  const alone = startRelay(t, daemon);
  assert.equal(await alone.ended, 1);
  assert.match(alone.lines.join('\n'), /start it with/);
});
