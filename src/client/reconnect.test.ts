import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlError } from './control-error.ts';
import { isFinalRefusal, isRefusal, reconnectDelayMs } from './control-link.ts';

const lost = new ControlError('connection-lost', '');

test('attempts come 1, 2, 4 … 60 s apart, each shortened by up to a half', () => {
  const longest = [1, 2, 3, 4, 5, 6, 7, 8, 100].map((n) => reconnectDelayMs(n, lost, 0));
  assert.deepEqual(longest, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  for (const failures of [1, 4, 100]) {
    const most = reconnectDelayMs(failures, lost, 0);
    assert.equal(reconnectDelayMs(failures, lost, 1), most / 2);
  }
});

test('a wrong key, a wrong version and a copied identity are no reason to hurry', () => {
  for (const code of ['server-key-mismatch', 'version-unsupported', 'identity-in-use']) {
    assert.ok(reconnectDelayMs(1, new ControlError(code, ''), 1) >= 30_000, code);
  }
});

test('a server that asks for patience is given it', () => {
  assert.equal(reconnectDelayMs(1, new ControlError('server-busy', '', 90_000), 0.5), 112_500);
  assert.equal(reconnectDelayMs(1, new ControlError('server-busy', '', 90_000), 0), 90_000);
});

test('only trouble on the way is worth trying again behind the back of the user', () => {
  assert.equal(isRefusal(lost), false);
  assert.equal(isRefusal(new ControlError('server-unreachable', '')), false);
  assert.equal(isRefusal(new ControlError('token-required', '')), true);
});

test('a refusal that names a time is not final: a relay that was killed and started again waits for its old connection to be given up', () => {
  assert.equal(isFinalRefusal(new ControlError('login-in-progress', '', 3_000)), false);
  assert.equal(isFinalRefusal(new ControlError('token-required', '')), true);
  assert.equal(isFinalRefusal(lost), false);
});
