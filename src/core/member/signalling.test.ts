import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../../sim/clock.ts';
import type { Peer } from './peers.ts';
import { Signalling, type SignallingOptions } from './signalling.ts';

/** One machine's signalling with peers 0 to 2; what it sends is kept as `kind to`. */
function setUp() {
  const clock = new VirtualClock();
  const sent: string[] = [];
  const peers = [0, 1, 2].map(
    (index) => ({ index, pair: { clientId: `client ${index}` } }) as unknown as Peer,
  );
  let sealing = '';
  const signals = {
    seal: (
      _: unknown,
      { kind, candidates }: { kind: string; candidates: { endpoint: string }[] },
    ) => {
      sealing = `${kind} ${candidates[0]?.endpoint}`;
      return new Uint8Array(1);
    },
    open: () => ({ kind: 'offer', candidates: [], nat: {} }),
  };
  const options = {
    ...{ signals, paths: () => {}, told: () => {}, time: () => 0, proofs: () => [] },
    ways: () => ({ server: true, members: false }),
    carry: (peer: Peer) => sent.push(`${sealing} carried to ${peer.pair.clientId}`),
    peers: {
      get: (index: number) => peers[index],
      byClientId: (id: string) => peers.find(({ pair }) => pair.clientId === id),
    },
    send: (message: { to?: string }) => sent.push(`${sealing} to ${message.to}`),
  } as unknown as SignallingOptions;
  const signalling = new Signalling(options);
  const at = (endpoint: string) => {
    const local = { candidates: [{ kind: 'server-reflexive', endpoint }], nat: {} };
    signalling.setLocal(local as unknown as Parameters<Signalling['setLocal']>[0], clock.now);
  };
  const hears = (index: number, isCarried = false) => {
    const message = { t: 'signal', from: `client ${index}`, sealed: new Uint8Array(1) } as const;
    signalling.receive(message, clock.now, isCarried);
  };
  return { clock, signalling, peers, sent, at, hears };
}

test('while a mapping is in doubt offers and answers wait, and then tell the new one, once each', () => {
  const { clock, signalling, peers, sent, at, hears } = setUp();
  at('203.0.113.1:1000');
  signalling.hold(clock.now);
  signalling.offer(peers[0]!, undefined, clock.now);
  signalling.offer(peers[0]!, undefined, clock.now);
  hears(1);
  hears(2, true);
  assert.deepEqual(sent, []);
  at('203.0.113.1:2000');
  signalling.release(clock.now);
  assert.deepEqual(sent, [
    'offer 203.0.113.1:2000 to client 0',
    'answer 203.0.113.1:2000 to client 1',
    'answer 203.0.113.1:2000 to client 2',
    'answer 203.0.113.1:2000 carried to client 2',
  ]);
  signalling.release(clock.now);
  assert.equal(sent.length, 4);
  signalling.offer(peers[2]!, undefined, clock.now);
  assert.equal(sent.length, 5, 'nothing is in doubt any more');
});

test('a doubt that lasts is not waited for, however often there is a new one', () => {
  const { clock, signalling } = setUp();
  signalling.hold(clock.now);
  const until = signalling.heldUntil!;
  clock.run(100);
  signalling.hold(clock.now);
  assert.equal(signalling.heldUntil, until);
});

test('what waited is not told to a server that comes later', () => {
  const { clock, signalling, peers, sent, at } = setUp();
  at('203.0.113.1:1000');
  signalling.hold(clock.now);
  signalling.offer(peers[0]!, undefined, clock.now);
  signalling.disconnected();
  signalling.release(clock.now);
  assert.deepEqual(sent, []);
});
