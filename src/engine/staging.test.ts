import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../test/support/packets.ts';
import { Staging } from './staging.ts';

const ITEM_WORDS = 3;
const LENGTH_WORD = 1;

function add(staging: Staging, peer: number, bytes: Uint8Array): void {
  staging.add(peer, Int32Array.of(peer, bytes.length, 77), bytes);
}

function take(staging: Staging, peer: number): Uint8Array | undefined {
  const row = new Int32Array(ITEM_WORDS);
  const target = new Uint8Array(70_000);
  const length = staging.take(peer, row, target, LENGTH_WORD);
  if (length < 0) return undefined;
  assert.deepEqual([...row], [peer, length, 77]);
  return target.subarray(0, length);
}

const packet = (fill: number, length: number): Uint8Array => new Uint8Array(length).fill(fill);

describe('staging', () => {
  test('gives packets of a peer back in order and those of no other', () => {
    const staging = new Staging(ITEM_WORDS, 4_096, 2_048);
    add(staging, 1, packet(1, 100));
    add(staging, 2, packet(2, 50));
    add(staging, 1, packet(3, 100));
    assert.deepEqual(take(staging, 1), packet(1, 100));
    assert.deepEqual(take(staging, 1), packet(3, 100));
    assert.equal(take(staging, 1), undefined);
    assert.deepEqual(take(staging, 2), packet(2, 50));
  });

  test('drops the oldest of a peer beyond its share', () => {
    const staging = new Staging(ITEM_WORDS, 65_536, 1_000);
    for (let i = 0; i < 10; i++) add(staging, 1, packet(i, 300));
    assert.ok(staging.bytesOf(1) <= 1_000);
    assert.equal(staging.takeDropped(), 7);
    assert.equal(staging.takeDropped(), 0);
    assert.deepEqual([take(staging, 1)![0], take(staging, 1)![0], take(staging, 1)![0]], [7, 8, 9]);
  });

  test('drops the oldest of all when the whole is full', () => {
    const staging = new Staging(ITEM_WORDS, 2_048, 2_048);
    for (let peer = 0; peer < 10; peer++) add(staging, peer, packet(peer, 400));
    assert.equal(take(staging, 0), undefined);
    assert.deepEqual(take(staging, 9), packet(9, 400));
  });

  test('refuses a packet that is larger than the share of a peer', () => {
    const staging = new Staging(ITEM_WORDS, 65_536, 1_000);
    add(staging, 1, packet(1, 2_000));
    assert.equal(staging.bytesOf(1), 0);
    assert.equal(staging.takeDropped(), 1);
  });

  test('forgets a peer that is cleared', () => {
    const staging = new Staging(ITEM_WORDS, 4_096, 4_096);
    add(staging, 1, packet(1, 100));
    add(staging, 2, packet(2, 100));
    staging.clear(1);
    assert.equal(take(staging, 1), undefined);
    assert.deepEqual(take(staging, 2), packet(2, 100));
  });

  test('behaves like queues that lose only their oldest, over long random use (50 seeds)', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed);
      const staging = new Staging(ITEM_WORDS, 8_192, 3_000);
      const model = new Map<number, Uint8Array[]>();
      for (let step = 0; step < 400; step++) {
        const peer = random.below(4);
        const queue = model.get(peer) ?? [];
        if (random.below(3) > 0) {
          const bytes = random.bytes(1 + random.below(900));
          add(staging, peer, bytes);
          model.set(peer, [...queue, bytes]);
        } else {
          const taken = take(staging, peer);
          // What comes is in the model, and what is skipped was dropped as older.
          const at =
            taken === undefined
              ? queue.length
              : queue.findIndex((b) => Buffer.compare(b, taken) === 0);
          assert.ok(at >= 0, `seed ${seed}, step ${step}`);
          model.set(peer, queue.slice(at + 1));
        }
        assert.ok(staging.bytesOf(peer) <= 3_000);
      }
    }
  });
});
