import type { ChildProcess } from 'node:child_process';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { compiledWithoutEncryption } from './compile.ts';
import { findUnstable, type Program } from './debian-unstable.ts';
import { type Family, inside, outerAddress, type Pair, run, spawnInside } from './namespaces.ts';

/** A tunnel that is up between the two ends of a pair, with the inner addresses of `innerAddress`. */
export interface Tunnel {
  /** The tunnel's processes, for their CPU time. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** What it can go over, and carry. */
  readonly families: readonly Family[];
  start(pair: Pair, outer: Family): Promise<Tunnel>;
}

export type Side = 'a' | 'b';

export const innerAddress = (side: Side, family: Family): string =>
  `${family === 4 ? '10.9.0.' : 'fd00:9::'}${side === 'a' ? 1 : 2}`;

const STATIC_PEER = fileURLToPath(new URL('./static-peer.ts', import.meta.url));
const NO_ENCRYPTION = new URL('./no-encryption.ts', import.meta.url).href;
const COMPILE_CACHE = fileURLToPath(new URL('../build/compile-cache', import.meta.url));
const BOTH = [4, 6] as const;
const PORT = '41641';

/** The contenders of `tunnel.ts` by what they are called on its command line; undefined when it is not to be had here. */
export const CONTENDERS: Readonly<Record<string, () => Contender | undefined>> = {
  'buri-aes': () => buri('Buri, AES-256-GCM', ['--suite', 'aes256gcm']),
  'buri-aes-openssl': () => buri('Buri, AES-256-GCM by OpenSSL', ['--without', 'vaes']),
  'buri-chacha': () => buri('Buri, ChaCha20-Poly1305', ['--suite', 'chacha20poly1305']),
  'buri-null': () => {
    compiledWithoutEncryption();
    const name = 'Buri, its engine without encryption (the limit)';
    // What takes OpenSSL's place encrypts nothing, so OpenSSL has to be used.
    return buri(name, ['--without', 'vaes'], ['--import', NO_ENCRYPTION]);
  },
  'buri-no-gro': () => buri('Buri, AES-256-GCM, without UDP_GRO', ['--without', 'udp-gro']),
  'buri-two-threads': () => buri('Buri, AES-256-GCM, two threads', ['--engine-threads', '2']),
  'buri-portable': () => buri('Buri, portable engine', ['--portable']),
  'wireguard-go': () => {
    const found = findUnstable('wireguard-go');
    if (found === undefined) console.error('bench: no wireguard-go: measuring without it');
    return found === undefined ? undefined : wireguardGo(found);
  },
  cable: () => cable,
};

/** The packet engine with static keys. */
export function buri(
  name: string,
  options: readonly string[],
  nodeOptions: readonly string[] = [],
): Contender {
  const start = async (pair: Pair, outer: Family): Promise<Tunnel> => {
    const secret = crypto.randomUUID();
    const children = (['a', 'b'] as const).map((side) => {
      const other = side === 'a' ? 'b' : 'a';
      const remote = outerAddress(other, outer);
      const inner = BOTH.flatMap((family) => [
        ...['--inner', innerAddress(side, family)],
        ...['--peer-inner', innerAddress(other, family)],
      ]);
      const endpoint = outer === 4 ? `${remote}:${PORT}` : `[${remote}]:${PORT}`;
      const node = [process.execPath, '--disable-warning=ExperimentalWarning', ...nodeOptions];
      const wire = ['--side', side, '--secret', secret, '--port', PORT, '--remote', endpoint];
      return spawnInside(pair[side], [...node, STATIC_PEER, ...inner, ...wire, ...options], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
      });
    });
    return tunnelOf(children, () => Promise.all(children.map(readyLine)));
  };
  return { name, families: BOTH, start };
}

/** wireguard-go with its usual MTU of 1420. */
export function wireguardGo({ binary, name }: Program): Contender {
  const start = async (pair: Pair, outer: Family): Promise<Tunnel> => {
    const directory = mkdtempSync(join(tmpdir(), 'buri-bench-'));
    const ends = (['a', 'b'] as const).map((side, i) => {
      const privateKey = run('wg', 'genkey').trim();
      const publicKey = execFileSync('wg', ['pubkey'], { input: privateKey, encoding: 'utf8' });
      const device = `wgb${process.pid}${i}`;
      const keyFile = join(directory, device);
      writeFileSync(keyFile, privateKey, { mode: 0o600 });
      return { side, namespace: pair[side], device, keyFile, publicKey: publicKey.trim() };
    });
    const children = ends.map(({ namespace, device }) =>
      spawnInside(namespace, [binary, '-f', device], {
        stdio: 'ignore',
        env: { ...process.env, LOG_LEVEL: 'error', WG_PROCESS_FOREGROUND: '1' },
      }),
    );
    const configure = async (): Promise<void> => {
      for (const [i, { side, namespace, device, keyFile }] of ends.entries()) {
        const other = ends[1 - i]!;
        await until(() => inside(namespace, 'ip', 'link', 'show', device) !== '');
        await until(() => run('wg', 'show', device, 'public-key') !== '');
        const remote = outerAddress(other.side, outer);
        const endpoint = outer === 4 ? `${remote}:${PORT}` : `[${remote}]:${PORT}`;
        const allowed = `${innerAddress(other.side, 4)}/32,${innerAddress(other.side, 6)}/128`;
        const peer = ['peer', other.publicKey, 'endpoint', endpoint, 'allowed-ips', allowed];
        run('wg', 'set', device, 'private-key', keyFile, 'listen-port', PORT, ...peer);
        addInner(namespace, side, device);
        inside(namespace, 'ip', 'link', 'set', device, 'mtu', '1420', 'up');
      }
    };
    const cleanUp = (): void => rmSync(directory, { recursive: true });
    return tunnelOf(children, configure, cleanUp);
  };
  return { name, families: BOTH, start };
}

/** Nothing but the cable, for scale. */
const cable: Contender = {
  name: 'no tunnel',
  families: BOTH,
  start: async (pair) => {
    for (const side of ['a', 'b'] as const) addInner(pair[side], side, 'eth0');
    return { pids: [], stop: async () => {} };
  },
};

export function addInner(namespace: string, side: Side, device: string): void {
  const add = (address: string, ...more: string[]) =>
    inside(namespace, 'ip', 'addr', 'add', address, 'dev', device, ...more);
  add(`${innerAddress(side, 4)}/24`);
  add(`${innerAddress(side, 6)}/64`, 'nodad');
}

/** The tunnel that these processes are once `configure` is through; without processes when it fails. */
export async function tunnelOf(
  children: readonly ChildProcess[],
  configure: () => Promise<unknown>,
  cleanUp: () => void = () => {},
): Promise<Tunnel> {
  const ends = children.map(
    (child) => new Promise<void>((resolve) => child.once('exit', () => resolve())),
  );
  const stop = async (): Promise<void> => {
    for (const child of children) child.kill('SIGTERM');
    // Some need a second word.
    const patience = setTimeout(() => children.map((child) => child.kill('SIGKILL')), 3_000);
    await Promise.all(ends);
    clearTimeout(patience);
    cleanUp();
  };
  try {
    await configure();
  } catch (error) {
    await stop();
    throw error;
  }
  // `ip netns exec` becomes the program itself, so these are the tunnel's processes.
  return { pids: children.map((child) => child.pid!), stop };
}

/** Waits for the word 'ready' on standard output. */
export function readyLine(child: ChildProcess): Promise<void> {
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

export async function until(condition: () => boolean, attempts = 100): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      if (condition()) return;
      if (attempt > attempts) throw new Error('waited in vain');
    } catch (error) {
      if (attempt > attempts) throw error;
    }
    await sleep(50);
  }
}
