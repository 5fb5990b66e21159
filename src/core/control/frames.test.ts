import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxChunkBytes } from '#wire/control.ts';
import { FrameChannel, type FrameCipher } from './frames.ts';

/** A counter and a checksum instead of a cipher: enough to notice loss, replay and edits. */
function countingCipher(): FrameCipher {
  let counter = 0;
  const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
  return {
    encryptWithAd: (_, plaintext) => {
      const sealed = new Uint8Array(2 + plaintext.length);
      sealed.set([counter++ & 0xff, sum(plaintext)]);
      sealed.set(plaintext, 2);
      return sealed;
    },
    decryptWithAd: (_, sealed) => {
      const body = sealed.slice(2);
      if (sealed[0] !== (counter & 0xff) || sealed[1] !== sum(body)) return undefined;
      counter++;
      return body;
    },
  };
}

const pair = (maxReceivedBytes = 1_000_000) => {
  const sender = new FrameChannel({
    send: countingCipher(),
    receive: countingCipher(),
    maxReceivedBytes,
  });
  const receiver = new FrameChannel({
    send: countingCipher(),
    receive: countingCipher(),
    maxReceivedBytes,
  });
  return { sender, receiver };
};
const pattern = (lengthBytes: number) => Uint8Array.from({ length: lengthBytes }, (_, i) => i * 7);

test('a message of any length arrives whole, cut into as few frames as fit', () => {
  const { sender, receiver } = pair();
  for (const lengthBytes of [1, 2, maxChunkBytes - 1, maxChunkBytes, maxChunkBytes + 1, 300_000]) {
    const frames = sender.seal(pattern(lengthBytes));
    assert.equal(frames.length, Math.ceil(lengthBytes / maxChunkBytes));
    const last = frames.pop()!;
    for (const frame of frames) assert.equal(receiver.open(frame).kind, 'partial');
    assert.deepEqual(receiver.open(last), { kind: 'message', bytes: pattern(lengthBytes) });
  }
});

test('a lost, repeated or edited frame breaks the channel for good', () => {
  for (const harm of ['lost', 'repeated', 'edited'] as const) {
    const { sender, receiver } = pair();
    const first = sender.seal(pattern(10))[0]!;
    const second = sender.seal(pattern(20))[0]!;
    if (harm !== 'lost') assert.equal(receiver.open(first).kind, 'message');
    if (harm === 'edited') second[5]! ^= 1;
    const opened = receiver.open(harm === 'repeated' ? first : second);
    assert.deepEqual(opened, { kind: 'broken', reason: 'forged' });
    assert.equal(receiver.open(sender.seal(pattern(3))[0]!).kind, 'broken');
  }
});

test('a message above the bound is refused before it is whole', () => {
  const { sender, receiver } = pair(100_000);
  const frames = sender.seal(pattern(100_001));
  assert.equal(receiver.open(frames[0]!).kind, 'partial');
  assert.deepEqual(receiver.open(frames[1]!), { kind: 'broken', reason: 'too-long' });
});

test('unknown flags, an empty frame and an empty chunk are malformed', () => {
  for (const plaintext of [[], [0], [1], [2, 9], [0x80, 9]]) {
    const { receiver } = pair();
    const sealed = countingCipher().encryptWithAd(new Uint8Array(0), Uint8Array.from(plaintext));
    assert.deepEqual(receiver.open(sealed), { kind: 'broken', reason: 'malformed' });
  }
});

test('many small chunks cost memory in proportion to what arrived', () => {
  const { receiver } = pair(70_000);
  const cipher = countingCipher();
  const ad = new Uint8Array(0);
  for (let i = 0; i < 69_999; i++) {
    assert.equal(receiver.open(cipher.encryptWithAd(ad, Uint8Array.of(1, i))).kind, 'partial');
  }
  const opened = receiver.open(cipher.encryptWithAd(ad, Uint8Array.of(0, 1)));
  assert.equal(opened.kind === 'message' && opened.bytes.length, 70_000);
});
