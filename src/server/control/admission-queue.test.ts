import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { AdmissionQueue, type Newcomer } from './admission-queue.ts';
import {
  handshakePatienceMs,
  leastRetryMs,
  maxHandshakes,
  maxHandshakesPerPrefix,
  maxHandshakesPerWidePrefix,
  maxQueuedNewcomers,
  maxQueuedPerPrefix,
  maxQueuedPerWidePrefix,
  mostRetryMs,
} from './limits.ts';

let queue: AdmissionQueue;
const begun: string[] = [];
const refused: [string, number][] = [];
const release = new Map<string, () => void>();

afterEach(() => mock.timers.reset());
beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  queue = new AdmissionQueue(() => 0.5);
  begun.length = refused.length = 0;
});

/** Each from an address and a neighbourhood of its own, unless they are given. */
function enter(name: string, narrow = name, wide = narrow): () => void {
  const newcomer: Newcomer = {
    prefixes: { narrow, wide },
    begin: (free) => {
      begun.push(name);
      release.set(name, free);
    },
    giveUp: (retryMs) => refused.push([name, retryMs]),
  };
  queue.enter(newcomer);
  return () => queue.leave(newcomer);
}
const many = (count: number, name: string, prefix?: string) =>
  Array.from({ length: count }, (_, i) => enter(`${name} ${i}`, prefix));

test('as many as there are places begin; the others follow in order', () => {
  many(maxHandshakes, 'first');
  enter('a');
  enter('b');
  assert.equal(begun.length, maxHandshakes);
  release.get('first 0')!();
  release.get('first 0')!();
  assert.deepEqual(begun.slice(maxHandshakes), ['a'], 'a place is given free once');
  release.get('first 7')!();
  assert.deepEqual(begun.slice(maxHandshakes), ['a', 'b']);
});

test('a crowd behind one address leaves places to others', () => {
  many(maxHandshakesPerPrefix + 100, 'crowd', '198.51.100.1');
  assert.equal(begun.length, maxHandshakesPerPrefix);
  enter('somebody');
  assert.equal(begun.at(-1), 'somebody');
  release.get('somebody')!();
  assert.equal(begun.length, maxHandshakesPerPrefix + 1, 'its place is no place for the crowd');
  release.get('crowd 0')!();
  assert.equal(begun.at(-1), `crowd ${maxHandshakesPerPrefix}`);
});

test('who has waited too long is told when to come back, and who left is not called', () => {
  many(maxHandshakes, 'first');
  enter('patient');
  enter('gone')();
  mock.timers.tick(handshakePatienceMs);
  assert.deepEqual(
    refused.map(([name]) => name),
    ['patient'],
  );
  assert.ok(refused[0]![1] >= leastRetryMs);
  release.get('first 0')!();
  assert.equal(begun.length, maxHandshakes);
  assert.equal(queue.length, 0);
});

test('beyond the queue newcomers are refused at once, for a bounded time', () => {
  many(maxHandshakes, 'first');
  many(maxQueuedNewcomers, 'waits');
  enter('one too many');
  const [name, retryMs] = refused[0]!;
  assert.equal(name, 'one too many');
  assert.equal(retryMs, 1.5 * mostRetryMs, 'nobody has been served: as late as it may be');
  assert.equal(queue.length, maxQueuedNewcomers);
});

test('when the server ends, whoever waits is told to come again', () => {
  many(maxHandshakes, 'first');
  enter('a');
  enter('b');
  queue.close();
  assert.deepEqual(
    refused.map(([name]) => name),
    ['a', 'b'],
  );
  release.get('first 0')!();
  assert.equal(begun.length, maxHandshakes);
});

test('a crowd behind one address fills neither the places nor the queue', () => {
  many(maxHandshakesPerPrefix + maxQueuedPerPrefix + 10, 'crowd', '198.51.100.1');
  assert.equal(begun.length, maxHandshakesPerPrefix);
  assert.equal(queue.length, maxQueuedPerPrefix);
  assert.equal(refused.length, 10);
  release.get('crowd 0')!();
  enter('crowd again', '198.51.100.1');
  assert.equal(refused.length, 10, 'one of them has moved up');
});

test('somebody with many /64s of one /48 takes neither all places nor all of the queue', () => {
  for (let i = 0; i < 8_000; i++)
    enter(`crowd ${i}`, `2001:db8:0:${(i % 800).toString(16)}::/64`, '2001:db8::/48');
  assert.equal(begun.length, maxHandshakesPerWidePrefix);
  assert.equal(queue.length, maxQueuedPerWidePrefix);
  enter('somebody');
  assert.equal(begun.at(-1), 'somebody');
});

test('it is crowded while somebody waits, and while who was told to come back has not had the time to', () => {
  many(maxHandshakes, 'first');
  assert.equal(queue.isCrowded, false);
  const leave = enter('waits');
  assert.equal(queue.isCrowded, true);
  leave();
  assert.equal(queue.isCrowded, false);
  enter('turned away');
  mock.timers.tick(handshakePatienceMs);
  assert.equal(queue.length, 0);
  assert.equal(queue.isCrowded, true);
});
