import type { ChildProcess } from 'node:child_process';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inside, type Pair, run, spawnInside } from './namespaces.ts';
import type { WireguardGo } from './wireguard-go.ts';

/** A tunnel that is up between the two ends of a pair: 10.9.0.1 and 10.9.0.2. */
export interface Tunnel {
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  start(pair: Pair): Promise<Tunnel>;
}

const STATIC_PEER = fileURLToPath(new URL('./static-peer.ts', import.meta.url));
const COMPILE_CACHE = fileURLToPath(new URL('../build/compile-cache', import.meta.url));

/** The packet engine with static keys. */
export function buri(name: string, options: readonly string[]): Contender {
  const start = async (pair: Pair): Promise<Tunnel> => {
    const secret = crypto.randomUUID();
    const ends = [
      ['a', pair.a, '10.9.0.1', '10.9.0.2', '192.0.2.2'],
      ['b', pair.b, '10.9.0.2', '10.9.0.1', '192.0.2.1'],
    ] as const;
    const children = ends.map(([side, namespace, inner, peerInner, remote]) => {
      const node = [process.execPath, '--disable-warning=ExperimentalWarning', STATIC_PEER];
      const args = [
        '--side',
        side,
        '--secret',
        secret,
        '--inner',
        inner,
        '--peer-inner',
        peerInner,
      ];
      const wire = ['--port', '41641', '--remote', `${remote}:41641`, ...options];
      return spawnInside(namespace, [...node, ...args, ...wire], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
      });
    });
    await Promise.all(children.map((child) => readyLine(child)));
    return tunnelOf(children, () => {});
  };
  return { name, start };
}

/** wireguard-go with its usual MTU of 1420. */
export function wireguardGo({ binary, name }: WireguardGo): Contender {
  const start = async (pair: Pair): Promise<Tunnel> => {
    const directory = mkdtempSync(join(tmpdir(), 'buri-bench-'));
    const ends = [
      { namespace: pair.a, inner: '10.9.0.1', port: '51820' },
      { namespace: pair.b, inner: '10.9.0.2', port: '51821' },
    ].map((end, i) => {
      const privateKey = run('wg', 'genkey').trim();
      const publicKey = execFileSync('wg', ['pubkey'], { input: privateKey, encoding: 'utf8' });
      const device = `wgb${process.pid}${i}`;
      const keyFile = join(directory, device);
      writeFileSync(keyFile, privateKey, { mode: 0o600 });
      return { ...end, device, keyFile, publicKey: publicKey.trim() };
    });
    const children = ends.map(({ namespace, device }) =>
      spawnInside(namespace, [binary, '-f', device], {
        stdio: 'ignore',
        env: { ...process.env, LOG_LEVEL: 'error', WG_PROCESS_FOREGROUND: '1' },
      }),
    );
    for (const [i, end] of ends.entries()) {
      const other = ends[1 - i]!;
      await until(() => inside(end.namespace, 'ip', 'link', 'show', end.device) !== '');
      await until(() => run('wg', 'show', end.device, 'public-key') !== '');
      const endpoint = `192.0.2.${2 - i}:${other.port}`;
      const peer = [
        'peer',
        other.publicKey,
        'endpoint',
        endpoint,
        'allowed-ips',
        `${other.inner}/32`,
      ];
      run('wg', 'set', end.device, 'private-key', end.keyFile, 'listen-port', end.port, ...peer);
      inside(end.namespace, 'ip', 'addr', 'add', `${end.inner}/24`, 'dev', end.device);
      inside(end.namespace, 'ip', 'link', 'set', end.device, 'mtu', '1420', 'up');
    }
    return tunnelOf(children, () => rmSync(directory, { recursive: true }));
  };
  return { name, start };
}

/** Nothing but the cable, for scale. */
export const cable: Contender = {
  name: 'no tunnel',
  start: async (pair) => {
    inside(pair.a, 'ip', 'addr', 'add', '10.9.0.1/24', 'dev', 'eth0');
    inside(pair.b, 'ip', 'addr', 'add', '10.9.0.2/24', 'dev', 'eth0');
    return { pids: [], stop: async () => {} };
  },
};

function tunnelOf(children: readonly ChildProcess[], cleanUp: () => void): Tunnel {
  const stop = async (): Promise<void> => {
    const ends = children.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(ends);
    cleanUp();
  };
  // `ip netns exec` becomes the program itself, so these are the tunnel's processes.
  return { pids: children.map((child) => child.pid!), stop };
}

function readyLine(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout!.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      if (text.includes('ready')) resolve();
    });
    child.once('exit', (code) =>
      reject(new Error(`a tunnel end ended with code ${code}: ${text}`)),
    );
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      if (condition()) return;
    } catch (error) {
      if (attempt > 100) throw error;
    }
    await sleep(50);
  }
}
