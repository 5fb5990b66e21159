/** Cables, addresses and faults of the laboratory do what they are named for. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Home } from '../../lab/home.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const skip = labSkipReason();
const brief = { timeoutMs: 300 };

/**   a ── Internet ── b   */
async function twoHosts(lab: Lab) {
  const internet = await Internet.create(lab);
  const [a, b] = [await internet.host('a'), await internet.host('b')];
  return { internet, a, b };
}

describe('the Internet of the laboratory', { skip }, () => {
  test('joins hosts over IPv4 and IPv6 at once', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    const ping = await a.ping(b.ipv4, { count: 3 });
    assert.equal(ping.received, 3);
    assert.ok(Number(ping.averageRttMs) < 1000);
    assert.equal((await b.ping(a.ipv6)).received, 1);
  });

  test('drops private, unknown and forged addresses silently', async () => {
    await using lab = await Lab.create();
    const { internet, a, b } = await twoHosts(lab);
    const home = await Home.create(internet, { name: 'home', nat: 'port-restricted' });
    for (const address of [home.firstHost.ipv4, '8.8.8.8', '2001:db8:ffff::1', '10.0.0.1']) {
      const { received, output } = await a.ping(address, brief);
      assert.equal(received, 0, address);
      assert.doesNotMatch(output, /unreachable/i);
    }
    const receiver = await b.udp();
    const target = { address: b.ipv4, port: receiver.port };
    await a.ip('addr add 198.51.100.99/32 dev eth0');
    (await a.udp({ address: '198.51.100.99' })).send('forged', target);
    (await a.udp({ address: a.ipv4 })).send('honest', target);
    assert.equal((await receiver.received('honest')).from.address, a.ipv4);
    assert.equal(receiver.has('forged'), false);
  });

  test('carries a laptop from home to home and out to the Internet', async () => {
    await using lab = await Lab.create();
    const { internet, a } = await twoHosts(lab);
    const one = await Home.create(internet, { name: 'one', nat: 'port-restricted' });
    const two = await Home.create(internet, { name: 'two', nat: 'symmetric', hosts: [] });
    assert.notEqual(one.subnet, two.subnet);
    const laptop = one.firstHost;
    const socket = await laptop.udp();
    const echo = await a.udpEcho();
    const target = { address: a.ipv4, port: echo.port };
    const seenFrom = async (word: string) => {
      socket.send(word, target);
      await socket.received(word);
      return echo.datagrams.at(-1)?.from.address;
    };
    assert.equal(await seenFrom('at one'), one.publicIpv4);
    await laptop.plug(two);
    assert.equal(await seenFrom('at two'), two.publicIpv4);
    await laptop.plug(internet);
    assert.equal(await seenFrom('outside'), laptop.ipv4);
    const before = laptop.ipv4;
    await laptop.changeAddress();
    assert.notEqual(laptop.ipv4, before);
    assert.equal(await seenFrom('moved'), laptop.ipv4);
    assert.equal((await a.ping(before, brief)).received, 0);
    await laptop.unplug();
    assert.throws(() => laptop.ipv4, /not attached/);
  });

  test('tells a sender of a narrow link how much passes', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    await b.link.mtu(1280);
    const big = { sizeBytes: 1372, dontFragment: true, ...brief };
    assert.match((await a.ping(b.ipv4, big)).output, /mtu ?= ?1280/i);
    assert.equal((await a.ping(b.ipv4, { sizeBytes: 1252, dontFragment: true })).received, 1);
  });
});

describe('a cable', { skip }, () => {
  test('is cut in one direction or both, without the host noticing, and restored', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    const [here, there] = [await a.udp(), await b.udp()];
    const [toA, toB] = [
      { address: a.ipv4, port: here.port },
      { address: b.ipv4, port: there.port },
    ];
    await a.link.cut('in');
    here.send('out works', toB);
    await there.received('out works');
    there.send('in is cut', toA);
    await a.link.cut('out');
    there.send('in works', toA);
    await here.received('in works');
    assert.equal(here.has('in is cut'), false);
    here.send('out is cut', toB);
    await a.link.cut();
    assert.equal((await a.ping(b.ipv4, brief)).received, 0);
    assert.equal((await b.ping(a.ipv6, brief)).received, 0);
    assert.match(await a.check('cat', ['/sys/class/net/eth0/carrier']), /1/);
    await a.link.restore();
    here.send('restored', toB);
    await there.received('restored');
    assert.equal(there.has('out is cut'), false);
    await a.link.restore();
  });

  test('loses about as many packets as told', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    await b.link.impair({ lossRate: 0.3, direction: 'in' });
    // Fifteen standard deviations on either side.
    const { received } = await a.ping(b.ipv4, { count: 400, intervalMs: 2, timeoutMs: 500 });
    assert.ok(received > 140 && received < 399, `${received} of 400`);
    await assert.rejects(b.link.impair({ lossRate: 2 }), /lossRate 2/);
  });

  test('is pulled and put back: no carrier, then everything as before', async () => {
    await using lab = await Lab.create();
    const { internet, a } = await twoHosts(lab);
    const home = await Home.create(internet, { name: 'home', nat: 'none', ipv6: true });
    for (const host of [a, home.firstHost, home.router]) {
      await host.setCarrier(false);
      await waitFor('the carrier to be lost', async () =>
        /0/.test(await host.check('cat', ['/sys/class/net/eth0/carrier'])),
      );
      assert.equal((await a.ping(home.firstHost.ipv4, brief)).received, 0);
      await host.setCarrier(true);
      assert.equal((await a.ping(home.firstHost.ipv4)).received, 1);
      assert.equal((await home.firstHost.ping(a.ipv6)).received, 1);
    }
  });

  test('is set down and up by the host itself', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    await a.setInterface(false);
    assert.equal((await b.ping(a.ipv4, brief)).received, 0);
    await a.setInterface(true);
    assert.equal((await b.ping(a.ipv4)).received, 1);
    assert.equal((await a.ping(b.ipv6)).received, 1);
  });

  test('counts what the host sent and received', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    const before = await a.counters();
    await a.ping(b.ipv4, { count: 5, sizeBytes: 1000 });
    const after = await a.link.counters();
    assert.ok(after.txPackets - before.txPackets >= 5);
    assert.ok(after.rxBytes - before.rxBytes >= 5 * 1000);
  });
});

describe('a LAN', { skip }, () => {
  test('is one wire: broadcast reaches its hosts, and nobody elsewhere', async () => {
    await using lab = await Lab.create();
    const internet = await Internet.create(lab);
    const home = await Home.create(internet, { name: 'home', nat: 'none', hosts: ['one', 'two'] });
    const outside = await internet.host('outside');
    const [one, two] = [home.host('one'), home.host('two')];
    const listeners = [await two.udp({ port: 7000 }), await outside.udp({ port: 7000 })] as const;
    const speaker = await one.udp();
    speaker.send('everybody', { address: '255.255.255.255', port: 7000 });
    speaker.send('outside', { address: outside.ipv4, port: 7000 });
    await listeners[0].received('everybody');
    await listeners[1].received('outside');
    assert.equal(listeners[1].has('everybody'), false);
  });

  test('host behind its own firewall answers nobody, and gets its answers', async () => {
    await using lab = await Lab.create();
    const { a, b } = await twoHosts(lab);
    await b.setFirewall(true);
    assert.equal((await a.ping(b.ipv4, brief)).received, 0);
    assert.equal((await a.ping(b.ipv6, brief)).received, 0);
    assert.equal((await b.ping(a.ipv4)).received, 1);
    assert.equal((await b.ping(a.ipv6)).received, 1);
    await b.setFirewall(false);
    assert.equal((await a.ping(b.ipv4)).received, 1);
  });
});
