import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { ProbeGrants } from './coordinator/probe-grants.ts';
import { StunTokens } from './stun-token.ts';

const minuteMs = 60_000;
const tokens = new StunTokens(crypto, new Uint8Array(32).fill(1));
const issuedAtMs = 1_000_000 * minuteMs;
const address = '198.51.100.1';

test('a token proves the address that it was sent to, for ten minutes', () => {
  for (const own of [address, '2001:db8::1']) {
    const token = tokens.issue(own, issuedAtMs);
    assert.equal(token.length, 16);
    assert(tokens.verify(own, token, issuedAtMs));
    assert(tokens.verify(own, token, issuedAtMs + 10 * minuteMs));
    assert(!tokens.verify(own, token, issuedAtMs + 11 * minuteMs), 'it grows old');
    assert(!tokens.verify(own, token, issuedAtMs - minuteMs), 'nobody has it before');
    assert(!tokens.verify('198.51.100.2', token, issuedAtMs), 'of another address');
  }
});

test('a token that is altered, cut or of another server proves nothing', () => {
  const token = tokens.issue(address, issuedAtMs);
  for (let i = 0; i < token.length; i++) {
    const altered = token.with(i, token[i]! ^ 1);
    assert(!tokens.verify(address, altered, issuedAtMs), `byte ${i}`);
  }
  assert(!tokens.verify(address, token.subarray(1), issuedAtMs));
  assert(!tokens.verify(address, new Uint8Array(16), issuedAtMs));
  assert(!tokens.verify('no address', new Uint8Array(16), issuedAtMs));
  const other = new StunTokens(crypto, new Uint8Array(32).fill(2));
  assert(!other.verify(address, token, issuedAtMs));
});

const grantsFor = () => {
  const grants = new ProbeGrants(tokens);
  const proofs = [{ address, token: tokens.issue(address, issuedAtMs) }];
  const ask = (prober: string, target: string, atMs: number, shown = proofs) => {
    grants.wish(prober, target, atMs);
    return grants.grant(prober, target, shown, atMs, issuedAtMs);
  };
  return { grants, proofs, ask };
};

test('two may probe an address at a time, each for half a minute, and only who asked', () => {
  const { grants, proofs, ask } = grantsFor();
  assert.deepEqual(grants.grant('a', 'target', proofs, 0, issuedAtMs), [], 'nobody asked');
  assert.deepEqual(ask('a', 'target', 1000), [address]);
  assert.deepEqual(ask('b', 'target', 1000), [address]);
  assert.deepEqual(ask('c', 'target', 1000), []);
  assert.deepEqual(ask('c', 'another behind it', 20_000), [], 'the address counts, not the client');
  assert.deepEqual(ask('a', 'target', 30_000), [address], 'still its own grant');
  assert.deepEqual(ask('c', 'target', 31_000), [address]);
  assert.deepEqual(ask('a', 'target', 31_500), [address], 'the grant of b has ended too');
  assert.deepEqual(ask('b', 'target', 31_600), []);
});

test('a forged proof, or the address of a victim, grants nothing', () => {
  const { proofs, ask } = grantsFor();
  const victim = '203.0.113.99';
  const claims = [
    [{ address: victim, token: proofs[0]!.token }],
    [{ address: victim, token: crypto.random(16) }],
    [{ address, token: tokens.issue(address, issuedAtMs - 20 * minuteMs) }],
  ];
  for (const claim of claims) assert.deepEqual(ask('a', 'target', 1000, claim), []);
});

test('wishes and grants are bounded', () => {
  const { grants, ask } = grantsFor();
  for (let i = 0; i < 70_000; i++) grants.wish(`a${i}`, 'target', 1000);
  assert.deepEqual(ask('b', 'target', 1000), [address]);
  const without = new ProbeGrants(undefined);
  without.wish('a', 'target', 0);
  const proofs = [{ address, token: tokens.issue(address, issuedAtMs) }];
  assert.deepEqual(without.grant('a', 'target', proofs, 0, issuedAtMs), []);
});
