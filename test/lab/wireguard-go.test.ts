/** Tunnels with the stock userspace WireGuard: who initiates, traffic, rekeys, restarts, roaming. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
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

const programs = ['/usr/bin/wireguard-go', '/usr/bin/wg'];
const missing = programs.filter((path) => !existsSync(path));
const skip =
  labSkipReason() ||
  (missing.length > 0 && `needs ${missing.join(', ')} (Debian: wireguard-go wireguard-tools)`);

const staticPeerProgram = fileURLToPath(new URL('../support/static-peer.ts', import.meta.url));
const tcpTool = fileURLToPath(new URL('../../lab/tcp-tool.ts', import.meta.url));

const inner = {
  buri: { ipv4: '10.99.0.1', ipv6: 'fd99::1' },
  stock: { ipv4: '10.99.0.2', ipv6: 'fd99::2' },
};
const port = 51820;
const transferBytes = 16 * 1024 * 1024;
/** After that an end that hears nothing starts a handshake. */
const silenceMs = 15_000;

function newKey(): { readonly privateKey: string; readonly publicKey: string } {
  const privateKey = nodeCrypto.random(32);
  const base64 = (key: Uint8Array) => Buffer.from(key).toString('base64');
  return {
    privateKey: base64(privateKey),
    publicKey: base64(nodeCrypto.x25519PublicKey(privateKey)),
  };
}

interface Options {
  /** Who knows where the other is. */
  readonly knows?: 'buri' | 'stock' | 'both';
  readonly family?: 4 | 6;
  readonly times?: Partial<SessionTimes>;
  readonly psk?: string;
  readonly portable?: boolean;
}

let interfaces = 0;

/**
 *     buri, static-peer ── Internet ── stock, wireguard-go
 *     10.99.0.1, fd99::1               10.99.0.2, fd99::2
 */
class Pair {
  readonly lab: Lab;
  readonly buri: Host;
  readonly stock: Host;
  readonly #options: Options;
  readonly #keys = { buri: newKey(), stock: newKey() };
  // Its control socket lies in a directory that all namespaces share.
  readonly #device = `wg${process.pid % 1_000_000}x${interfaces++}`;
  readonly #directory: string;
  buriProcess: LabProcess | undefined;
  stockProcess: LabProcess | undefined;

  private constructor(lab: Lab, buri: Host, stock: Host, options: Options) {
    this.lab = lab;
    this.buri = buri;
    this.stock = stock;
    this.#options = options;
    this.#directory = lab.temporaryDirectory('wireguard');
  }

  static async create(lab: Lab, options: Options = {}): Promise<Pair> {
    const internet = await Internet.create(lab);
    const hosts = [await internet.host('buri'), await internet.host('stock')] as const;
    const pair = new Pair(lab, ...hosts, options);
    await pair.startStock();
    await pair.startBuri();
    return pair;
  }

  async startBuri(): Promise<void> {
    const { knows = 'both', times, psk, portable } = this.#options;
    const config: StaticPeerConfig = {
      device: 'buri0',
      addresses: [`${inner.buri.ipv4}/32`, `${inner.buri.ipv6}/128`],
      port,
      privateKey: this.#keys.buri.privateKey,
      timestampFile: join(this.#directory, 'timestamp'),
      ...(times === undefined ? {} : { times }),
      ...(portable === undefined ? {} : { portable }),
      peers: [
        {
          publicKey: this.#keys.stock.publicKey,
          innerPrefixes: [`${inner.stock.ipv4}/32`, `${inner.stock.ipv6}/128`],
          ...(psk === undefined ? {} : { psk }),
          ...(knows === 'stock' ? {} : { endpoint: this.#endpoint(this.stock) }),
        },
      ],
    };
    const file = join(this.#directory, 'static-peer.json');
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const name = 'static-peer';
    const args = ['--disable-warning=ExperimentalWarning', staticPeerProgram, file];
    this.buriProcess = this.buri.spawn(pinnedNode, args, { name });
    await this.buriProcess.line(/^ready/, { timeoutMs: 20_000 });
  }

  async startStock(): Promise<void> {
    const { knows = 'both', psk } = this.#options;
    const device = this.#device;
    this.stockProcess = this.stock.spawn('wireguard-go', ['-f', device], {
      env: { LOG_LEVEL: 'verbose' },
    });
    await waitFor('wireguard-go to listen', () => existsSync(`/var/run/wireguard/${device}.sock`));
    const write = (name: string, text: string): string => {
      const file = join(this.#directory, name);
      writeFileSync(file, `${text}\n`, { mode: 0o600 });
      return file;
    };
    await this.stock.check('wg', [
      ...['set', device, 'listen-port', `${port}`],
      ...['private-key', write('stock.key', this.#keys.stock.privateKey)],
      ...['peer', this.#keys.buri.publicKey],
      ...['allowed-ips', `${inner.buri.ipv4}/32,${inner.buri.ipv6}/128`],
      ...(psk === undefined ? [] : ['preshared-key', write('psk', psk)]),
      ...(knows === 'buri' ? [] : ['endpoint', this.#endpoint(this.buri)]),
    ]);
    await this.stock.ip(
      `addr add ${inner.stock.ipv4}/32 dev ${device}`,
      `addr add ${inner.stock.ipv6}/128 dev ${device}`,
      `link set ${device} up`,
      `route add ${inner.buri.ipv4}/32 dev ${device}`,
      `route add ${inner.buri.ipv6}/128 dev ${device}`,
    );
  }

  #endpoint(host: Host): string {
    return this.#options.family === 6 ? `[${host.ipv6}]:${port}` : `${host.ipv4}:${port}`;
  }

  /** Where wireguard-go sends to. */
  async stockEndpoint(): Promise<string> {
    return (await this.stock.check('wg', ['show', this.#device, 'endpoints'])).split(/\s+/)[1]!;
  }

  async setStockPsk(file: string): Promise<void> {
    const peer = this.#keys.buri.publicKey;
    await this.stock.check('wg', ['set', this.#device, 'peer', peer, 'preshared-key', file]);
  }

  /** Sessions that came up on our side, by role. */
  sessions(role: 'initiator' | 'responder'): number {
    const up = new RegExp(`"kind":"session-up".*"role":"${role}"`);
    return this.buriProcess!.lines.filter((line) => up.test(line)).length;
  }

  async assertPing(from: 'buri' | 'stock', timeoutMs = 2_000): Promise<void> {
    const to = from === 'buri' ? 'stock' : 'buri';
    for (const target of [inner[to].ipv4, inner[to].ipv6]) {
      const { received, output } = await this[from].ping(target, { count: 3, timeoutMs });
      assert.ok(received >= 1, `${from} pings ${target}: ${output}\n${this.buriProcess!.tail}`);
    }
  }

  /** Traffic gets through from this side within the bound. */
  async waitForPing(from: 'buri' | 'stock', timeoutMs: number): Promise<void> {
    const to = from === 'buri' ? 'stock' : 'buri';
    await waitFor(
      `${from} to reach ${to}`,
      async () => (await this[from].ping(inner[to].ipv4, { timeoutMs: 500 })).received > 0,
      { timeoutMs, intervalMs: 200 },
    );
  }

  /** A file over TCP; compares its checksum at the other end. */
  async transfer(from: 'buri' | 'stock', family: 4 | 6 = 4): Promise<void> {
    const to = from === 'buri' ? 'stock' : 'buri';
    const address = family === 4 ? inner[to].ipv4 : inner[to].ipv6;
    const [sent, received] = ['sent', 'received'].map((name) => join(this.#directory, name));
    writeFileSync(sent!, randomBytes(transferBytes));
    const run = (host: Host, mode: string, file: string): LabProcess =>
      host.spawn(pinnedNode, [tcpTool, mode, address, '9000', file], { name: `tcp ${mode}` });
    await using receiver = run(this[to], 'receive', received!);
    await receiver.line(/listening/, { timeoutMs: 20_000 });
    await using sender = run(this[from], 'send', sent!);
    const line = await receiver.line(/^\d+ [0-9a-f]{64}$/, { timeoutMs: 60_000 });
    assert.equal(await sender.ended, 0);
    const checksum = createHash('sha256').update(readFileSync(sent!)).digest('hex');
    assert.equal(line, `${transferBytes} ${checksum}`);
  }
}

describe('a tunnel with wireguard-go', { skip, concurrency: 4 }, () => {
  test('comes up when we initiate, and carries pings and files both ways', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab, { knows: 'buri' });
    await pair.assertPing('buri');
    await pair.assertPing('stock');
    assert.equal(pair.sessions('initiator'), 1);
    assert.equal(pair.sessions('responder'), 0);
    await pair.transfer('buri');
    await pair.transfer('stock');
  });

  test('comes up when it initiates, and carries pings and files both ways', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab, { knows: 'stock' });
    await pair.assertPing('stock');
    await pair.assertPing('buri');
    assert.equal(pair.sessions('initiator'), 0);
    assert.equal(pair.sessions('responder'), 1);
    await pair.transfer('buri', 6);
    await pair.transfer('stock', 6);
  });

  test('works over IPv6, with a pre-shared key, and with the byte work in TypeScript', async () => {
    await using lab = await Lab.create();
    const psk = randomBytes(32).toString('base64');
    const pair = await Pair.create(lab, { family: 6, psk, portable: true });
    await pair.assertPing('buri');
    await pair.assertPing('stock');
    await pair.transfer('buri');
    await pair.transfer('stock');
  });

  test('goes on through our rekeys without losing a packet', async () => {
    await using lab = await Lab.create();
    const times = { rekeyAfterMs: 2_000, rejectAfterMs: 10_000, rekeyTimeoutMs: 1_000 };
    const pair = await Pair.create(lab, { knows: 'buri', times });
    await pair.waitForPing('buri', 5_000);
    const { sent, received } = await pair.buri.ping(inner.stock.ipv4, {
      count: 100,
      intervalMs: 100,
    });
    assert.equal(received, sent);
    assert.ok(pair.sessions('initiator') >= 4, `${pair.sessions('initiator')} sessions`);
    assert.equal(pair.sessions('responder'), 0);
  });

  test('goes on through its rekey after 120 s without losing a packet', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab, { knows: 'stock' });
    await pair.waitForPing('stock', 5_000);
    const { sent, received } = await pair.stock.ping(inner.buri.ipv4, {
      count: 254,
      intervalMs: 500,
    });
    assert.equal(received, sent);
    assert.equal(pair.sessions('responder'), 2);
    assert.equal(pair.sessions('initiator'), 0);
  });

  test('comes back when either side restarts', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab);
    await pair.waitForPing('buri', 5_000);

    await pair.buriProcess!.stop('SIGKILL');
    await pair.startBuri();
    await pair.waitForPing('buri', silenceMs + 5_000);
    await pair.assertPing('stock');

    await pair.stockProcess!.stop('SIGKILL');
    await pair.startStock();
    await pair.waitForPing('buri', silenceMs + 5_000);
    await pair.assertPing('stock');

    await pair.buriProcess!.stop();
    await pair.startBuri();
    await pair.waitForPing('stock', silenceMs + 5_000);
  });

  test('follows either side to a new address', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab);
    await pair.waitForPing('buri', 5_000);
    const sessions = () => pair.sessions('initiator') + pair.sessions('responder');

    await pair.buri.changeAddress();
    await pair.waitForPing('buri', 5_000);
    assert.equal(await pair.stockEndpoint(), `${pair.buri.ipv4}:${port}`);
    await pair.assertPing('stock');
    assert.equal(sessions(), 1, 'the session is the same');

    // It sticks to its old source address until a handshake is due, 15 s after data without an answer.
    await pair.stock.changeAddress();
    await pair.waitForPing('stock', 2 * silenceMs);
    await pair.assertPing('buri');
  });

  test('does not come up with another pre-shared key, and says so', async () => {
    await using lab = await Lab.create();
    const pair = await Pair.create(lab, { knows: 'buri' });
    await pair.waitForPing('buri', 5_000);
    const psk = join(lab.temporaryDirectory('psk'), 'psk');
    writeFileSync(psk, randomBytes(32).toString('base64'), { mode: 0o600 });
    await pair.buriProcess!.stop();
    await pair.setStockPsk(psk);
    await pair.startBuri();
    const { received } = await pair.buri.ping(inner.stock.ipv4, { timeoutMs: 1_000 });
    assert.equal(received, 0);
    await pair.buriProcess!.line(/"handshake-failed".*"psk-mismatch"/, { timeoutMs: 5_000 });
  });
});
