import assert from 'node:assert/strict';
import { test } from 'node:test';
import { argon2id, defaultArgon2Cost, derive } from './argon2.ts';

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
const password = new TextEncoder().encode('correct horse');
const salt = new Uint8Array(16).fill(9);

test('Argon2id gives the tag of RFC 9106 §5.3', async () => {
  const tag = await derive(
    new Uint8Array(32).fill(1),
    new Uint8Array(16).fill(2),
    32,
    { memoryKib: 32, passes: 3, parallelism: 4 },
    { secret: new Uint8Array(8).fill(3), associatedData: new Uint8Array(12).fill(4) },
  );
  assert.equal(hex(tag), '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659');
});

test('a password gives the same key at the same salt and cost, and another key at others', async () => {
  const first = await argon2id(password, salt, 64);
  assert.equal(first.length, 64);
  assert.deepEqual(await argon2id(password, salt, 64), first);
  assert.notDeepEqual(
    await argon2id(
      password,
      salt.map((byte) => byte ^ 1),
      64,
    ),
    first,
  );
  const more = { ...defaultArgon2Cost, passes: 4 };
  assert.notDeepEqual(await argon2id(password, salt, 64, more), first);
});

test('a cost below the minimum or above the maximum is refused', async () => {
  const refused = [
    { memoryKib: 1024 },
    { memoryKib: 4 * 1024 * 1024 },
    { passes: 2 },
    { passes: 17 },
    { passes: 3.5 },
    { parallelism: 0 },
    { parallelism: 5 },
  ];
  for (const change of refused) {
    await assert.rejects(argon2id(password, salt, 32, { ...defaultArgon2Cost, ...change }), {
      code: 'argon2-cost',
    });
  }
});

test('a short or overlong salt is refused', async () => {
  for (const length of [0, 15, 65]) {
    await assert.rejects(argon2id(password, new Uint8Array(length), 32), { code: 'argon2-salt' });
  }
});
