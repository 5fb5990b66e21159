import assert from 'node:assert/strict';
import { test } from 'node:test';
import { overlap, parsePrefix } from './prefix.ts';
import { checkOwnAddress, checkPools, type Route } from './routes.ts';

const pools = ['100.64.0.0/10', 'fd62:7572:6900::/96'];

test('prefixes overlap when one contains the other', () => {
  const cases: [string, string, boolean][] = [
    ['100.64.0.0/10', '100.100.1.0/24', true],
    ['100.64.0.0/10', '100.0.0.0/8', true],
    ['100.64.0.0/10', '100.128.0.0/10', false],
    ['100.64.0.0/10', '100.127.255.255', true],
    ['100.64.0.0/10', '10.0.0.0/8', false],
    ['fd62:7572:6900::/96', 'fd62:7572:6900::/48', true],
    ['fd62:7572:6900::/96', 'fd62:7572:6900:1::/64', false],
    ['fd62:7572:6900::/96', '100.64.0.0/10', false],
  ];
  for (const [a, b, expected] of cases) {
    assert.equal(overlap(parsePrefix(a)!, parsePrefix(b)!), expected, `${a} ${b}`);
    assert.equal(overlap(parsePrefix(b)!, parsePrefix(a)!), expected, `${b} ${a}`);
  }
});

test('what is no prefix is none', () => {
  for (const text of ['', '/', '1.2.3.4/33', '1.2.3/8', '::/129', 'default', '1.2.3.4/8/8']) {
    assert.equal(parsePrefix(text), undefined, text);
  }
});

test('a local route inside or around the pool is named in the error', () => {
  for (const route of [
    { dst: '100.64.7.0/24', dev: 'eth0' },
    { dst: '100.0.0.0/8', gateway: '192.0.2.1', dev: 'eth0' },
    { type: 'local', dst: '100.64.9.9', dev: 'eth1' },
    { dst: 'fd62:7572:6900::/48', dev: 'eth0' },
  ] satisfies Route[]) {
    assert.throws(
      () => checkPools(pools, [{ dst: 'default', dev: 'eth0' }, route], 'buri0'),
      (error: { code: string; message: string }) =>
        error.code === 'pool-overlap' && error.message.includes(route.dst),
    );
  }
});

test('default routes, halves of everything, the own device and other networks are no obstacle', () => {
  const routes: Route[] = [
    { dst: 'default', gateway: '192.0.2.1', dev: 'eth0' },
    { dst: '0.0.0.0/1', dev: 'tun9' },
    { dst: '::/1', dev: 'tun9' },
    { dst: '100.64.0.0/10', dev: 'buri0' },
    { dst: '192.168.1.0/24', dev: 'eth0' },
    { dst: 'fe80::/64', dev: 'eth0' },
    { dst: 'ff00::/8', dev: 'eth0' },
  ];
  checkPools(pools, routes, 'buri0');
  assert.throws(() => checkPools(['nonsense'], routes, 'buri0'), { code: 'pool-invalid' });
});

test('an own address outside the pool would make a route to somebody else’s network', () => {
  checkOwnAddress('100.64.0.1', '100.64.0.0/10');
  checkOwnAddress('fd62:7572:6900::6440:1', 'fd62:7572:6900::/96');
  for (const [address, pool] of [
    ['192.168.1.7', '100.64.0.0/24'],
    ['100.128.0.1', '100.64.0.0/10'],
    ['fd00::1', 'fd62:7572:6900::/96'],
    ['100.64.0.1', 'fd62:7572:6900::/96'],
  ] as const) {
    assert.throws(() => checkOwnAddress(address, pool), { code: 'pool-invalid' }, address);
  }
});
