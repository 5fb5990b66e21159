import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Secret } from './secret.ts';

test('a secret shows itself nowhere', () => {
  const secret = new Secret(new Uint8Array(32).fill(0xab));
  const shown = [
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    inspect(secret),
    Object.keys(secret).join(),
  ];
  for (const text of shown) assert.doesNotMatch(text, /171|ab\s?ab/);
});

test('secrets are equal by content, and none is equal once erased', () => {
  const make = (byte: number) => new Secret(new Uint8Array(32).fill(byte));
  const one = make(1);
  assert.ok(one.equals(make(1)));
  assert.ok(!one.equals(make(2)));
  one.erase();
  assert.ok(one.erased);
  assert.ok(!one.equals(make(1)) && !make(1).equals(one) && !one.equals(one));
});

test('erasing overwrites the bytes, and later use is an assertion', () => {
  const original = new Uint8Array(32).fill(5);
  const secret = new Secret(original);
  const held = secret.bytes();
  secret.erase();
  assert.deepEqual(held, new Uint8Array(32));
  assert.deepEqual(original, new Uint8Array(32).fill(5), 'the caller keeps its own copy');
  assert.throws(() => secret.bytes(), /erased/);
  assert.throws(() => new Secret(new Uint8Array(31)), /32 bytes/);
});
