import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BuriError } from '#core/errors.ts';
import type { Device } from './device.ts';
import { DeviceKeeper } from './device-keeper.ts';
import { Notices } from './notices.ts';

const addresses = {
  ipv4: '100.64.0.1',
  ipv6: 'fd62:7572:6900::6440:1',
  pool4: '100.64.0.0/10',
  pool6: 'fd62:7572:6900::/96',
};

function keeperOf(up: () => Promise<void>) {
  const notices = new Notices(() => {});
  const fatal: string[] = [];
  const device = { name: 'buri0', lost() {}, up } as unknown as Device;
  const onFatal = (error: BuriError) => void fatal.push(error.code);
  const keeper = new DeviceKeeper({ device, notices, wanted: () => addresses, onFatal });
  return { keeper, notices, fatal };
}

test('an interface that was removed is made again, however long its name is taken', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let attempts = 0;
  const { keeper, notices, fatal } = keeperOf(async () => {
    if (++attempts < 8) throw new BuriError('device-busy', 'taken');
  });
  keeper.lost('it was deleted');
  for (let second = 0; second < 200; second++) {
    t.mock.timers.tick(1000);
    await setImmediate();
  }
  assert.equal(attempts, 8);
  assert.deepEqual(notices.list(), []);
  assert.deepEqual(fatal, []);
});

test('an engine that failed is not asked again: the daemon ends', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let attempts = 0;
  const { keeper, fatal } = keeperOf(async () => {
    attempts++;
    throw new BuriError('engine-failed', 'gone');
  });
  keeper.lost('the engine failed');
  for (let second = 0; second < 60; second++) {
    t.mock.timers.tick(1000);
    await setImmediate();
  }
  assert.equal(attempts, 1);
  assert.deepEqual(fatal, ['engine-failed']);
});
