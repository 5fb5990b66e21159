/** The laboratory's NATs do to real packets what their rows in the table say. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { execChecked } from '../../lab/exec.ts';
import { Home, type HomeOptions } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { type NatKind, type NatKindRow, natKinds, portBlock } from '../../lab/nat-kinds.ts';
import { observeNat, observer, publicEndpoint, whoGetsIn } from '../../lab/nat-probe.ts';
import { nativeProgram, nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const skip = labSkipReason();

/**
 *   a ──┐
 *       ├── Internet ── router ── LAN of home
 *   b ──┘
 */
async function build(lab: Lab, options: Omit<HomeOptions, 'name'>) {
  const internet = await Internet.create(lab);
  const [a, b] = [await internet.host('a'), await internet.host('b')];
  const home = await Home.create(internet, { name: 'home', ...options });
  return { internet, a, b, home, inside: home.firstHost };
}

describe('a router', { skip }, () => {
  const rows = natKinds.map((row): NatKindRow & { readonly name: NatKind } => row);
  for (const row of rows.filter(({ ipv6 }) => ipv6 !== 'only')) {
    const kind = row.name;
    test(`of kind ${kind} is observed to map: ${row.mapping}, filter: ${row.filtering}`, async () => {
      await using lab = await Lab.create();
      const { inside, a, b, home } = await build(lab, { nat: kind });
      const seen = await observeNat(inside, [a, b]);
      assert.equal(seen.mapping, row.mapping);
      assert.equal(seen.filtering, row.filtering);
      if (row.mapping !== 'blocked') {
        assert.equal(seen.preservesPort, row.allocation === 'preserving' || row.mapping === 'none');
      }
      if (row.allocation === 'random-in-block') {
        const { first, size } = portBlock;
        assert.ok(seen.publicPorts.every((port) => port >= first && port < first + size));
      }
      if (row.allocation === 'sequential') {
        const [first = 0, second = 0, third = 0] = seen.publicPorts;
        assert.ok(second > first && third > second && third < first + 30, `${seen.publicPorts}`);
      }
      const outside = home.carrier ?? home;
      const expected = row.mapping === 'none' ? inside.ipv4 : outside.publicIpv4;
      assert.equal(await addressSeenOverTcp(inside, b), expected, 'TCP passes');
    });
  }
});

describe('a port-restricted router', { skip }, () => {
  test('keeps the port of a mapping although the peer sent first', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    const peer = await observer(a);
    const socket = await inside.udp();
    const target = { address: home.publicIpv4, port: socket.port };
    for (let n = 0; n < 5; n++) peer.endpoint.send('too early', target);
    await waitFor('the early packets to be dropped', async () => (await home.unsolicited()) >= 5);
    assert.deepEqual(await home.mappings(), [], 'dropped packets leave no trace in conntrack');
    assert.deepEqual(await publicEndpoint(socket, peer), target);
    assert.equal(socket.has('too early'), false);
  });

  test('lets two peers behind two such routers meet when both send, whoever begins', async () => {
    await using lab = await Lab.create();
    const { internet, home, inside } = await build(lab, { nat: 'port-restricted' });
    const other = await Home.create(internet, { name: 'other', nat: 'port-restricted' });
    const [one, two] = [await inside.udp(), await other.firstHost.udp()];
    one.send('first', { address: other.publicIpv4, port: two.port });
    await waitFor('the first to be dropped', async () => (await other.unsolicited()) === 1);
    two.send('second', { address: home.publicIpv4, port: one.port });
    await one.received('second');
    one.send('third', { address: other.publicIpv4, port: two.port });
    await two.received('third');
    assert.equal(two.has('first'), false);
  });

  test('forgets an idle mapping after its timeout, and drops the peer from then on', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted', timeoutSeconds: 1 });
    const peer = await observer(a);
    const socket = await inside.udp();
    const endpoint = await publicEndpoint(socket, peer);
    assert.ok(endpoint);
    peer.endpoint.send('in time', endpoint);
    await socket.received('in time');
    const [mapping] = await home.mappings();
    assert.deepEqual(mapping, {
      inside: { address: inside.ipv4, port: socket.port },
      public: endpoint,
      remote: peer.local,
    });
    await waitFor('the mapping to expire', async () => (await home.mappings()).length === 0);
    peer.endpoint.send('too late', endpoint);
    await waitFor('the late packet to be dropped', async () => (await home.unsolicited()) === 1);
    assert.equal(socket.has('too late'), false);
  });

  test('forgets everything when flushed, and opens again from inside', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    const peer = await observer(a);
    const socket = await inside.udp();
    const endpoint = await publicEndpoint(socket, peer);
    assert.ok(endpoint);
    await home.flush();
    assert.deepEqual(await home.mappings(), []);
    peer.endpoint.send('after the flush', endpoint);
    await waitFor('the packet to be dropped', async () => (await home.unsolicited()) === 1);
    assert.deepEqual(await publicEndpoint(socket, peer), endpoint);
    assert.equal(socket.has('after the flush'), false);
  });

  test('reboots to a new public address', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    const peer = await observer(a);
    const socket = await inside.udp();
    const before = await publicEndpoint(socket, peer);
    await home.reboot({ newAddress: true });
    assert.notEqual(home.publicIpv4, before?.address);
    const endpoint = { address: home.publicIpv4, port: socket.port };
    assert.deepEqual(await publicEndpoint(socket, peer), endpoint);
    assert.deepEqual(await whoGetsIn(socket, endpoint, peer, { stranger: await observer(a) }), []);
  });

  test('changes its public address under living flows, which then start anew', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    const peer = await observer(a);
    const socket = await inside.udp();
    const old = await publicEndpoint(socket, peer);
    await home.changePublicAddress();
    assert.deepEqual(await publicEndpoint(socket, peer), {
      address: home.publicIpv4,
      port: socket.port,
    });
    assert.notEqual(home.publicIpv4, old?.address);
    assert.equal((await a.ping(`${old?.address}`, { timeoutMs: 300 })).received, 0);
  });

  test('does not answer from outside, is pinged from inside, and passes errors about its flows', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    assert.equal((await a.ping(home.publicIpv4, { timeoutMs: 300 })).received, 0);
    assert.equal((await inside.ping(`${home.subnet}.1`)).received, 1);
    assert.equal((await inside.ping(a.ipv4, { count: 3 })).received, 3);
    // A narrow link beyond the router is found by its 'fragmentation needed'.
    await a.link.mtu(1300);
    const big = { sizeBytes: 1372, dontFragment: true, timeoutMs: 500 };
    assert.match((await inside.ping(a.ipv4, big)).output, /mtu ?= ?1300/i);
    assert.equal((await inside.ping(a.ipv4, { sizeBytes: 1272, dontFragment: true })).received, 1);
  });

  test('forwards a port by hand', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted' });
    const echo = await inside.udpEcho({ port: 5000 });
    await home.forwardPort(5000, inside);
    const stranger = await a.udp();
    stranger.send('hello', { address: home.publicIpv4, port: 5000 });
    const { from } = await stranger.received('hello');
    assert.deepEqual(from, { address: home.publicIpv4, port: 5000 });
    assert.equal(echo.datagrams[0]?.from.address, a.ipv4);
  });
});

describe('hairpinning', { skip }, () => {
  const hosts = ['one', 'two'];

  test('is off by default: two hosts of a LAN do not meet at their public endpoints', async () => {
    await using lab = await Lab.create();
    const { a, home } = await build(lab, { nat: 'full-cone', hosts });
    const { one, two, endpointOfTwo, peer } = await pair(home, a);
    one.send('hairpin', endpointOfTwo);
    assert.ok(await publicEndpoint(one, peer));
    assert.ok(await publicEndpoint(two, peer));
    assert.equal(two.has('hairpin'), false);
  });

  test('shows the public endpoint of the sender when it is on', async () => {
    await using lab = await Lab.create();
    const { a, home } = await build(lab, { nat: 'full-cone', hosts, hairpin: true });
    const { one, two, endpointOfOne, endpointOfTwo } = await pair(home, a);
    one.send('hairpin', endpointOfTwo);
    assert.deepEqual((await two.received('hairpin')).from, endpointOfOne);
    two.send('back', endpointOfOne);
    assert.deepEqual((await one.received('back')).from, endpointOfTwo);
  });

  test('is filtered like traffic from outside', async () => {
    await using lab = await Lab.create();
    const { a, home } = await build(lab, { nat: 'port-restricted', hosts, hairpin: true });
    const { one, two, endpointOfOne, endpointOfTwo, peer } = await pair(home, a);
    one.send('too early', endpointOfTwo);
    assert.ok(await publicEndpoint(one, peer));
    two.send('opens', endpointOfOne);
    assert.deepEqual((await one.received('opens')).from, endpointOfTwo);
    one.send('now', endpointOfTwo);
    assert.deepEqual((await two.received('now')).from, endpointOfOne);
    assert.equal(two.has('too early'), false);
  });
});

describe('a full-cone router', { skip }, () => {
  test('lets strangers in to the host that has the port, as long as the mapping lives', async () => {
    await using lab = await Lab.create();
    const options = { nat: 'full-cone', hosts: ['one', 'two'], timeoutSeconds: 4 } as const;
    const { a, b, home } = await build(lab, options);
    const { one, two, endpointOfOne, endpointOfTwo } = await pair(home, a);
    const stranger = await b.udp();
    stranger.send('for one', endpointOfOne);
    stranger.send('for two', endpointOfTwo);
    await Promise.all([one.received('for one'), two.received('for two')]);
    assert.equal(one.has('for two'), false);
    await waitFor('the mappings to expire', async () => {
      const map = await home.router.check('nft', ['list', 'map', 'inet', 'router', 'mapped']);
      return (await home.mappings()).length === 0 && !map.includes('elements');
    });
    stranger.send('too late', endpointOfOne);
    await waitFor('the late packet to be dropped', async () => (await home.unsolicited()) === 1);
    assert.equal(one.has('too late'), false);
  });
});

describe('a home with IPv6', { skip }, () => {
  test('reaches out without translation and lets nothing unasked in', async () => {
    await using lab = await Lab.create();
    const { a, home, inside } = await build(lab, { nat: 'port-restricted', ipv6: true });
    assert.equal((await inside.ping(a.ipv6)).received, 1);
    const [outside, socket] = [await a.udp({ address: '::' }), await inside.udp({ address: '::' })];
    outside.send('unasked', { address: inside.ipv6, port: socket.port });
    await waitFor('the packet to be dropped', async () => (await home.unsolicited()) === 1);
    socket.send('question', { address: a.ipv6, port: outside.port });
    const { from } = await outside.received('question');
    assert.deepEqual(from, { address: inside.ipv6, port: socket.port });
    outside.send('answer', from);
    await socket.received('answer');
    assert.equal(socket.has('unasked'), false);
  });

  test('is reachable where nothing filters', async () => {
    await using lab = await Lab.create();
    const { a, inside } = await build(lab, { nat: 'none', ipv6: true });
    assert.equal((await a.ping(inside.ipv6)).received, 1);
    assert.equal((await a.ping(inside.ipv4)).received, 1);
  });
});

test('a home behind a carrier NAT is seen with the address of the carrier', { skip }, async () => {
  await using lab = await Lab.create();
  const internet = await Internet.create(lab);
  const [a, b] = [await internet.host('a'), await internet.host('b')];
  const carrier = await Home.create(internet, {
    ...{ name: 'carrier', nat: 'symmetric-block', hosts: [], subnet: '100.72.0' },
  });
  const home = await Home.create(carrier, { name: 'home', nat: 'full-cone', subnet: '192.168.1' });
  assert.match(home.publicIpv4, /^100\.72\.0\./);
  const seen = await observeNat(home.firstHost, [a, b]);
  assert.equal(seen.mapping, 'address-and-port-dependent');
  assert.equal(seen.filtering, 'address-and-port-dependent');
  assert.equal(await addressSeenOverTcp(home.firstHost, a), carrier.publicIpv4);
});

/**
 * Two sockets on two hosts of a LAN, and the public endpoints that an outside observer sees of
 * them.
 */
async function pair(home: Home, outside: Host) {
  const peer = await observer(outside);
  const [one, two] = [await home.host('one').udp(), await home.host('two').udp()];
  const endpointOfOne = await publicEndpoint(one, peer);
  const endpointOfTwo = await publicEndpoint(two, peer);
  assert.ok(endpointOfOne && endpointOfTwo);
  return { one, two, endpointOfOne, endpointOfTwo, peer };
}

const httpServer = `require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress))
  .listen(8080, '0.0.0.0', () => console.log('serving'))`;

async function addressSeenOverTcp(client: Host, host: Host): Promise<string> {
  await using server = host.spawn('node', ['-e', httpServer]);
  await server.line(/serving/);
  return await client.check('curl', ['-s', '--max-time', '5', `http://${host.ipv4}:8080/`]);
}

describe('the NAT of kinds that nftables cannot make', { skip: skip || nativeSkipReason() }, () => {
  test('reads no byte too many of hostile packets, and keeps every checksum right', async () => {
    const program = await nativeProgram('nat-trial');
    const fates = JSON.parse(await execChecked(program, ['7', '300000'], { timeoutMs: 120_000 }));
    for (const fate of ['sent', 'delivered', 'errors', 'malformed'] as const) {
      assert.ok(fates[fate] > 50, `${fate}: ${JSON.stringify(fates)}`);
    }
  });

  test('forwards a port by hand, forgets when flushed, and changes its address', async () => {
    await using lab = await Lab.create();
    const { a, b, home, inside } = await build(lab, { nat: 'symmetric-open' });
    const peer = await observer(a);
    const socket = await inside.udp();
    const before = await publicEndpoint(socket, peer);
    assert.ok(before);
    await home.flush();
    assert.deepEqual(await home.userspace?.mappings(), []);
    const stranger = await b.udp();
    stranger.send('too late', before);
    await waitFor('the packet to be dropped', async () => (await home.unsolicited()) === 1);
    await home.changePublicAddress();
    const after = await publicEndpoint(socket, peer);
    assert.equal(after?.address, home.publicIpv4);
    assert.notEqual(after?.address, before.address);
    const echo = await inside.udpEcho({ port: 5000 });
    await home.forwardPort(5000, inside);
    stranger.send('hello', { address: home.publicIpv4, port: 5000 });
    const { from } = await stranger.received('hello');
    assert.deepEqual(from, { address: home.publicIpv4, port: 5000 });
    assert.equal(echo.datagrams[0]?.from.address, b.ipv4);
    assert.equal(socket.has('too late'), false);
  });
});
