/** Two packet engines with real devices and sockets in two namespaces, keys installed by hand. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OFFLOAD_NAMES } from '#engine/offloads.ts';
import {
  type End,
  type EndOptions,
  EngineLab,
  INNER,
  INNER6,
  ping,
  transfer,
} from '../support/engine-lab.ts';
import { needsRoot } from '../support/needs-root.ts';

/** Packets of every size that headers allow, both families, and TCP both ways with checksums compared. */
async function exchange(a: End, b: End, megabytes: number): Promise<void> {
  for (const size of [0, 1, 15, 16, 17, 100, 1_372])
    ping(a.host, INNER.b, '-s', String(size), '-M', 'do');
  for (const size of [0, 1, 100, 1_352]) ping(b.host, INNER6.a, '-s', String(size));
  ping(a.host, INNER.b, '-s', '3000');
  await transfer(a.host, b.host, INNER.b, megabytes);
  await transfer(b.host, a.host, INNER6.a, megabytes);
  await burst(a, b);
}

/** Datagrams of equal and other sizes in a row all arrive, whole and in order. */
async function burst(a: End, b: End): Promise<void> {
  const port = await b.host.call<number>('udpListen', 0);
  const sizes = [100, 100, 100, 100, 40, 700];
  // Small enough for the buffer of the receiving program, which is not what is tested.
  for (let round = 0; round < 5; round++) {
    const datagrams = Array.from({ length: 120 }, (_, i) =>
      new Uint8Array(sizes[i % sizes.length]!).fill(i + round),
    );
    await a.host.call('udpSend', INNER.b, port, datagrams);
    assert.deepEqual(await b.host.datagrams(datagrams.length), datagrams);
  }
}

async function nothingDropped({ host }: End): Promise<void> {
  const counters = await host.counters();
  const drops = [
    'forged',
    'replayed',
    'malformed',
    'source-refused',
    'destination-refused',
    'unknown-kind',
    'unknown-index',
    'device-error',
  ];
  for (const name of drops) assert.equal(counters[`in-${name}`], 0, `in-${name}`);
  for (const name of ['malformed', 'send-error'])
    assert.equal(counters[`out-${name}`], 0, `out-${name}`);
}

async function works(
  options: EndOptions,
  other: EndOptions = options,
  megabytes = 16,
  segmenting = false,
) {
  await using lab = new EngineLab(segmenting);
  const a = await lab.liveEnd('a', options);
  const b = await lab.liveEnd('b', other);
  await exchange(a, b, megabytes);
  await nothingDropped(a);
  await nothingDropped(b);
  return { a: await a.host.counters(), b: await b.host.counters() };
}

describe('two packet engines', needsRoot, () => {
  test('carry IPv4 and IPv6, small and large, under AES-256-GCM', async () => {
    const { a, b } = await works({ suite: 'aes256gcm' });
    assert.ok(a['out-packets']! > 5 * a['out-super-packets']!, 'the device delivers super-packets');
    assert.ok(a['out-packets']! > 5 * a['out-sends']!, 'UDP_SEGMENT joins datagrams');
    assert.ok(b['in-packets']! > 5 * b['in-messages']!, 'UDP_GRO joins datagrams');
    assert.ok(b['in-packets']! > 5 * b['in-units']!, 'packets of a flow are joined for the device');
  });

  test('carry the same under ChaCha20-Poly1305', async () => {
    await works({ suite: 'chacha20poly1305' });
  });

  test('carry the same over a cable that segments', async () => {
    await works({}, {}, 8, true);
  });

  for (const name of OFFLOAD_NAMES) {
    test(`go on without ${name}`, async () => {
      const { a } = await works({ withoutOffloads: [name] }, {}, 4);
      await works({}, { withoutOffloads: [name] }, 4);
      if (name === 'udp-segment') assert.ok(a['out-sends']! >= a['out-packets']!);
    });
  }

  test('go on without any offload', async () => {
    await works({ withoutOffloads: OFFLOAD_NAMES }, undefined, 4);
  });

  test('carry the same in TypeScript alone, facing the addon and each other', async () => {
    await works({ portable: true }, {}, 4);
    await works({ portable: true, suite: 'chacha20poly1305' }, undefined, 2);
  });

  test('carry small and large MTUs', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a', { mtuBytes: 1_280 });
    const b = await lab.liveEnd('b', { mtuBytes: 9_000 });
    await transfer(a.host, b.host, INNER.b, 8);
    await transfer(b.host, a.host, INNER6.a, 8);
    // Larger than the cable: the outer datagrams are fragments.
    ping(b.host, INNER.a, '-s', '4000');
    await nothingDropped(a);
    await nothingDropped(b);
  });

  test('notice that the way is too narrow for UDP_SEGMENT, and go on one by one', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    const b = await lab.liveEnd('b');
    a.host.run('ip', 'link', 'set', 'eth0', 'mtu', '1300');
    await transfer(a.host, b.host, INNER.b, 4);
    const counters = await a.host.counters();
    assert.ok(counters['out-gso-refused']! >= 1);
    assert.ok(counters['out-gso-refused']! < 10, 'the refusal is remembered');
    assert.equal(counters['out-send-error'], 0);
  });

  test('stand still when nothing happens', async () => {
    await using lab = new EngineLab();
    const { host } = await lab.liveEnd('a');
    await lab.liveEnd('b');
    ping(host, INNER.b);
    host.run('sleep', '0.3');
    const before = await host.call<number>('cpuMicroseconds');
    host.run('sleep', '2');
    const used = (await host.call<number>('cpuMicroseconds')) - before;
    assert.ok(used < 60_000, `${used} µs of CPU in two idle seconds`);
  });
});
