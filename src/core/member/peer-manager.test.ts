import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex } from '#core/bytes.ts';
import { Lan } from '#core/lan/lan.ts';
import type { Pair } from '#core/mesh/pairs.ts';
import { monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { testDevice } from '../../../test/support/cluster.ts';
import { PeerManager } from './peer-manager.ts';

const random = new Random('peer manager');
const crypto = deterministicCrypto(nodeCrypto, random);

test('a peer of whom the server knows nothing is asked again and again, and nothing is busy in between', () => {
  const [alice, bob] = [testDevice(1), testDevice(2)];
  const pair: Pair = {
    clientId: bob.clientId,
    nick: bob.name,
    identity: hex(bob.identity),
    tunnelKey: bob.tunnelKey,
    suite: 'chacha20poly1305',
    extensionVersion: 1,
    ipv4: bob.ipv4,
    ipv6: bob.ipv6,
    presence: 'unconfirmed',
    verdict: 'establish',
    networks: ['000-000-001'],
    views: [{ secrets: [new Uint8Array(32)], epoch: 0 }],
    viewsKey: '1',
  };
  // Real clocks tell fractions of milliseconds, and sums that pass 2^20 are rounded.
  for (let run = 0; run < 200; run++) {
    const manager = new PeerManager({
      crypto,
      tunnelKey: { privateKey: alice.tunnelPrivateKey, publicKey: alice.tunnelKey },
      virtualPrefixes: [],
      emit: () => {},
      lan: new Lan(crypto, () => {}),
      offer: () => {},
      relay: () => {},
      answer: () => {},
      observed: () => {},
      sessionUp: () => {},
      pathFound: () => {},
      removed: () => {},
      dead: () => {},
      recall: () => undefined,
      reached: () => {},
      disagree: () => {},
    });
    let at = monotonicMs(2 ** 20 - random.float() * 33_333.3);
    const now = () => ({ monotonic: at, wall: wallMs(1_800_000_000_000) });
    manager.server(true, now());
    manager.sync(new Map([[bob.clientId, pair]]), now());
    for (let wakes = 0; wakes < 5; wakes++) {
      const next = manager.deadline();
      assert(next !== undefined && next > at, `woken at ${at}, to be woken at ${next}`);
      at = next;
      manager.tick(now());
    }
  }
});
