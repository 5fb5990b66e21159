import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lanRoutes } from './lan-routes.ts';
import { broadcastsOf } from './prefix.ts';
import type { Route } from './routes.ts';

const metrics = (...routes: Route[]) =>
  lanRoutes(routes, 'buri0').map(({ destination, metric }) => `${destination} ${metric}`);

test('without others the routes have their usual metrics, as they are the most specific', () => {
  const usual = ['255.255.255.255/32 256', '224.0.0.0/4 256', 'ff00::/8 255'];
  assert.deepEqual(metrics(), usual);
  const others: Route[] = [
    { dst: 'default', dev: 'eth0', gateway: '192.0.2.1', metric: 100 },
    { dst: '224.0.0.0/5', dev: 'eth0', metric: 1 },
    { dst: '192.0.2.255', dev: 'eth0', type: 'broadcast' },
  ];
  assert.deepEqual(metrics(...others), usual);
});

test('a metric is below the lowest of the same destination, and those of the own interface do not count', () => {
  assert.deepEqual(
    metrics(
      { dst: '224.0.0.0/4', dev: 'eth0', metric: 100 },
      { dst: '224.0.0.0/4', dev: 'eth1', metric: 50 },
      { dst: '255.255.255.255', dev: 'eth0', metric: 1024 },
      { dst: 'ff00::/8', dev: 'eth0', type: 'multicast', metric: 256 },
      { dst: 'ff00::/8', dev: 'buri0', type: 'multicast', metric: 3 },
    ),
    ['255.255.255.255/32 256', '224.0.0.0/4 49', 'ff00::/8 255'],
  );
});

test('there is nothing below the lowest metric', () => {
  assert.deepEqual(
    metrics(
      { dst: '224.0.0.0/4', dev: 'eth0' },
      { dst: 'ff00::/8', dev: 'eth0', metric: 1 },
      { dst: '255.255.255.255', dev: 'eth0', metric: 0 },
    ),
    ['255.255.255.255/32 0', '224.0.0.0/4 0', 'ff00::/8 1'],
  );
});

test('the reason names the route that served before', () => {
  const [, multicast] = lanRoutes([{ dst: '224.0.0.0/4', dev: 'eth0', metric: 7 }], 'buri0');
  assert.match(multicast!.why, /224\.0\.0\.0\/4 dev eth0 with metric 7/);
});

test('the directed broadcast of a pool is its last address', () => {
  assert.deepEqual(broadcastsOf('100.64.0.0/10'), ['100.127.255.255']);
  assert.deepEqual(broadcastsOf('10.1.2.0/23'), ['10.1.3.255']);
  assert.deepEqual(broadcastsOf('10.1.2.4/30'), ['10.1.2.7']);
  assert.deepEqual(broadcastsOf('10.1.2.4/31'), []);
  assert.deepEqual(broadcastsOf('fd62:7572:6900::/96'), []);
  assert.deepEqual(broadcastsOf('nonsense'), []);
});
