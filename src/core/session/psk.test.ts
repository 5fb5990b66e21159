import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { type PairPskOptions, pairPsk } from './psk.ts';

const fill = (byte: number) => new Uint8Array(32).fill(byte);
const options: PairPskOptions = {
  secrets: [fill(9), fill(3)],
  suite: 'aes256gcm',
  extensionVersion: 1,
  epoch: 0x01020304,
  tunnelKeyA: fill(0xbb),
  tunnelKeyB: fill(0xaa),
};
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');

test('the key of a pair is the HKDF of the protocol', () => {
  const info = Buffer.concat([
    Buffer.from('627572692031', 'hex'), // buri 1
    Buffer.from('0201', 'hex'),
    Buffer.from('04030201', 'hex'),
    fill(0xaa),
    fill(0xbb),
  ]);
  const expected = hkdfSync('sha256', Buffer.concat([fill(3), fill(9)]), '', info, 32);
  assert.equal(hex(pairPsk(crypto, options)), hex(new Uint8Array(expected)));
});

test('both ends get the same key, whatever their order of secrets and keys', () => {
  const turned = {
    ...options,
    secrets: options.secrets.toReversed(),
    tunnelKeyA: options.tunnelKeyB,
    tunnelKeyB: options.tunnelKeyA,
  };
  assert.deepEqual(pairPsk(crypto, turned), pairPsk(crypto, options));
  assert.deepEqual(options.secrets, [fill(9), fill(3)], 'the caller keeps its order');
});

test('a difference in anything gives another key', () => {
  const changes: Partial<PairPskOptions>[] = [
    { secrets: [fill(9)] },
    { secrets: [fill(9), fill(3), fill(4)] },
    { suite: 'chacha20poly1305' },
    { extensionVersion: 2 },
    { epoch: 0x01020305 },
    { tunnelKeyA: fill(0xbc) },
  ];
  const keys = changes.map((change) => hex(pairPsk(crypto, { ...options, ...change })));
  assert.equal(new Set([hex(pairPsk(crypto, options)), ...keys]).size, changes.length + 1);
});

test('impossible arguments are assertions', () => {
  const bad: Partial<PairPskOptions>[] = [
    { secrets: [] },
    { secrets: [new Uint8Array(31)] },
    { tunnelKeyB: new Uint8Array(33) },
    { extensionVersion: 256 },
    { epoch: 2 ** 32 },
    { epoch: -1 },
  ];
  for (const change of bad) {
    assert.throws(() => pairPsk(crypto, { ...options, ...change }), /assertion/);
  }
});
