import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatEndpoint } from '#wire/endpoint.ts';
import { VirtualClock } from './clock.ts';
import { type LinkOptions, Network } from './network.ts';
import { Random } from './random.ts';

function network(link: Partial<LinkOptions> = {}, seed = 1) {
  const clock = new VirtualClock();
  return { clock, net: new Network(clock, new Random(seed), link) };
}
const bytes = Uint8Array.of(1);

test('a packet crosses LAN, router and Internet with their delays, and the answer finds its way back', () => {
  const { clock, net } = network({ delayMs: 20 });
  const home = net.home({ name: 'a', kind: 'port-restricted', publicAddress: '198.51.100.1' });
  const inside = home.host('inside', ['192.168.1.2']);
  const outside = net.internet.host('outside', ['203.0.113.1']);
  const log: string[] = [];
  const start = clock.monotonic;
  outside.bind(7, (data, remote) => {
    log.push(`${clock.monotonic - start} from ${formatEndpoint(remote)}`);
    outside.send(7, remote, data);
  });
  inside.bind(5000, (_, remote) =>
    log.push(`${clock.monotonic - start} from ${formatEndpoint(remote)}`),
  );
  inside.send(5000, { address: '203.0.113.1', port: 7 }, bytes);
  clock.run(1000);
  assert.deepEqual(log, ['21 from 198.51.100.1:5000', '42 from 203.0.113.1:7']);
});

test('hosts of a LAN reach each other directly, by hairpin only where the router does it', () => {
  for (const hairpin of [false, true]) {
    const { clock, net } = network();
    const home = net.home({ name: 'a', kind: 'full-cone', publicAddress: '198.51.100.1', hairpin });
    const [one, two] = [home.host('1', ['192.168.1.2']), home.host('2', ['192.168.1.3'])];
    let arrived = 0;
    two.bind(5000, () => arrived++);
    one.send(4000, { address: '192.168.1.3', port: 5000 }, bytes);
    clock.run(100);
    assert.equal(arrived, 1);
    two.send(5000, { address: '203.0.113.1', port: 1 }, bytes);
    clock.run(100);
    one.send(4000, { address: '198.51.100.1', port: 5000 }, bytes);
    clock.run(100);
    assert.equal(arrived, hairpin ? 2 : 1);
  }
});

test('homes nest: a carrier translates once more', () => {
  const { clock, net } = network();
  const carrier = net.home({ name: 'isp', kind: 'symmetric-block', publicAddress: '198.51.100.1' });
  const home = net.home({
    ...{ name: 'a', kind: 'port-restricted', publicAddress: '100.64.0.2' },
    outside: carrier.realm,
  });
  const inside = home.host('inside', ['192.168.1.2']);
  const outside = net.internet.host('outside', ['203.0.113.1']);
  let seen = '';
  outside.bind(7, (_, remote) => {
    seen = remote.address;
  });
  inside.send(5000, { address: '203.0.113.1', port: 7 }, bytes);
  clock.run(1000);
  assert.equal(seen, '198.51.100.1');
});

test('a time to live of two dies behind the first router', () => {
  const { clock, net } = network();
  const [a, b] = [1, 2].map((i) =>
    net.home({ name: `${i}`, kind: 'none', publicAddress: `198.51.100.${i}` }),
  );
  const [from, to] = [a!.host('from', ['198.18.1.2']), b!.host('to', ['198.18.2.2'])];
  const arrived: number[] = [];
  to.bind(7, (data) => arrived.push(data[0]!));
  for (const ttl of [1, 2, 3])
    from.send(7, { address: '198.18.2.2', port: 7 }, Uint8Array.of(ttl), ttl);
  clock.run(1000);
  assert.deepEqual(arrived, [3]);
});

test('IPv6 is not translated, but filtered', () => {
  const { clock, net } = network();
  const home = net.home({ name: 'a', kind: 'symmetric', publicAddress: '198.51.100.1' });
  const inside = home.host('inside', ['192.168.1.2', '2001:db8:1::2']);
  const outside = net.internet.host('outside', ['2001:db8:2::1']);
  const arrived: string[] = [];
  inside.bind(7, () => arrived.push('inside'));
  outside.bind(7, (_, remote) => arrived.push(remote.address));
  outside.send(7, { address: '2001:db8:1::2', port: 7 }, bytes);
  clock.run(1000);
  inside.send(7, { address: '2001:db8:2::1', port: 7 }, bytes);
  clock.run(1000);
  outside.send(7, { address: '2001:db8:1::2', port: 7 }, bytes);
  clock.run(1000);
  assert.deepEqual(arrived, ['2001:db8:1::2', 'inside']);
});

test('loss, duplication and reordering come from the seed, so that a run repeats', () => {
  const runOnce = (seed: number) => {
    const { clock, net } = network({ loss: 0.2, duplication: 0.1, jitterMs: 50 }, seed);
    const [a, b] = [
      net.internet.host('a', ['203.0.113.1']),
      net.internet.host('b', ['203.0.113.2']),
    ];
    const arrived: number[] = [];
    b.bind(7, (data) => arrived.push(data[0]!));
    for (let i = 0; i < 200; i++) {
      a.send(7, { address: '203.0.113.2', port: 7 }, Uint8Array.of(i));
      clock.run(1);
    }
    clock.run(1000);
    return arrived;
  };
  const arrived = runOnce(7);
  assert.deepEqual(runOnce(7), arrived);
  assert.notDeepEqual(runOnce(8), arrived);
  const unique = new Set(arrived);
  assert(unique.size > 130 && unique.size < 190, `lost ${200 - unique.size} of 200`);
  assert(arrived.length > unique.size, 'some came twice');
  assert(
    arrived.some((value, i) => i > 0 && value < arrived[i - 1]!),
    'some overtook others',
  );
});
