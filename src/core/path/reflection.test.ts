/** Level 2: a hundred peers that all name a third party, and what the path machine sends there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MonotonicMs, monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import type { PathInput } from './io.ts';
import { firstBurstProbes, firstBurstsPerAddress, unprovenProbesPerMinute } from './limits.ts';
import { Paths } from './paths.ts';

const open: NatBehaviour = { mapping: 'none', filtering: 'none' };
const liars = 100;
const minutes = 5;

/** Every signal of every peer names other ports of these addresses; returns when what was sent to each. */
function aim(victims: readonly string[], family: 4 | 6): Map<string, number[]> {
  const random = new Random(`liars at ${victims.join()}`);
  const crypto = deterministicCrypto(nodeCrypto, random);
  const paths = new Paths({ crypto, tunnelPrivateKey: crypto.random(32) });
  const sent = new Map(victims.map((victim): [string, number[]] => [victim, []]));
  let at = 1_000_000;
  const input = (next: PathInput) => {
    paths.handle(next, { monotonic: monotonicMs(at), wall: wallMs(at + 1_767_000_000_000) });
    for (let out = paths.poll(); out !== undefined; out = paths.poll()) {
      if (out.type === 'send') sent.get(out.remote.address)?.push(at);
    }
  };
  const run = (durationMs: number) => {
    const end = at + durationMs;
    for (;;) {
      const due: MonotonicMs | undefined = paths.deadline();
      if (due === undefined || due > end) break;
      at = Math.max(at, due);
      input({ type: 'tick' });
    }
    at = end;
  };
  input({ type: 'local-sockets', sockets: [{ socket: 0, family, localPort: 41_641 }] });
  input({ type: 'local-candidates', candidates: [], nat: open });
  for (let peer = 0; peer < liars; peer++) {
    const tunnelPublicKey = nodeCrypto.x25519PublicKey(crypto.random(32));
    input({ type: 'add-peer', peer, tunnelPublicKey, clientId: '000-000-000' });
  }
  let port = 1000;
  for (let round = 0; round < minutes * 6; round++) {
    for (let peer = 0; peer < liars; peer++) {
      const candidates = victims.flatMap((address) =>
        Array.from({ length: 4 }, () => {
          port = port >= 60_000 ? 1000 : port + 1;
          const host = family === 6 ? `[${address}]` : address;
          return { kind: 'host' as const, endpoint: `${host}:${port}` };
        }),
      );
      input({ type: 'remote-candidates', peer, candidates, nat: open });
      input({ type: 'punch', peer, inMs: 0 });
    }
    run(10_000);
  }
  return sent;
}

for (const [family, victims] of [
  [4, ['198.51.100.1']],
  [6, ['2001:db8::1']],
] as const) {
  test(`a hundred peers that name ever new ports of a third party get it no more than one does (IPv${family})`, () => {
    for (const [victim, times] of aim(victims, family)) {
      assert(times.length > unprovenProbesPerMinute, 'the test reaches it');
      const bursts = firstBurstsPerAddress * firstBurstProbes;
      const most = bursts + (minutes + 1) * unprovenProbesPerMinute;
      assert(times.length <= most, `${times.length} probes to ${victim}`);
      const later = times.slice(bursts + unprovenProbesPerMinute);
      for (let i = unprovenProbesPerMinute; i < later.length; i++) {
        assert(later[i]! - later[i - unprovenProbesPerMinute]! >= 60_000, `${victim}, ${i}`);
      }
    }
  });
}
