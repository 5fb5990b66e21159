import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AeadSuite, Crypto } from '#core/crypto.ts';
import { generateKeyPair, type KeyPair } from '#core/noise/handshake-state.ts';
import type { Path } from '#core/path/path.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { encodeTai64n } from '#wire/tai64n.ts';
import { encodeInitiation, messageKind } from '#wire/wireguard.ts';
import { VirtualClock } from '../../../sim/clock.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { TunnelEnd, type TunnelEndOptions } from '../../../sim/tunnel-end.ts';
import { CookieHolder } from './cookie.ts';
import type { PskCandidate } from './events.ts';
import { startInitiation } from './handshake.ts';
import { wireguardTimes } from './times.ts';

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
const packet = (text: string) => new TextEncoder().encode(text.padEnd(16, '.'));
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const path = (address: string, port = 51820): Path => ({ socket: 0, remote: { address, port } });
const psk = (byte: number, suite: AeadSuite = 'chacha20poly1305'): PskCandidate => ({
  psk: new Uint8Array(32).fill(byte),
  suite,
});
const stepMs = 1;
const peer = 7;

/** Two ends and the link between them; `hold` gives datagrams to the test instead of delivering them. */
class Pair {
  readonly clock = new VirtualClock();
  readonly random = new Random('pair');
  readonly crypto: Crypto = deterministicCrypto(nodeCrypto, this.random);
  readonly keys = { a: generateKeyPair(this.crypto), b: generateKeyPair(this.crypto) };
  readonly address = { a: '192.0.2.1', b: '192.0.2.2' };
  readonly sent: { readonly from: 'a' | 'b'; readonly bytes: Uint8Array }[] = [];
  hold: ((from: 'a' | 'b', bytes: Uint8Array) => boolean) | undefined;
  a: TunnelEnd;
  b: TunnelEnd;

  constructor(options: Partial<Record<'a' | 'b', PskCandidate[]>> = {}, more: object = {}) {
    this.a = this.make('a', options.a ?? [psk(1)], more);
    this.b = this.make('b', options.b ?? [psk(1)], more);
  }

  make(
    name: 'a' | 'b',
    candidates: readonly PskCandidate[] = [psk(1)],
    more: Partial<TunnelEndOptions> & { withoutPath?: boolean; keepaliveMs?: number } = {},
  ): TunnelEnd {
    const other = name === 'a' ? 'b' : 'a';
    const end = new TunnelEnd({
      clock: this.clock,
      crypto: this.crypto,
      keyPair: this.keys[name],
      transmit: (bytes, to) => this.#transmit(name, bytes, to),
      ...more,
    });
    const to = more.withoutPath ? undefined : path(this.address[other]);
    end.addPeer(peer, this.keys[other].publicKey, candidates, to, more.keepaliveMs);
    return end;
  }

  deliver(to: 'a' | 'b', bytes: Uint8Array, from = this.address[to === 'a' ? 'b' : 'a']): void {
    this[to].receive(bytes, path(from));
  }

  kinds(): string[] {
    return this.sent.map(({ from, bytes }) => `${from} ${messageKind(bytes)}`);
  }

  clear(): void {
    this.sent.length = 0;
    for (const end of [this.a, this.b]) {
      end.outputs.length = 0;
      end.drops.length = 0;
      end.received.length = 0;
    }
  }

  /** Both ends send to each other and hear it. */
  assertTalking(): void {
    const before = [this.a.received.length, this.b.received.length];
    this.a.send(peer, packet('ping'));
    this.b.send(peer, packet('pong'));
    this.clock.run(10);
    assert.equal(this.a.received.length, before[0]! + 1, 'a hears b');
    assert.equal(this.b.received.length, before[1]! + 1, 'b hears a');
  }

  #transmit(from: 'a' | 'b', bytes: Uint8Array, to: Path): void {
    this.sent.push({ from, bytes });
    if (this.hold?.(from, bytes)) return;
    const source = this.address[from];
    const other = from === 'a' ? 'b' : 'a';
    this.clock.in(stepMs, () => {
      if (to.remote.address === this.address[other]) this.deliver(other, bytes, source);
    });
  }
}

function connected(...args: ConstructorParameters<typeof Pair>): Pair {
  const pair = new Pair(...args);
  pair.a.send(peer, packet('hello'));
  pair.clock.run(10);
  assert.ok(pair.a.tunnels.isUp(peer) && pair.b.tunnels.isUp(peer), 'connected');
  return pair;
}

test('data makes a handshake, crosses, and both ends know their roles', () => {
  const pair = connected();
  assert.deepEqual(pair.kinds().slice(0, 3), [
    'a handshake-initiation',
    'b handshake-response',
    'a transport',
  ]);
  assert.equal(text(pair.b.received[0]!.packet), 'hello...........');
  assert.equal(pair.a.outputsOf('session-up')[0]!.role, 'initiator');
  assert.equal(pair.b.outputsOf('session-up')[0]!.role, 'responder');
  pair.assertTalking();
});

test('the same seed gives the same bytes, for ever', () => {
  const pair = connected();
  const again = connected();
  assert.deepEqual(
    pair.sent.map(({ bytes }) => hex(bytes)),
    again.sent.map(({ bytes }) => hex(bytes)),
  );
  assert.deepEqual(
    pair.sent.slice(0, 3).map(({ bytes }) => hex(bytes)),
    golden,
  );
});

test('a responder does not send under new keys before the initiator proved that it has them', () => {
  const pair = new Pair();
  pair.hold = (from, bytes) => from === 'a' && messageKind(bytes) === 'transport';
  pair.a.send(peer, packet('lost'));
  pair.clock.run(10);
  assert.equal(pair.a.tunnels.isUp(peer), true);
  assert.equal(pair.b.tunnels.isUp(peer), false);
  assert.equal(pair.b.outputsOf('install-keys').length, 1);
  assert.equal(pair.b.outputsOf('activate-keys').length, 0);
  pair.hold = undefined;
  pair.a.send(peer, packet('arrives'));
  pair.clock.run(10);
  assert.equal(pair.b.outputsOf('activate-keys').length, 1);
});

for (const lost of ['handshake-initiation', 'handshake-response'] as const) {
  test(`a lost ${lost} is repeated after 5 s and a jitter with a new one`, () => {
    const pair = new Pair();
    let dropped = 0;
    pair.hold = (_, bytes) => messageKind(bytes) === lost && dropped++ === 0;
    const started = pair.clock.monotonic;
    pair.a.send(peer, packet('hello'));
    pair.clock.run(4999);
    assert.equal(pair.a.tunnels.isUp(peer), false);
    pair.clock.run(400);
    pair.assertTalking();
    const initiations = pair.sent.filter(({ bytes }) => bytes[0] === 1);
    assert.equal(initiations.length, 2);
    assert.notDeepEqual(
      initiations[0]!.bytes.subarray(4, 40),
      initiations[1]!.bytes.subarray(4, 40),
    );
    assert.ok(pair.clock.monotonic - started < 5500);
  });
}

test('every message of a handshake may come twice', () => {
  const pair = new Pair();
  pair.hold = (from, bytes) => {
    const to = from === 'a' ? 'b' : 'a';
    for (const delay of [1, 2]) pair.clock.in(delay, () => pair.deliver(to, bytes));
    return true;
  };
  pair.a.send(peer, packet('hello'));
  pair.clock.run(100);
  assert.deepEqual(
    pair.b.received.map(({ packet }) => text(packet)),
    ['hello...........'],
  );
  assert.ok(pair.b.drops.includes('drop-replayed'));
  assert.ok(pair.a.drops.includes('drop-unknown-index'));
  assert.ok(pair.b.drops.includes('replayed'));
  pair.hold = undefined;
  pair.assertTalking();
});

test('no changed byte of a handshake message has any effect', () => {
  for (const kind of ['handshake-initiation', 'handshake-response'] as const) {
    for (let offset = 0; offset < (kind === 'handshake-initiation' ? 132 : 76); offset += 3) {
      const pair = new Pair();
      let changed = false;
      pair.hold = (from, bytes) => {
        if (messageKind(bytes) !== kind || changed) return false;
        changed = true;
        const forged = bytes.slice();
        forged[offset]! ^= 0x40;
        pair.deliver(from === 'a' ? 'b' : 'a', forged);
        return true;
      };
      pair.a.send(peer, packet('hello'));
      pair.clock.run(100);
      const receiver = kind === 'handshake-initiation' ? pair.b : pair.a;
      assert.equal(receiver.outputsOf('install-keys').length, 0, `${kind} byte ${offset}`);
      pair.clock.run(6000);
      pair.assertTalking();
    }
  }
});

test('changed, truncated and foreign transport messages are dropped, reordered ones are not', () => {
  const pair = connected();
  const held: Uint8Array[] = [];
  pair.hold = (_, bytes) => held.push(bytes) > 0;
  for (const word of ['one', 'two', 'three']) pair.a.send(peer, packet(word));
  pair.hold = undefined;
  pair.clear();
  for (let offset = 0; offset < held[0]!.length; offset++) {
    const forged = held[0]!.slice();
    forged[offset]! ^= 1;
    pair.deliver('b', forged);
  }
  for (let length = 0; length < held[0]!.length; length++) {
    pair.deliver('b', held[0]!.subarray(0, length));
  }
  assert.equal(pair.b.received.length, 0);
  for (const i of [2, 0, 1, 0, 2]) pair.deliver('b', held[i]!);
  assert.deepEqual(
    pair.b.received.map(({ packet }) => text(packet).replaceAll('.', '')),
    ['three', 'one', 'two'],
  );
});

test('both ends may initiate at once', () => {
  const pair = new Pair();
  pair.a.send(peer, packet('from a'));
  pair.b.send(peer, packet('from b'));
  pair.clock.run(10);
  assert.equal(pair.sent.filter(({ bytes }) => bytes[0] === 1).length, 2);
  assert.deepEqual(
    pair.a.received.map(({ packet }) => text(packet)),
    ['from b..........'],
  );
  assert.deepEqual(
    pair.b.received.map(({ packet }) => text(packet)),
    ['from a..........'],
  );
  for (let i = 0; i < 50; i++) {
    pair.clock.run(5000);
    pair.assertTalking();
  }
});

test('the initiator rekeys at exactly 120 s when it sends, without losing a packet', () => {
  const pair = connected();
  const bornAt = pair.clock.monotonic - 10 + 2 * stepMs;
  pair.clock.runUntil(bornAt + 119_999);
  pair.clear();
  pair.a.send(peer, packet('young'));
  pair.clock.run(0);
  assert.deepEqual(pair.kinds(), ['a transport']);
  pair.clock.runUntil(bornAt + 120_000);
  pair.a.send(peer, packet('old'));
  pair.clock.run(0);
  assert.deepEqual(pair.kinds(), ['a transport', 'a transport', 'a handshake-initiation']);
  pair.a.send(peer, packet('meanwhile'));
  pair.b.send(peer, packet('other way'));
  pair.clock.run(10);
  assert.deepEqual(
    pair.b.received.map(({ packet }) => text(packet).replaceAll('.', '')),
    ['young', 'old', 'meanwhile'],
  );
  assert.equal(pair.a.received.length, 1);
  const [up] = pair.a.outputsOf('session-up');
  assert.equal(up!.isRekey, true);
  pair.assertTalking();
  assert.equal(pair.a.keypairs.size, 2, 'current and previous');
});

test('the responder does not rekey at 120 s', () => {
  const pair = connected();
  pair.clock.run(125_000);
  pair.clear();
  pair.b.send(peer, packet('hi'));
  pair.clock.run(0);
  assert.deepEqual(pair.kinds(), ['b transport']);
});

test('an initiator that only receives rekeys 15 s before the end, once', () => {
  const pair = connected();
  pair.clear();
  for (let i = 0; i < 164; i++) {
    pair.clock.run(1000);
    pair.b.send(peer, packet('stream'));
  }
  const initiations = () => pair.sent.filter(({ from, bytes }) => from === 'a' && bytes[0] === 1);
  // Keepalives that answer the stream count as sending, so take the first rekey at 120 s as well.
  assert.equal(initiations().length, 1);

  const silent = connected();
  silent.clear();
  silent.clock.run(164_000);
  silent.b.send(peer, packet('late'));
  silent.clock.run(10);
  assert.deepEqual(
    silent.kinds().filter((kind) => kind.includes('handshake')),
    [],
  );
  silent.clock.run(1000);
  silent.hold = (from) => from === 'a';
  silent.b.send(peer, packet('later'));
  silent.b.send(peer, packet('later'));
  silent.clock.run(10);
  assert.equal(silent.kinds().filter((kind) => kind === 'a handshake-initiation').length, 1);
});

test('keys are refused and erased at 180 s, and nothing of them is left at 540 s', () => {
  const pair = connected();
  const bornAt = pair.clock.monotonic - 10 + stepMs;
  const held: Uint8Array[] = [];
  pair.hold = (_, bytes) => held.push(bytes) > 0;
  pair.a.send(peer, packet('kept by the network'));
  pair.clock.runUntil(bornAt + 179_999);
  assert.equal(pair.b.keypairs.size, 1);
  pair.clear();
  pair.clock.runUntil(bornAt + 180_000);
  assert.equal(pair.b.keypairs.size, 0);
  assert.deepEqual(
    pair.b.outputs.map(({ kind }) => kind),
    ['remove-keys', 'session-down'],
  );
  pair.deliver('b', held[0]!);
  assert.deepEqual(pair.b.drops, ['unknown-index']);
  pair.hold = () => true;
  pair.clock.runUntil(bornAt + 540_000);
  for (const end of [pair.a, pair.b]) {
    assert.equal(end.keypairs.size, 0);
    assert.equal(end.tunnels.isUp(peer), false);
    assert.equal(end.tunnels.deadline(), undefined, 'no timer runs for an idle peer');
  }
});

test('received data is answered with a keepalive after 10 s of silence', () => {
  const pair = connected();
  pair.clock.run(30_000);
  pair.clear();
  pair.a.send(peer, packet('anybody there?'));
  pair.clock.run(stepMs + 9_999);
  assert.deepEqual(pair.kinds(), ['a transport']);
  pair.clock.run(1);
  assert.deepEqual(pair.kinds(), ['a transport', 'b transport']);
  pair.clock.run(30_000);
  assert.equal(pair.sent.length, 2, 'a keepalive is not answered');
});

test('data without any answer starts a handshake after 15 s and a jitter', () => {
  const pair = connected();
  pair.clock.run(30_000);
  pair.clear();
  pair.hold = () => true;
  pair.a.send(peer, packet('hello?'));
  pair.clock.run(14_999);
  assert.deepEqual(pair.kinds(), ['a transport']);
  pair.clock.run(1 + 333);
  assert.deepEqual(pair.kinds(), ['a transport', 'a handshake-initiation']);
});

test('a peer that never answers is reported after 90 s, and tried again when data wants it', () => {
  const pair = new Pair();
  pair.hold = () => true;
  pair.a.send(peer, packet('hello?'));
  pair.clock.run(89_000);
  assert.deepEqual(pair.a.outputsOf('handshake-failed'), []);
  pair.clock.run(7_000);
  assert.deepEqual(pair.a.outputsOf('handshake-failed'), [
    { kind: 'handshake-failed', peer, reason: 'no-answer' },
  ]);
  const tries = pair.sent.length;
  assert.ok(tries >= 17 && tries <= 18, `${tries} initiations`);
  pair.clock.run(60_000);
  assert.equal(pair.sent.length, tries, 'silence after that');
  assert.equal(pair.a.tunnels.deadline(), undefined);
  pair.hold = undefined;
  pair.a.send(peer, packet('again'));
  pair.clock.run(10);
  pair.assertTalking();
});

test('retransmissions of two ends drift apart by their jitter', () => {
  const pair = new Pair();
  pair.hold = () => true;
  pair.a.send(peer, packet('x'));
  pair.b.send(peer, packet('y'));
  pair.clock.run(60_000);
  const times = new Set(pair.a.outputsOf('send-datagram').map(({ bytes }) => hex(bytes)));
  assert.ok(times.size >= 11);
});

test('a wish for a session waits for a path and starts with it', () => {
  const pair = new Pair({}, { withoutPath: true });
  pair.a.send(peer, packet('hello'));
  pair.clock.run(600_000);
  assert.deepEqual(pair.sent, []);
  pair.a.setPath(peer, path(pair.address.b));
  pair.clock.run(10);
  pair.assertTalking();
  assert.deepEqual(pair.a.outputsOf('handshake-failed'), []);
});

test('a path that goes away pauses the handshake, its return resumes it', () => {
  const pair = new Pair();
  pair.hold = () => true;
  pair.a.send(peer, packet('hello'));
  pair.clock.run(1000);
  pair.a.setPath(peer, undefined);
  pair.clock.run(300_000);
  assert.equal(pair.sent.length, 1);
  pair.hold = undefined;
  pair.a.setPath(peer, path(pair.address.b));
  pair.clock.run(10);
  pair.assertTalking();
});

test('an initiation that went by a dead path goes by the next one at once, but for a gap that a flapping path cannot shorten', () => {
  const pair = new Pair();
  pair.hold = () => true;
  pair.a.send(peer, packet('hello'));
  pair.clock.run(900);
  pair.hold = undefined;
  pair.a.setPath(peer, path(pair.address.b, 51821));
  pair.clock.run(10);
  pair.assertTalking();

  const flapping = new Pair();
  flapping.hold = () => true;
  flapping.a.send(peer, packet('hello'));
  for (let i = 0; i < 100; i++) {
    flapping.clock.run(100);
    flapping.a.setPath(peer, path(flapping.address.b, 51821 + (i % 2)));
  }
  assert.equal(flapping.sent.length, 21, 'every half second in 10 s');
});

test('a handshake that waited for a path begins soon after the last one on the path that was lost', () => {
  const pair = new Pair();
  pair.hold = () => true;
  pair.a.send(peer, packet('hello'));
  pair.clock.run(100);
  pair.a.setPath(peer, undefined);
  pair.hold = undefined;
  pair.clock.run(100);
  pair.a.setPath(peer, path(pair.address.b));
  pair.clock.run(310);
  pair.assertTalking();
});

test('packets that were on the way during a rekey still arrive, at either end', () => {
  const pair = connected();
  pair.clock.run(6_000);
  const held: { readonly to: 'a' | 'b'; readonly bytes: Uint8Array }[] = [];
  pair.hold = (from, bytes) => held.push({ to: from === 'a' ? 'b' : 'a', bytes }) > 0;
  pair.a.send(peer, packet('slow'));
  pair.b.send(peer, packet('slower'));
  pair.hold = undefined;
  pair.a.handle({ kind: 'rekey', peer });
  pair.clock.run(10);
  pair.clear();
  for (const { to, bytes } of held) pair.deliver(to, bytes);
  assert.equal(pair.a.received.length, 1);
  assert.equal(pair.b.received.length, 1);
});

test('one keepalive pays for all data before it, and an answer pays as well', () => {
  const pair = connected();
  pair.clock.run(30_000);
  const before = pair.a.keepalivesReceived;
  pair.a.send(peer, packet('one'));
  pair.clock.run(5_000);
  pair.a.send(peer, packet('two'));
  pair.clock.run(5_000 + 2 * stepMs);
  assert.equal(pair.a.keepalivesReceived - before, 1);
  pair.clock.run(30_000);
  assert.equal(pair.a.keepalivesReceived - before, 1);

  pair.a.send(peer, packet('three'));
  pair.clock.run(5_000);
  pair.b.send(peer, packet('answer'));
  pair.a.send(peer, packet('thanks'));
  pair.clock.run(9_999);
  assert.equal(pair.a.keepalivesReceived - before, 1, 'the answer paid for it');
});

test('a session that the other end made ends our own handshake', () => {
  const pair = new Pair();
  pair.hold = (from, bytes) => from === 'a' && bytes[0] === 1;
  pair.a.send(peer, packet('lost'));
  pair.clock.run(1_000);
  pair.b.send(peer, packet('hello'));
  pair.clock.run(10);
  assert.equal(pair.a.outputsOf('session-up')[0]!.role, 'responder');
  pair.clear();
  pair.clock.run(9_000);
  assert.deepEqual(pair.kinds(), [], 'no retransmission');
  pair.assertTalking();
});

test('a handshake that is wanted within 5 s of the last one waits that long', () => {
  const pair = connected();
  const started = pair.clock.monotonic - 10;
  pair.clear();
  pair.a.handle({ kind: 'rekey', peer });
  pair.clock.runUntil(started + 4_999);
  assert.deepEqual(pair.kinds(), []);
  pair.clock.runUntil(started + 5_000);
  assert.deepEqual(pair.kinds(), ['a handshake-initiation']);
  pair.clock.run(10);
  pair.assertTalking();
});

test('a persistent keepalive keeps packets and sessions going', () => {
  const pair = connected({}, { keepaliveMs: 25_000 });
  pair.clear();
  pair.clock.run(3_600_000);
  const quietest = pair.sent.length;
  assert.ok(quietest >= 144 && quietest < 600, `${quietest} packets in an hour`);
  assert.ok(pair.a.tunnels.isUp(peer) && pair.b.tunnels.isUp(peer));
});

test('an end that moves is found by its next packet, and a handshake from elsewhere too', () => {
  const pair = connected();
  pair.address.a = '198.51.100.9';
  pair.a.send(peer, packet('from elsewhere'));
  pair.clock.run(10);
  assert.equal(pair.b.path(peer)!.remote.address, '198.51.100.9');
  pair.assertTalking();
  pair.clock.run(200_000);
  pair.address.a = '203.0.113.5';
  pair.a.send(peer, packet('new session'));
  pair.clock.run(10);
  assert.deepEqual(pair.b.outputsOf('heard').at(-1)!.from, path('203.0.113.5'));
  pair.assertTalking();
});

test('an end that restarts is back with its first packet; the other notices within 15 s', () => {
  const pair = connected();
  pair.b.stop();
  pair.b = pair.make('b');
  pair.b.send(peer, packet('I am back'));
  pair.clock.run(10);
  pair.assertTalking();

  pair.b.stop();
  pair.b = pair.make('b');
  pair.a.send(peer, packet('lost'));
  pair.clock.run(15_400);
  pair.assertTalking();
});

test('a clock that is set back does not mute an end, nor does a restart with that clock', () => {
  const pair = connected();
  pair.clock.stepWall(-86_400_000);
  pair.clock.run(200_000);
  pair.a.send(peer, packet('yesterday'));
  pair.clock.run(10);
  pair.assertTalking();

  const { lastTimestamp } = pair.a;
  assert.ok(lastTimestamp);
  pair.clock.run(1000);
  pair.a.stop();
  pair.clock.stepWall(-86_400_000);
  pair.a = pair.make('a', [psk(1)], { lastTimestamp });
  pair.a.send(peer, packet('the day before'));
  pair.clock.run(10);
  assert.deepEqual(pair.b.drops, []);
  pair.assertTalking();
});

test('without its high-water mark an end with a clock set back is muted: what the mark is for', () => {
  const pair = connected();
  pair.a.stop();
  pair.clock.stepWall(-86_400_000);
  pair.a = pair.make('a');
  pair.a.send(peer, packet('hello'));
  pair.clock.run(10);
  assert.deepEqual(pair.b.drops, ['drop-replayed']);
});

test('timestamps are reserved a minute ahead, so that not each handshake is written to disk', () => {
  const pair = new Pair();
  pair.hold = () => true;
  for (let i = 0; i < 10; i++) {
    pair.a.send(peer, packet('x'));
    pair.clock.run(5_400);
  }
  assert.equal(pair.a.outputsOf('persist-timestamp').length, 1);
  pair.clock.run(10_000);
  assert.equal(pair.a.outputsOf('persist-timestamp').length, 2);
  const order = pair.a.outputs.map(({ kind }) => kind);
  assert.ok(order.indexOf('persist-timestamp') < order.indexOf('send-datagram'));
});

test('an initiator tries each of its candidates on the response', () => {
  const pair = connected({
    a: [psk(1), psk(2), psk(3), psk(4, 'aes256gcm')],
    b: [psk(4, 'aes256gcm')],
  });
  const [up] = pair.a.outputsOf('session-up');
  assert.deepEqual([up!.pskIndex, up!.suite], [3, 'aes256gcm']);
  assert.deepEqual(pair.a.outputsOf('handshake-failed'), []);
  pair.assertTalking();
});

test('a mismatch of pre-shared keys is reported by the initiator and heals when they agree', () => {
  const pair = new Pair({ a: [psk(1), psk(2)], b: [psk(3)] });
  pair.a.send(peer, packet('hello'));
  pair.clock.run(20);
  assert.deepEqual(pair.a.outputsOf('handshake-failed'), [
    { kind: 'handshake-failed', peer, reason: 'psk-mismatch' },
  ]);
  assert.equal(pair.a.tunnels.counters()['drop-psk-mismatch'], 1);
  assert.equal(pair.a.tunnels.isUp(peer), false);
  assert.equal(pair.b.tunnels.isUp(peer), false, 'the responder sends nothing into the void');
  pair.a.handle({ kind: 'update-peer', peer, pskCandidates: [psk(3)] });
  pair.clock.run(6_000);
  pair.assertTalking();
});

test('a rekey on request changes to another suite without losing the session', () => {
  const pair = connected();
  pair.clock.run(6_000);
  for (const end of [pair.a, pair.b]) {
    end.handle({ kind: 'update-peer', peer, pskCandidates: [psk(9, 'aes256gcm'), psk(1)] });
  }
  pair.clear();
  pair.a.handle({ kind: 'rekey', peer });
  pair.assertTalking();
  pair.clock.run(10);
  const [up] = pair.a.outputsOf('session-up');
  assert.deepEqual([up!.suite, up!.isRekey], ['aes256gcm', true]);
  pair.assertTalking();
});

test('the rekey limit of messages starts a handshake by either end', () => {
  const pair = connected();
  pair.clock.run(6_000);
  pair.clear();
  pair.b.handle({ kind: 'rekey-limit', peer, localIndex: pair.b.activeIndex(peer)! });
  pair.b.handle({ kind: 'rekey-limit', peer, localIndex: 12345 });
  pair.clock.run(10);
  assert.deepEqual(pair.kinds().slice(0, 2), ['b handshake-initiation', 'a handshake-response']);
  pair.assertTalking();
});

test('a forged mac1, a foreign key and an unknown peer cost nothing and change nothing', () => {
  const pair = new Pair();
  const stranger = generateKeyPair(pair.crypto);
  const initiation = (from: KeyPair, to: Uint8Array) => {
    const { noise } = startInitiation(pair.crypto, from, to, encodeTai64n(1e12))!;
    const bytes = encodeInitiation({ senderIndex: 1, noise });
    new CookieHolder(pair.crypto, to, 120_000).addMacs(bytes, pair.clock.monotonic);
    return bytes;
  };
  const forged = initiation(pair.keys.a, pair.keys.b.publicKey);
  forged[116]! ^= 1;
  pair.deliver('b', forged);
  pair.deliver('b', initiation(pair.keys.a, stranger.publicKey));
  pair.deliver('b', initiation(stranger, pair.keys.b.publicKey));
  assert.deepEqual(pair.b.drops, ['drop-mac1', 'drop-mac1', 'drop-unknown-peer']);
  assert.deepEqual(pair.sent, []);
  assert.equal(pair.b.tunnels.deadline(), undefined);
  assert.deepEqual(pair.b.outputs, []);
});

test('an initiation that was recorded is useless later, and cannot move the path', () => {
  const pair = connected();
  const recorded = pair.sent[0]!.bytes;
  pair.clock.run(10_000);
  pair.clear();
  pair.deliver('b', recorded, '203.0.113.66');
  assert.deepEqual(pair.b.drops, ['drop-replayed']);
  assert.deepEqual(pair.b.outputs, []);
  assert.equal(pair.b.path(peer)!.remote.address, pair.address.a);
  pair.assertTalking();
});

test('a peer gets no more than 20 answers a second', () => {
  const pair = new Pair();
  const holder = new CookieHolder(pair.crypto, pair.keys.b.publicKey, 120_000);
  for (let i = 0; i < 200; i++) {
    const timestamp = encodeTai64n(pair.clock.now.wall + 1000 * i);
    const { noise } = startInitiation(pair.crypto, pair.keys.a, pair.keys.b.publicKey, timestamp)!;
    const bytes = encodeInitiation({ senderIndex: i, noise });
    holder.addMacs(bytes, pair.clock.monotonic);
    pair.deliver('b', bytes);
    pair.clock.run(5);
  }
  assert.equal(pair.b.outputsOf('send-datagram').length, 20);
  assert.ok(pair.b.keypairs.size <= 3);
});

test('low-order, own and duplicate public keys are refused', () => {
  const pair = new Pair();
  const { a, b } = pair.keys;
  const bad = [new Uint8Array(32), a.publicKey, b.publicKey, new Uint8Array(31)];
  for (const [i, key] of bad.entries()) pair.a.addPeer(100 + i, key, [psk(1)]);
  assert.deepEqual(
    pair.a.outputsOf('handshake-failed').map(({ reason }) => reason),
    ['bad-key', 'bad-key', 'bad-key', 'bad-key'],
  );
});

test('a low-order ephemeral key in an initiation is refused', () => {
  const pair = new Pair();
  const bytes = encodeInitiation({ senderIndex: 1, noise: new Uint8Array(108) });
  new CookieHolder(pair.crypto, pair.keys.b.publicKey, 1).addMacs(bytes, pair.clock.monotonic);
  pair.deliver('b', bytes);
  assert.deepEqual(pair.b.drops, ['drop-forged']);
});

test('under load a handshake takes a cookie, and works', () => {
  const pair = new Pair({}, { handshakesPerSecond: 0 });
  pair.a.send(peer, packet('hello'));
  pair.clock.run(30_000);
  pair.assertTalking();
  assert.ok(pair.kinds().includes('b cookie-reply'));
  assert.ok(pair.a.tunnels.counters()['cookies-received'] >= 1);
  assert.ok(pair.b.drops.includes('drop-mac2'));
});

test('a cookie is worth nothing from another address or after 120 s', () => {
  const pair = new Pair({}, { handshakesPerSecond: 0 });
  const { clock } = pair;
  const holder = new CookieHolder(pair.crypto, pair.keys.b.publicKey, 1e9);
  const initiation = (n: number) => {
    const { noise } = startInitiation(
      pair.crypto,
      pair.keys.a,
      pair.keys.b.publicKey,
      encodeTai64n(clock.now.wall + n * 100),
    )!;
    const bytes = encodeInitiation({ senderIndex: 99, noise });
    holder.addMacs(bytes, clock.monotonic);
    return bytes;
  };
  pair.deliver('b', initiation(1));
  const reply = pair.sent[0]!.bytes;
  assert.equal(messageKind(reply), 'cookie-reply');
  assert.ok(
    holder.accept(
      { receiverIndex: 99, nonce: reply.subarray(8, 32), sealedCookie: reply.subarray(32) },
      clock.monotonic,
    ),
  );
  pair.deliver('b', initiation(2), '203.0.113.66');
  assert.deepEqual(pair.b.drops, ['drop-mac2', 'drop-mac2'], 'another address');
  pair.deliver('b', initiation(3));
  assert.equal(pair.b.outputsOf('heard').length, 1, 'the right address');
  clock.run(119_000);
  pair.deliver('b', initiation(4));
  assert.equal(pair.b.outputsOf('heard').length, 2, 'still good');
  clock.run(1_000);
  pair.deliver('b', initiation(5));
  assert.deepEqual(pair.b.drops.slice(2), ['drop-mac2'], 'too old');
});

test('a forged, replayed or misdirected cookie reply is dropped', () => {
  const pair = new Pair({}, { handshakesPerSecond: 0 });
  const replies: Uint8Array[] = [];
  pair.hold = (from, bytes) => from === 'b' && replies.push(bytes) > 0;
  pair.a.send(peer, packet('hello'));
  pair.clock.run(10);
  const [reply] = replies;
  const forged = reply!.slice();
  forged[40]! ^= 1;
  pair.deliver('a', forged);
  const foreign = reply!.slice();
  foreign[4]! ^= 1;
  pair.deliver('a', foreign);
  pair.deliver('a', reply!);
  pair.deliver('a', reply!);
  assert.deepEqual(pair.a.drops, ['drop-cookie', 'drop-unknown-index', 'drop-cookie']);
  assert.equal(pair.a.tunnels.counters()['cookies-received'], 1);
});

test('forged responses do not end a handshake, and only so many are looked at', () => {
  const pair = new Pair({ a: [psk(1)] });
  let response: Uint8Array | undefined;
  pair.hold = (from, bytes) => {
    if (from === 'b') response = bytes;
    return from === 'b';
  };
  pair.a.send(peer, packet('hello'));
  pair.clock.run(10);
  const forge = (n: number) => {
    const forged = response!.slice();
    forged[44]! ^= n;
    new CookieHolder(pair.crypto, pair.keys.a.publicKey, 1).addMacs(forged, pair.clock.monotonic);
    return forged;
  };
  for (let n = 1; n <= 3; n++) pair.deliver('a', forge(n));
  pair.hold = undefined;
  pair.deliver('a', response!);
  pair.clock.run(10);
  pair.assertTalking();
  assert.equal(pair.a.tunnels.counters()['drop-psk-mismatch'], 3);

  const flooded = new Pair();
  flooded.hold = (from, bytes) => {
    if (from === 'b') response = bytes;
    return from === 'b';
  };
  flooded.a.send(peer, packet('hello'));
  flooded.clock.run(10);
  for (let n = 1; n <= 10; n++) flooded.deliver('a', forge(n));
  assert.equal(flooded.a.tunnels.counters()['drop-psk-mismatch'], 4);
  assert.equal(flooded.a.tunnels.counters()['drop-forged'], 6);
  flooded.hold = undefined;
  flooded.clock.run(6_000);
  flooded.assertTalking();
});

test('removing a peer erases its keys and ends its session; its late reports are ignored', () => {
  const pair = connected();
  const localIndex = pair.a.activeIndex(peer)!;
  pair.clear();
  pair.a.handle({ kind: 'remove-peer', peer });
  assert.deepEqual(
    pair.a.outputs.map(({ kind }) => kind),
    ['remove-keys', 'session-down'],
  );
  assert.equal(pair.a.keypairs.size, 0);
  assert.equal(pair.a.tunnels.deadline(), undefined);
  pair.a.handle({ kind: 'confirmed', peer, localIndex });
  pair.a.handle({ kind: 'rekey-limit', peer, localIndex });
  pair.a.handle({ kind: 'want-session', peer });
  pair.a.handle({ kind: 'remove-peer', peer });
  pair.clock.run(1000);
  assert.equal(pair.a.outputs.length, 2);
});

test('a peer without candidates neither starts nor answers a handshake', () => {
  const pair = new Pair({ a: [], b: [psk(1)] });
  pair.a.send(peer, packet('x'));
  pair.clock.run(10);
  assert.deepEqual(pair.sent, []);
  pair.b.send(peer, packet('x'));
  pair.clock.run(10);
  assert.deepEqual(pair.a.drops, ['drop-no-psk']);
});

test('three hundred peers have their deadlines kept', () => {
  const times = { ...wireguardTimes, rekeyAttemptMs: 5_000 };
  const pair = new Pair({}, { times });
  for (let i = 0; i < 300; i++) {
    const { publicKey } = generateKeyPair(pair.crypto);
    pair.a.addPeer(1000 + i, publicKey, [psk(1)], path('192.0.2.77'));
    pair.a.handle({ kind: 'want-session', peer: 1000 + i });
    pair.clock.run(3);
  }
  pair.clock.run(5_400);
  const failed = pair.a.outputsOf('handshake-failed').map(({ peer: failedPeer }) => failedPeer);
  assert.equal(new Set(failed).size, 300);
  assert.equal(pair.a.tunnels.deadline(), undefined);
});

const golden: readonly string[] = [
  '0100000075a7052a961e77edd9ea143aba7e98b25488ec11d0d0cca9bd9e32e98dd8607713a6ed5b43ddb00e642d79546e50816a2994ec2a6573de7ab07b80e598acb931e9b88dea2bd61f85f205e440255aa500450f0d6e30fa0a23d1531677f10b64a3ef75b2414f32f5fd9cbedd8b3655a2c0fa004631e6fe9fed076955930713793300000000000000000000000000000000',
  '02000000f9aa7abc75a7052a2f238a5f8c75fde43751010f08a6a52ad9dad7637e3508764a3b78a6cef33737742a04a3c16c81052f00dd78861a8d7c7dad534e85a31552fdfa8eda53e7ad2300000000000000000000000000000000',
  '04000000f9aa7abc00000000000000008f20af445d3ba6d0699dfd655b28cc962c5228c3c9efdf02ce864038c30b2e19',
];
