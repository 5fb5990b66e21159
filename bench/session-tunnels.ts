import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { StaticPeerConfig } from '../test/support/static-peer.ts';
import { type Contender, innerAddress, readyLine, tunnelOf } from './contenders.ts';
import { type Family, outerAddress, type Pair, spawnInside } from './namespaces.ts';
import type { SyntheticPeers } from './synthetic-peers.ts';

const CLIENT = fileURLToPath(new URL('../test/support/static-peer.ts', import.meta.url));
const SYNTHETIC = fileURLToPath(new URL('./synthetic-peers.ts', import.meta.url));
const SUITE = 'aes256gcm';
const PORT = 41641;

interface Key {
  readonly privateKey: string;
  readonly publicKey: string;
}

/**
 * Two clients with real handshakes and sessions; that of side a has `sessions` in all, the others with one process of synthetic peers, and
 * `routes` routes over its device. The first process of the tunnel is that client. `nodeOptions` are for all of them.
 */
export function clientWithSessions(
  sessions: number,
  routes: number,
  nodeOptions: readonly string[] = [],
): Contender {
  const start = async (pair: Pair, outer: Family) => {
    const directory = mkdtempSync(join(tmpdir(), 'buri-bench-'));
    const [a, b] = [newKey(), newKey()];
    const others = Array.from({ length: sessions - 1 }, newKey);
    const files = {
      a: clientOf(a, 'a', [
        { key: b, prefixes: [`${innerAddress('b', 4)}/32`, `${innerAddress('b', 6)}/128`] },
        ...others.map((key, i) => ({ key, prefixes: prefixesOf(i, others.length, routes) })),
      ]),
      b: clientOf(b, 'b', [
        { key: a, prefixes: [`${innerAddress('a', 4)}/32`, `${innerAddress('a', 6)}/128`] },
      ]),
      others: {
        privateKeys: others.map(({ privateKey }) => privateKey),
        remoteKey: a.publicKey,
        remote: { address: outerAddress('a', outer), port: PORT },
        suite: SUITE,
      } satisfies SyntheticPeers,
    };
    const spawnNode = (namespace: string, program: string, name: keyof typeof files) => {
      const file = join(directory, `${name}.json`);
      writeFileSync(file, JSON.stringify(files[name]), { mode: 0o600 });
      const node = [process.execPath, '--disable-warning=ExperimentalWarning', ...nodeOptions];
      return spawnInside(namespace, [...node, program, file], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
    };
    const clients = [spawnNode(pair.a, CLIENT, 'a'), spawnNode(pair.b, CLIENT, 'b')];
    const configure = () => Promise.all(clients.map(readyLine));
    const tunnel = await tunnelOf(clients, configure, () => rmSync(directory, { recursive: true }));
    if (others.length === 0) return tunnel;
    const synthetic = spawnNode(pair.b, SYNTHETIC, 'others');
    const stop = async (): Promise<void> => {
      const ended = new Promise((resolve) => synthetic.once('exit', resolve));
      synthetic.kill('SIGTERM');
      await ended;
      await tunnel.stop();
    };
    try {
      await readyLine(synthetic);
    } catch (error) {
      await tunnel.stop();
      throw error;
    }
    return { pids: tunnel.pids, stop };
  };
  return { name: `${sessions} sessions, ${routes} routes`, families: [4, 6], start };

  function clientOf(
    { privateKey }: Key,
    side: 'a' | 'b',
    peers: readonly { readonly key: Key; readonly prefixes: readonly string[] }[],
  ): StaticPeerConfig {
    const other = side === 'a' ? 'b' : 'a';
    return {
      device: 'buri0',
      mtuBytes: 1_400,
      addresses: [`${innerAddress(side, 4)}/24`, `${innerAddress(side, 6)}/64`],
      port: PORT,
      privateKey,
      peers: peers.map(({ key, prefixes }, i) => ({
        publicKey: key.publicKey,
        suite: SUITE,
        innerPrefixes: prefixes,
        ...(i === 0 ? { endpoint: `${outerAddress(other, 4)}:${PORT}` } : {}),
      })),
    };
  }
}

/** The share of one of `peers` peers of `routes` routes: an address of its own first, then networks of several lengths. */
function prefixesOf(peer: number, peers: number, routes: number): string[] {
  const left = Math.max(0, routes - 1 - peer);
  const bytes = `${peer >> 4}.${(peer & 15) << 4}`;
  return Array.from({ length: Math.ceil(left / peers) }, (_, i) =>
    i === 0 ? `10.100.${bytes}/32` : `10.${100 + i}.${bytes}/${28 + (i % 3)}`,
  );
}

function newKey(): Key {
  const privateKey = new Uint8Array(randomBytes(32));
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return { privateKey: text(privateKey), publicKey: text(nodeCrypto.x25519PublicKey(privateKey)) };
}
