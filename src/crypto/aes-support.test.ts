import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuinfoHasAes, isAesAccelerated } from './aes-support.ts';

test('AES support is read from the flags of every core', () => {
  const x86 = 'processor\t: 0\nflags\t\t: fpu aes pclmulqdq avx\n';
  assert.ok(cpuinfoHasAes(x86));
  assert.ok(cpuinfoHasAes('Features\t: fp asimd aes pmull sha1\n'));
  assert.ok(!cpuinfoHasAes('flags\t\t: fpu aes avx\n'), 'without carry-less multiplication');
  assert.ok(!cpuinfoHasAes('flags\t\t: fpu vaes pclmulqdq\n'), 'a flag that only ends in aes');
  assert.ok(!cpuinfoHasAes(`${x86}flags\t\t: fpu\n`), 'one core without');
  assert.ok(!cpuinfoHasAes(''));
});

test('the answer for this machine does not change', () => {
  assert.equal(isAesAccelerated(), isAesAccelerated());
});
