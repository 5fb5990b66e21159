/** Two of our own tunnel clients, without a server: sessions, rekeys and restarts on the real packet engine. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AeadSuite } from '#core/crypto.ts';
import type { SessionTimes } from '#core/session/times.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { pinnedNode } from '../../lab/exec.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';
import type { StaticPeerConfig } from '../support/static-peer.ts';

const skip = labSkipReason();
const program = fileURLToPath(new URL('../support/static-peer.ts', import.meta.url));
const tcpTool = fileURLToPath(new URL('../../lab/tcp-tool.ts', import.meta.url));
const sides = ['a', 'b'] as const;
type Side = (typeof sides)[number];
const other = { a: 'b', b: 'a' } as const;
const innerAddress = { a: '10.98.0.1', b: '10.98.0.2' } as const;
const port = 41641;
const transferBytes = 32 * 1024 * 1024;
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

interface Options {
  readonly suite?: AeadSuite;
  readonly times?: Partial<SessionTimes>;
  readonly psks?: Readonly<Record<Side, string>>;
}

/**   a ── Internet ── b   */
class Pair {
  readonly hosts: Readonly<Record<Side, Host>>;
  readonly #options: Options;
  readonly #directory: string;
  readonly #keys = { a: nodeCrypto.random(32), b: nodeCrypto.random(32) };
  readonly #processes: Partial<Record<Side, LabProcess>> = {};

  private constructor(lab: Lab, hosts: Readonly<Record<Side, Host>>, options: Options) {
    this.hosts = hosts;
    this.#options = options;
    this.#directory = lab.temporaryDirectory('static-pair');
  }

  static async create(lab: Lab, options: Options = {}): Promise<Pair> {
    const internet = await Internet.create(lab);
    const hosts = { a: await internet.host('a'), b: await internet.host('b') };
    const pair = new Pair(lab, hosts, options);
    for (const side of sides) await pair.start(side);
    return pair;
  }

  process(side: Side): LabProcess {
    return this.#processes[side]!;
  }

  async start(side: Side): Promise<void> {
    const { suite = 'aes256gcm', times = {}, psks } = this.#options;
    const far = other[side];
    const config: StaticPeerConfig = {
      device: 'buri0',
      addresses: [`${innerAddress[side]}/32`],
      port,
      privateKey: base64(this.#keys[side]),
      timestampFile: join(this.#directory, `timestamp-${side}`),
      times,
      peers: [
        {
          publicKey: base64(nodeCrypto.x25519PublicKey(this.#keys[far])),
          psk: psks?.[side] ?? base64(new Uint8Array(32).fill(1)),
          suite,
          endpoint: `${this.hosts[far].ipv4}:${port}`,
          innerPrefixes: [`${innerAddress[far]}/32`],
        },
      ],
    };
    const file = join(this.#directory, `${side}.json`);
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const args = ['--disable-warning=ExperimentalWarning', program, file];
    const started = this.hosts[side].spawn(pinnedNode, args, { name: `static peer ${side}` });
    this.#processes[side] = started;
    await started.line(/^ready/, { timeoutMs: 20_000 });
  }

  ping(from: Side, count = 1, intervalMs = 100) {
    return this.hosts[from].ping(innerAddress[other[from]], {
      count,
      intervalMs,
      timeoutMs: 1_000,
    });
  }

  async waitForPing(from: Side, timeoutMs = 5_000): Promise<void> {
    const isThere = async () => (await this.ping(from)).received > 0;
    await waitFor(`${from} to reach ${other[from]}`, isThere, { timeoutMs });
  }

  sessions(side: Side): number {
    return this.process(side).lines.filter((line) => line.includes('"session-up"')).length;
  }

  async counters(side: Side): Promise<{ session: Record<string, number>; engine: Counters }> {
    this.process(side).signal('SIGUSR1');
    const line = await this.process(side).line(/"counters"/);
    return JSON.parse(line).counters;
  }

  async transfer(from: Side): Promise<void> {
    const to = other[from];
    const [sent, received] = ['sent', 'received'].map((name) => join(this.#directory, name));
    writeFileSync(sent!, randomBytes(transferBytes));
    const run = (host: Host, mode: string, file: string): LabProcess =>
      host.spawn(pinnedNode, [tcpTool, mode, innerAddress[to], '9000', file]);
    await using receiver = run(this.hosts[to], 'receive', received!);
    await receiver.line(/listening/, { timeoutMs: 20_000 });
    await using sender = run(this.hosts[from], 'send', sent!);
    const line = await receiver.line(/^\d+ [0-9a-f]{64}$/, { timeoutMs: 60_000 });
    assert.equal(await sender.ended, 0);
    const checksum = createHash('sha256').update(readFileSync(sent!)).digest('hex');
    assert.equal(line, `${transferBytes} ${checksum}`);
  }
}

type Counters = Readonly<Record<string, number>>;

describe('two static peers', { skip, concurrency: 3 }, () => {
  for (const suite of ['aes256gcm', 'chacha20poly1305'] as const) {
    test(`talk under ${suite}, and rekeys lose nothing of a file or a ping`, async () => {
      await using lab = await Lab.create();
      const times = { rekeyAfterMs: 1_000, rejectAfterMs: 8_000, rekeyTimeoutMs: 500 };
      const pair = await Pair.create(lab, { suite, times });
      await pair.waitForPing('a');
      const [pings] = await Promise.all([pair.ping('b', 60), pair.transfer('a')]);
      assert.equal(pings.received, pings.sent);
      await pair.transfer('b');
      assert.ok(pair.sessions('a') >= 4, `${pair.sessions('a')} sessions`);
      const { engine } = await pair.counters('b');
      for (const name of ['in-forged', 'in-replayed', 'in-unknown-index', 'in-source-refused']) {
        assert.equal(engine[name], 0, name);
      }
    });
  }

  test('both may start at once', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab);
    const pings = await Promise.all([pair.ping('a', 10), pair.ping('b', 10)]);
    for (const { received, output } of pings) assert.equal(received, 10, output);
    assert.ok(pair.sessions('a') <= 2);
  });

  test('either may restart, with its clock mark on disk', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab);
    await pair.waitForPing('a');
    for (const side of sides) {
      await pair.process(side).stop('SIGKILL');
      await pair.start(side);
      await pair.waitForPing(side);
      assert.equal((await pair.ping(other[side], 3)).received, 3);
    }
  });

  test('keys expire on an idle tunnel, and the next packet makes new ones', async () => {
    await using lab = await Lab.create();
    const times = {
      rekeyAfterMs: 1_000,
      rejectAfterMs: 2_000,
      rekeyTimeoutMs: 300,
      keepaliveTimeoutMs: 500,
    };
    const pair = await Pair.create(lab, { times });
    await pair.waitForPing('a');
    for (const side of sides) {
      await pair.process(side).line(/"session-down".*"expired"/, { timeoutMs: 10_000 });
    }
    await pair.waitForPing('b');
  });

  test('ends that disagree on the pre-shared key stay apart and say why', async () => {
    await using lab = await Lab.create();
    const psks = { a: base64(nodeCrypto.random(32)), b: base64(nodeCrypto.random(32)) };
    const pair = await Pair.create(lab, { psks });
    assert.equal((await pair.ping('a')).received, 0);
    await pair.process('a').line(/"handshake-failed".*"psk-mismatch"/, { timeoutMs: 5_000 });
    const { session } = await pair.counters('a');
    assert.ok(session['drop-psk-mismatch']! >= 1);
  });
});
