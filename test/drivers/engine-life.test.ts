/** How packet engines begin and end: errors that tell what to do, and nothing left behind. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { MAX_SOCKETS } from '#engine/layout.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { EngineLab, type Host, INNER, ping } from '../support/engine-lab.ts';
import { needsRoot } from '../support/needs-root.ts';
import { silentEvents } from '../support/silent-events.ts';

const device = (name: string) => ({
  name,
  mode: 'tun' as const,
  mtuBytes: 1_400,
  addresses: [INNER.a],
});

async function created(lab: EngineLab, wrapper: readonly string[] = []): Promise<Host> {
  const host = lab.host('a', wrapper);
  await host.call('create', {});
  return host;
}

describe('opening', needsRoot, () => {
  test('a device whose name is taken fails with device-busy', async () => {
    await using lab = new EngineLab();
    const host = await created(lab);
    host.run('ip', 'link', 'add', 'taken', 'type', 'veth', 'peer', 'name', 'other');
    await assert.rejects(host.engine('openDevice', device('taken')), {
      code: 'device-busy',
      message: /'taken'/,
    });
    const other = await created(lab);
    await other.engine('openDevice', device('mine'));
    await assert.rejects(host.engine('openDevice', device('mine')), { code: 'device-busy' });
    await host.engine('openDevice', device('free'));
    await assert.rejects(host.engine('openDevice', device('second')), { code: 'device-busy' });
  });

  test('a device without the right to fails with device-forbidden', async () => {
    await using lab = new EngineLab();
    const host = await created(lab, [
      'setpriv',
      '--bounding-set=-net_admin',
      '--inh-caps=-net_admin',
    ]);
    await assert.rejects(host.engine('openDevice', device('buri0')), {
      code: 'device-forbidden',
      message: /root|CAP_NET_ADMIN/,
    });
  });

  test('a device without /dev/net/tun fails with device-missing', async () => {
    await using lab = new EngineLab();
    const hide = 'mount -t tmpfs none /dev/net && exec "$@"';
    const host = await created(lab, ['unshare', '-m', 'sh', '-c', hide, 'sh']);
    await assert.rejects(host.engine('openDevice', device('buri0')), {
      code: 'device-missing',
      message: /modprobe tun/,
    });
  });

  test('a port in use fails with port-in-use, a foreign address with address-unavailable', async () => {
    await using engine = new PacketEngine(silentEvents);
    const taken = createSocket('udp4');
    await new Promise<void>((resolve) => taken.bind(0, '127.0.0.1', resolve));
    const { port } = taken.address();
    const address = '127.0.0.1';
    await assert.rejects(engine.openSocket({ family: 4, address, port }), {
      code: 'port-in-use',
      message: /--port/,
    });
    taken.close();
    await assert.rejects(engine.openSocket({ family: 4, address: '192.0.2.77', port: 0 }), {
      code: 'address-unavailable',
    });
    const opened = await engine.openSocket({ family: 4, address, port });
    assert.equal(opened.port, port);
    await engine.closeSocket(opened.socket);
    const again = await engine.openSocket({ family: 4, address, port });
    assert.equal(again.port, port, 'a closed port is free at once');
  });

  test('more sockets than there are places are refused', async () => {
    await using engine = new PacketEngine(silentEvents);
    for (let i = 0; i < MAX_SOCKETS; i++)
      await engine.openSocket({ family: i % 2 === 0 ? 4 : 6, port: 0 });
    await assert.rejects(engine.openSocket({ family: 4, port: 0 }), { code: 'too-many-sockets' });
  });
});

describe('a device', needsRoot, () => {
  test('that is deleted is reported, and another can be opened', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    await lab.liveEnd('b');
    ping(a.host, INNER.b);
    a.host.run('ip', 'link', 'del', 'buri-a');
    const [reason] = await a.host.event('device-lost');
    assert.match(String(reason), /deleted/);
    await a.host.engine('openDevice', device('buri-a'));
    a.host.run('ip', 'addr', 'add', `${INNER.a}/24`, 'dev', 'buri-a');
    a.host.run('ip', 'link', 'set', 'buri-a', 'up');
    ping(a.host, INNER.b);
  });

  test('is gone after closing, and the engine lives on without it', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    await a.host.engine('closeDevice');
    assert.throws(() => a.host.run('ip', 'link', 'show', 'buri-a'));
    await a.host.engine('openDevice', device('buri-a'));
  });
});

describe('ending', needsRoot, () => {
  test('an engine answers whoever still waits', async () => {
    const engine = new PacketEngine(silentEvents);
    const opening = engine.openSocket({ family: 4, port: 0 });
    const disposing = engine[Symbol.asyncDispose]();
    await assert.rejects(opening, { code: 'engine-closed' });
    await disposing;
    await assert.rejects(engine.openSocket({ family: 4, port: 0 }), { code: 'engine-closed' });
  });

  test('20 engines with traffic leaves no descriptor behind', async () => {
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      await using engine = new PacketEngine(silentEvents);
      const { socket, port } = await engine.openSocket({ family: 4, port: 0 });
      engine.sendDatagram(socket, { address: '127.0.0.1', port }, new Uint8Array(100));
    }
    assert.ok(descriptors() <= before + 1, `${before} before, ${descriptors()} after`);
  });

  test('1,000 workers with watched sockets, keys and paths leaves nothing behind', {
    timeout: 300_000,
  }, async () => {
    const start = () =>
      new Promise<void>((resolve, reject) => {
        const worker = new Worker(new URL('../support/addon-worker.mjs', import.meta.url), {
          workerData: ADDON,
        });
        worker.once('message', () => worker.terminate().then(() => resolve(), reject));
        worker.once('error', reject);
      });
    for (let i = 0; i < 100; i++) await start();
    const before = { descriptors: descriptors(), rssKib: process.memoryUsage.rss() / 1024 };
    for (let i = 0; i < 900; i++) await start();
    const grownKib = process.memoryUsage.rss() / 1024 - before.rssKib;
    assert.ok(
      descriptors() <= before.descriptors + 1,
      `${before.descriptors} before, ${descriptors()} after`,
    );
    assert.ok(grownKib < 40_000, `${Math.round(grownKib)} KiB grown over 900 workers`);
  });
});

const ADDON = fileURLToPath(new URL('../../build/buri.node', import.meta.url));

const descriptors = (): number => readdirSync('/proc/self/fd').length;
